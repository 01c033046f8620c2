"""Where a sandbox keeps its things: folders, secrets, ports, and the record of what runs.

Used by the supervisor, the command line and the demo. Separate from them because all three must
agree on one layout, and only this module knows it.

    $RINGFENCE_HOME/           default ${XDG_STATE_HOME:-~/.local/state}/ringfence
      secrets/                 0700; every file 0600
      data/<part>/  logs/<part>.log
      sandbox.json             what runs now (0600), written by the supervisor only
      context.json             what the command line needs (0600)
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner can read, atomically, 0600 from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(handle, "w") as file:
        file.write(text)
    Path(name).replace(path)


def free_port() -> int:
    """Return a loopback TCP port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def port_is_free(port: int) -> bool:
    """Tell whether a listener could bind this loopback port now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@dataclass(frozen=True)
class Home:
    """The folders of one sandbox."""

    root: Path

    @classmethod
    def current(cls) -> Home:
        """Return the home that the environment names, or the user's default one."""
        named = os.environ.get("RINGFENCE_HOME")
        if named:
            return cls(Path(named).expanduser().resolve())
        state = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
        return cls(Path(state) / "ringfence")

    @property
    def secrets(self) -> Path:
        return self.root / "secrets"

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def record_file(self) -> Path:
        return self.root / "sandbox.json"

    @property
    def context_file(self) -> Path:
        return self.root / "context.json"

    @property
    def run(self) -> Path:
        """Folder of the Unix sockets: short, since a socket's path may have 108 bytes only."""
        key = hashlib.sha256(str(self.root).encode()).hexdigest()[:10]
        return Path(tempfile.gettempdir()) / f"rf-{os.getuid()}-{key}"

    def create(self) -> None:
        """Make the folders; private, since they hold keys and the customer's emulated data."""
        for folder in (self.root, self.secrets, self.data, self.logs, self.run):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            folder.chmod(0o700)

    def secret(self, name: str) -> str:
        """Return the generated secret `name`, making it at first use."""
        path = self.secrets / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def port(self, part: str, preferred: int | None = None) -> int:
        """Return the port of a part: the one it had, unless something else has taken it."""
        path = self.root / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        port = ports.get(part, preferred)
        if port is None or not port_is_free(port):
            port = free_port()
        ports[part] = port
        write_private(path, json.dumps(ports, indent=2, sort_keys=True))
        return port

    def read_record(self) -> dict[str, Any] | None:
        """Return what the supervisor wrote last, or None before the first start."""
        if not self.record_file.exists():
            return None
        record: dict[str, Any] = json.loads(self.record_file.read_text())
        return record
