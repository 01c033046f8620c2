"""`python -m sandbox.identity_provider ensure`."""

from __future__ import annotations

import sys

from sandbox.identity_provider.install import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
