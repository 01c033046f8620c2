"""What a part of the sandbox is: a process with its environment and its sign of readiness.

Parts are defined in `sandbox.parts` and run by `sandbox.supervisor`.
"""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx2

from sandbox.toolchain import ROOT

PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_CACHE_HOME", "VIRTUAL_ENV")


@dataclass
class Part:
    """One process of the sandbox (or a task that runs once, when `once` is set)."""

    name: str
    argv: Sequence[str]
    environment: Mapping[str, str]
    ready: Callable[[], bool] | None = None
    """Polled until true; None means ready once started (or once ended, for a task)."""
    once: bool = False
    timeout_seconds: float = 60.0
    address: str = ""
    """What a person may open or connect to; shown by `ringfence status`."""
    before: Callable[[], None] | None = None
    """Prepares files just before each start."""
    emulated: bool = False
    stop_signal: int = signal.SIGTERM
    """What asks this part to end."""
    stop_seconds: float = 15.0
    """How long it may take to end before it is killed."""
    listener: socket.socket | None = None
    """A listening socket that every process of this part inherits under the same number."""
    after: Callable[[], None] | None = None
    """Ends what the part started that outlives it; called once, when the sandbox stops."""


def base_environment() -> dict[str, str]:
    """Return what every part may see of the caller's environment; nothing else is passed on."""
    passed = {k: v for k, v in os.environ.items() if k in PASSED_ON or k.startswith("OPENBLAS_")}
    return {**passed, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}


def http_ok(url: str) -> Callable[[], bool]:
    """Return a probe that is true once the address answers 200."""

    def probe() -> bool:
        try:
            return httpx2.get(url, timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False

    return probe
