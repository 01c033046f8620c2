"""Events on disk until a gateway has acknowledged them.

Used by `client`. Separate because it is what makes a report survive a crash, a closed lid and a
gateway that is away. Form: numbered segments of one JSON event per line; a segment is one request's
batch and is deleted as a whole. A torn last line was never promised and is skipped.
"""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path
from typing import Final

SUFFIX: Final = ".ndjson"
SEGMENT_BYTES: Final = 400 * 1024
"""A segment must fit into one request of 512 KiB, brackets and commas included."""


class SpoolInUseError(RuntimeError):
    """Another process writes to this folder; the message names it and the fix."""


class EventSpool:
    """One client's events; bounded: when it is full the oldest segment goes, and is counted."""

    def __init__(self, folder: Path, max_bytes: int, batch: int) -> None:
        self.folder, self._max_bytes, self._batch = folder, max_bytes, batch
        self.dropped = 0
        """Events given up because the spool was full."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise SpoolInUseError(
                f"{folder}: another process uses this spool; give each its own folder"
            ) from error
        self._sealed = sorted(folder.glob(f"*{SUFFIX}"))
        self._sizes = {path: path.stat().st_size for path in self._sealed}
        self._number = int(self._sealed[-1].stem) if self._sealed else 0
        self._file: int | None = None
        self._events = self._bytes = 0

    def append(self, event: str) -> None:
        """Keep one event; returns when it is written."""
        line = event.encode() + b"\n"
        if self._events >= self._batch or self._bytes + len(line) > SEGMENT_BYTES:
            self.seal()
        while self._sealed and sum(self._sizes.values()) + self._bytes > self._max_bytes:
            oldest = self._sealed[0]
            self.dropped += len(read_segment(oldest))
            self.remove(oldest)
        if self._file is None:
            self._number += 1
            self._path = self.folder / f"{self._number:012d}{SUFFIX}"
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        os.write(self._file, line)
        self._events += 1
        self._bytes += len(line)

    def seal(self) -> None:
        """End the open segment, on disk, so that it can be sent."""
        if self._file is None:
            return
        os.fsync(self._file)
        os.close(self._file)
        self._sealed.append(self._path)
        self._sizes[self._path] = self._bytes
        self._file, self._events, self._bytes = None, 0, 0

    @property
    def pending(self) -> list[Path]:
        """Segments to be sent, oldest first."""
        return list(self._sealed)

    def remove(self, path: Path) -> None:
        """Forget a segment whose events are settled."""
        if path in self._sizes:
            self._sealed.remove(path)
            del self._sizes[path]
            path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the files; what was not sent stays for the next start."""
        self.seal()
        self._lock.close()


def read_segment(path: Path) -> list[str]:
    """Return the whole events of a segment."""
    whole = []
    for line in path.read_text().splitlines():
        try:
            json.loads(line)
        except ValueError:
            continue
        whole.append(line)
    return whole
