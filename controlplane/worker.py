"""The worker process: `python -m controlplane.worker`.

Composition root: reads the settings, puts the parts together, and works until a signal says stop.
"""

from __future__ import annotations

import sys

from pydantic import ValidationError

from controlplane.composition import worker_parts
from controlplane.config import SecretFileError
from controlplane.core.errors import RingfenceError
from controlplane.core.logging import configure
from controlplane.worker_config import WorkerSettings, settings_problems
from controlplane.worker_loop import serve


def main() -> int:
    """Run from the command line."""
    configure("worker")
    try:
        parts = worker_parts(WorkerSettings())
    except ValidationError as error:
        print(settings_problems(error), file=sys.stderr)
        return 2
    except (SecretFileError, RingfenceError) as error:
        print(str(error), file=sys.stderr)
        return 2
    serve(parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
