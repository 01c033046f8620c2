"""The API's description: `python -m controlplane.openapi` writes docs/reference/openapi.json.

`--check` fails when the checked-in file is not what the code says; a test does the same.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from controlplane.app import make_routes

FILE = Path(__file__).resolve().parent.parent / "docs" / "reference" / "openapi.json"


def render() -> str:
    """Return the description as it is checked in: sorted, two spaces, one newline at the end."""
    return json.dumps(make_routes().openapi(), indent=2, sort_keys=True) + "\n"


def main() -> int:
    """Write the file, or compare it with `--check`; exit code 1 when they differ."""
    wanted = render()
    if "--check" in sys.argv[1:]:
        if FILE.exists() and FILE.read_text() == wanted:
            return 0
        print(f"{FILE} is not up to date; run: python -m controlplane.openapi", file=sys.stderr)
        return 1
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
