"""The usage spool: a write-ahead log on disk between an answer and the database.

Written by the relay, emptied by `ledger`. Separate because it is what makes usage exact when the
process is killed: an answer is complete only after its event is on disk, and a request that was
under way is found again at the next start.

Form: numbered segments of lines `<crc32 hex> <b|e> <event as JSON>`. `b` (begun) is written before
the engine is asked and holds the event as it would read if we died now; `e` (ended) replaces it.
Only `e` is fsynced: a killed process loses nothing that was written, and a begun request that a
power cut loses was never answered. A torn last line was never acknowledged and is skipped.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

from wire.usage import UsageEvent

SUFFIX = ".wal"


class SpoolError(RuntimeError):
    """The spool cannot be used; the message names the folder and the fix."""


def _line(kind: bytes, payload: bytes) -> bytes:
    body = kind + b" " + payload
    return b"%08x %s\n" % (zlib.crc32(body), body)


def read_segment(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yield (`b` or `e`, event as JSON) of each intact line."""
    for line in path.read_bytes().split(b"\n"):
        check, _, body = line.partition(b" ")
        if len(check) == 8 and body and check == b"%08x" % zlib.crc32(body):
            kind, _, payload = body.partition(b" ")
            yield kind.decode(), payload


def _sync_and_close(descriptors: list[int]) -> None:
    for descriptor in descriptors:
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


class Spool:
    """One gateway's spool; a second process on the same folder is refused."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self.folder, self.max_bytes = folder, max_bytes
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._lock = (folder / "lock").open("a")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self._lock.close()
            raise SpoolError(
                f"{folder}: another gateway uses this spool; give each replica its own folder"
            ) from error
        self.recovered = sorted(folder.glob(f"*{SUFFIX}"))
        """Segments of an earlier process, oldest first."""
        self._number = int(self.recovered[-1].stem) if self.recovered else 0
        self._sealed: list[Path] = []
        self._sealed_bytes = sum(p.stat().st_size for p in self.recovered)
        self._open: dict[UUID, bytes] = {}
        self._ended = 0
        self._retired: list[int] = []
        """Sealed segments that are not fsynced yet."""
        self._sync: asyncio.Task[None] | None = None
        self._next_sync: asyncio.Task[None] | None = None
        self._file = self._new_segment()

    def _new_segment(self) -> int:
        self._number += 1
        self._path = self.folder / f"{self._number:012d}{SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        self._bytes = 0
        return os.open(self._path, flags, 0o600)

    def _write(self, line: bytes) -> None:
        os.write(self._file, line)
        self._bytes += len(line)

    @property
    def full(self) -> bool:
        """Whether so much usage waits for the database that new requests must be refused."""
        return self._bytes + self._sealed_bytes >= self.max_bytes

    def begin(self, event: UsageEvent) -> None:
        """Note a request before the engine is asked; `event` says what to report if we die."""
        line = _line(b"b", event.model_dump_json().encode())
        self._open[event.id] = line
        self._write(line)

    async def end(self, event: UsageEvent) -> None:
        """Note how a request ended; returns when that is on disk."""
        self._write(_line(b"e", event.model_dump_json().encode()))
        self._open.pop(event.id, None)
        self._ended += 1
        await self._synced()

    async def _synced(self) -> None:
        """Return after an fsync that began after this call; concurrent calls share one."""
        running = self._sync
        if running is None or running.done():
            self._sync = running = asyncio.create_task(self._fsync(None))
        elif self._next_sync is None or self._next_sync.done():
            self._next_sync = running = asyncio.create_task(self._fsync(running))
        else:
            running = self._next_sync
        # Shielded: one caller that goes away must not take the others' fsync with it.
        await asyncio.shield(running)

    async def _fsync(self, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
            self._sync, self._next_sync = self._next_sync, None
        # A segment sealed since may hold a line that someone waits for; the folder's entry of a
        # new segment must be on disk before its lines count.
        sealed, self._retired = self._retired, []
        descriptors = [*sealed, os.dup(self._file), os.open(self.folder, os.O_RDONLY)]
        await asyncio.get_running_loop().run_in_executor(None, _sync_and_close, descriptors)

    def seal(self) -> list[Path]:
        """Close the segment if it holds ended requests; return all segments to be shipped.

        Requests still open are noted again in the new segment, so that a shipped segment can go.
        """
        if self._ended:
            self._retired.append(self._file)
            path, size = self._path, self._bytes
            self._file = self._new_segment()
            self._ended = 0
            for line in self._open.values():
                self._write(line)
            self._sealed.append(path)
            self._sealed_bytes += size
        return list(self._sealed)

    def shipped(self, path: Path) -> None:
        """Delete a segment whose events are committed."""
        self._sealed_bytes = max(0, self._sealed_bytes - path.stat().st_size)
        path.unlink()
        if path in self._sealed:
            self._sealed.remove(path)
        if path in self.recovered:
            self.recovered.remove(path)

    def close(self) -> None:
        """Close the files; what was not shipped stays for the next start."""
        _sync_and_close([*self._retired, self._file])
        self._lock.close()
