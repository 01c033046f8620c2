"""Entry of `python -m countersigner`."""

import sys

from countersigner.server import main

if __name__ == "__main__":
    sys.exit(main())
