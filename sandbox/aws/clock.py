"""The account's clock: real time plus an offset that a test may set by writing a file.

Signatures are checked against real time; grants and sessions against this clock, so that a test
can jump over `GrantUntil` without waiting. The offset is a file in the run folder, never a request:
a pod must not be able to move time.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from pathlib import Path

OFFSET_FILE = "aws-clock-offset"


class Clock:
    """Tell the time with the offset in force."""

    def __init__(self, run_dir: Path) -> None:
        """Read the offset from `aws-clock-offset` in the run folder at each look."""
        self._file = run_dir / OFFSET_FILE

    def offset(self) -> float:
        """Give the offset in seconds; 0 without a file. Raises ValueError for other content."""
        try:
            return float(self._file.read_text().strip() or 0)
        except FileNotFoundError:
            return 0.0

    def now(self) -> datetime:
        """Give the current instant, in UTC."""
        return datetime.fromtimestamp(time.time() + self.offset(), UTC)


def iso(instant: datetime) -> str:
    """Write an instant as AWS does: whole seconds, Z."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
