"""`python -m sandbox.models ensure`: make the demo models and print where they are."""

from __future__ import annotations

import argparse
import sys

from sandbox.models.store import ModelStoreError, ensure


def main() -> int:
    """Parse the command and run it; exit code 1 names a failed training."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.models", description=__doc__)
    parser.add_argument("command", choices=["ensure"], help="make the models unless cached")
    parser.parse_args()
    try:
        models = ensure()
    except ModelStoreError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for artifact in models.artifacts:
        print(f"{artifact.digest}  {artifact.size:>8}  {models.folder / artifact.file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
