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

import contextlib
import hashlib
import json
import os
import random
import secrets
import socket
import tempfile
from collections.abc import Iterator
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


SERVICE_PORTS = (20_000, 32_000)
"""Below the range from which the kernel takes ports of outgoing connections: those come and go."""
BACKLOG = 2048
LONGEST_BASE = 56
"""Bytes of a folder below which every socket's path stays within its limit."""


class HomeError(RuntimeError):
    """A folder of the sandbox cannot be used; the message names it and what to do."""


def free_port() -> int:
    """Return a loopback TCP port that is free now."""
    for port in random.sample(range(*SERVICE_PORTS), 200):
        if port_is_free(port):
            return port
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        found: int = probe.getsockname()[1]
        return found


def _candidates() -> Iterator[int]:
    """Yield ports that are free on the usual loopback address, some of them."""
    for _ in range(20):
        yield free_port()


def port_is_free(port: int, host: str = "127.0.0.1") -> bool:
    """Tell whether a listener could bind this port of a loopback address now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _listen(port: int) -> socket.socket | None:
    """Listen on a loopback port, 0 for any; None when it is taken."""
    held = socket.socket()
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind(("127.0.0.1", port))
        held.listen(BACKLOG)
    except OSError:
        held.close()
        return None
    return held


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
        base = tempfile.gettempdir()
        short = base if len(os.fsencode(base)) <= LONGEST_BASE else "/tmp"  # noqa: S108 (0700, owner checked)
        return Path(short) / f"rf-{os.getuid()}-{key}"

    def create(self) -> None:
        """Make the folders; private, since they hold keys and the customer's emulated data.

        Raises: HomeError when one cannot be made or is not ours.
        """
        for folder in (self.root, self.secrets, self.data, self.logs, self.run):
            try:
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                owner = folder.lstat().st_uid
                # Not followed and not shared: the folder of the sockets is in everyone's /tmp.
                if owner != os.getuid() or folder.is_symlink():
                    raise HomeError(f"{folder} is not a folder of this user: remove it")
                folder.chmod(0o700)
            except OSError as error:
                raise HomeError(
                    f"the sandbox cannot use {error.filename or folder}: {error.strerror}; "
                    "set RINGFENCE_HOME to a folder that you can write"
                ) from error

    def remove_sockets(self) -> None:
        """Remove the sockets that ended processes left, and their folder if it held no more."""
        if self.run.is_dir():
            for path in self.run.iterdir():
                if path.is_socket():
                    path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self.run.rmdir()

    def secret(self, name: str) -> str:
        """Return the generated secret `name`, making it at first use."""
        path = self.secrets / name
        if not path.exists():
            write_private(path, secrets.token_urlsafe(32))
        return path.read_text().strip()

    def port(self, part: str, preferred: int | None = None, host: str = "127.0.0.1") -> int:
        """Return the port of a part: the one it had, unless something else has taken it."""
        path = self.root / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        port = ports.get(part, preferred)
        if port is None or not port_is_free(port, host):
            port = next((p for p in _candidates() if port_is_free(p, host)), None)
        if port is None:
            raise HomeError(f"no port of {host} is free")
        ports[part] = port
        write_private(path, json.dumps(ports, indent=2, sort_keys=True))
        return port

    def listener(self, part: str, preferred: int) -> socket.socket:
        """Return a listening socket on the part's port, or on a free one if that is taken.

        Held by the supervisor and handed to the part: two sandboxes that start at once cannot
        choose one port, and callers wait while the part is restarted.
        """
        path = self.root / "ports.json"
        ports: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        held = _listen(ports.get(part, preferred)) or _listen(preferred) or _listen(free_port())
        if held is None:
            raise HomeError("no port of 127.0.0.1 is free")
        ports[part] = held.getsockname()[1]
        write_private(path, json.dumps(ports, indent=2, sort_keys=True))
        return held

    def read_record(self) -> dict[str, Any] | None:
        """Return what the supervisor wrote last, or None before the first start."""
        if not self.record_file.exists():
            return None
        record: dict[str, Any] = json.loads(self.record_file.read_text())
        return record
