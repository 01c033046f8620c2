"""The control plane's API on a socket that the supervisor holds.

Run by the supervisor as `python -m sandbox.api DESCRIPTOR`. The supervisor listens and this process
accepts, so that the port cannot be lost to another program and a caller waits through a restart.
"""

from __future__ import annotations

import socket
import sys

import uvicorn


def main() -> None:
    """Serve until SIGTERM."""
    held = socket.socket(fileno=int(sys.argv[1]))
    # Which proxies are believed is the API's own setting, and uvicorn's would come before it.
    config = uvicorn.Config(
        "controlplane.app:create_app", factory=True, access_log=False, proxy_headers=False
    )
    uvicorn.Server(config).run(sockets=[held])


if __name__ == "__main__":
    main()
