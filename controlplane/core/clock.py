"""The one source of the present moment, so that tests can move it, and of elapsed time for leases.

Leases never use the present moment: their only clock is the database's `now()`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta

_offset: ContextVar[timedelta] = ContextVar("clock_offset", default=timedelta(0))


_SLEEPLESS = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def elapsed() -> float:
    """Return seconds on a clock that only rises, and rises while the machine sleeps.

    `time.monotonic` stands still then on Linux, so that a worker whose machine slept would believe
    in a lease that is long over. Source: clock_gettime(2).
    """
    return time.clock_gettime(_SLEEPLESS)


def now() -> datetime:
    """Return the present moment in UTC."""
    return datetime.now(UTC) + _offset.get()


@contextmanager
def shifted(by: timedelta) -> Iterator[None]:
    """Move the clock of this context by `by` for a test."""
    token = _offset.set(_offset.get() + by)
    try:
        yield
    finally:
        _offset.reset(token)
