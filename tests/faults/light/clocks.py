"""A monotonic clock that stands still while its process does, as after the sleep of a machine.

Linux's CLOCK_MONOTONIC, which `time.monotonic` reads, does not count the time that a machine
sleeps. SIGSTOP alone cannot show that, so the harness adds the length of the freeze to a shared
counter before it lets the process go on. Source: clock_gettime(2).
"""

from __future__ import annotations

import mmap
import struct
import time
from pathlib import Path

FORMAT = struct.Struct("d")


def new_counter(path: Path) -> None:
    """Write a counter that says: it never stood still."""
    path.write_bytes(FORMAT.pack(0.0))


def add_still(path: Path, seconds: float) -> None:
    """Say that the clocks of the processes on this counter stood still for so long."""
    with path.open("r+b") as file:
        (before,) = FORMAT.unpack(file.read(FORMAT.size))
        file.seek(0)
        file.write(FORMAT.pack(before + seconds))


def stand_still(path: str) -> None:
    """Let this process's `time.monotonic` leave out what the counter says."""
    with Path(path).open("rb") as file:
        shared = mmap.mmap(file.fileno(), FORMAT.size, access=mmap.ACCESS_READ)
    plain = time.monotonic

    def monotonic() -> float:
        return plain() - float(FORMAT.unpack(shared[: FORMAT.size])[0])

    time.monotonic = monotonic
