"""Serve the vendor's registry: `python -m sandbox.registry --port N --folder DIR`.

Started by the sandbox's supervisor; it answers once every image is in, and ends on SIGTERM.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
from pathlib import Path

from sandbox.registry.vendor import VendorRegistry


def main() -> int:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="python -m sandbox.registry", description=__doc__)
    parser.add_argument("--port", type=int, required=True, help="TCP port on 127.0.0.1")
    parser.add_argument("--folder", type=Path, required=True, help="where blobs are kept")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with VendorRegistry(options.folder, options.port) as registry:
        registry.publish_all()
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
