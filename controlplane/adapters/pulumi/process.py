"""Start, watch, stop and prove dead the engine's child process and everything it started.

Called by `engine.py` (own child) and `recovery.py` (a dead worker's child). Separate from the
engine's protocol because here only processes matter: the child leads a session of its own, so that
the CLI and its plugins, which make process groups of their own, are still found by their session.
Linux only: reads /proc.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from controlplane.adapters.pulumi.usage import SessionUsage
from controlplane.core.errors import ConflictError

_PAGE = os.sysconf("SC_PAGE_SIZE")
WATCH_SECONDS = 0.5


class ProcessAliveError(ConflictError):
    """The old engine cannot be proven dead; retry later, never beside it."""

    code = "engine-alive"


class ProcessIdentity(BaseModel):
    """One process, unmistakably: a pid alone is reused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    host: str
    boot_id: str
    pid: int
    start_time: int
    """Clock ticks since boot (proc_pid_stat(5), field 22)."""
    marker: str
    """The run's PULUMI_HOME, which only its own processes have in their environment."""


@dataclass(frozen=True)
class _Entry:
    pid: int
    state: str
    session: int
    start_time: int
    rss: int


def _entry(pid: int) -> _Entry | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The name may hold spaces and parentheses; the last one ends it.
    fields = text.rpartition(")")[2].split()
    return _Entry(pid, fields[0], int(fields[3]), int(fields[19]), int(fields[21]) * _PAGE)


def _session(session: int) -> Iterator[_Entry]:
    for name in os.listdir("/proc"):
        # Asked of the kernel first: to read the file of every process of the machine, twice a
        # second, was a tenth of the worker's processor time.
        if name.isdigit() and _session_of(int(name)) == session:
            entry = _entry(int(name))
            if entry and entry.session == session and entry.state not in "ZX":
                yield entry


def _session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except (ProcessLookupError, PermissionError):
        return None


def boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def identify(pid: int, marker: str) -> ProcessIdentity:
    """Return the identity of a live process. Raises: ProcessLookupError."""
    entry = _entry(pid)
    if entry is None:
        raise ProcessLookupError(f"process {pid} is gone")
    return ProcessIdentity(
        host=socket.gethostname(),
        boot_id=boot_id(),
        pid=pid,
        start_time=entry.start_time,
        marker=marker,
    )


def _has_marker(pid: int, marker: str) -> bool:
    try:
        environment = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return False
    return f"PULUMI_HOME={marker}".encode() in environment.split(b"\0")


def _members(identity: ProcessIdentity) -> list[int]:
    leader = _entry(identity.pid)
    ours = leader is not None and leader.start_time == identity.start_time
    return [
        entry.pid
        for entry in _session(identity.pid)
        if (ours and entry.pid == identity.pid) or _has_marker(entry.pid, identity.marker)
    ]


def prove_dead(identity: ProcessIdentity, timeout_seconds: float = 10.0) -> list[int]:
    """Kill what is left of an old engine and return the pids once none is left.

    Raises: ProcessAliveError for another host (only its lease and the expiry of its credentials
    bound it) or when a process does not die in time.
    """
    if identity.host != socket.gethostname():
        raise ProcessAliveError(
            f"the engine ran on host {identity.host}: it cannot be proven dead from here",
            fix="wait for its lease and its 900 s session to end",
        )
    killed: list[int] = []
    if identity.boot_id != boot_id():
        return killed
    deadline = time.monotonic() + timeout_seconds
    while left := _members(identity):
        for pid in left:
            _kill(pid, signal.SIGKILL)
            if pid not in killed:
                killed.append(pid)
        if time.monotonic() > deadline:
            raise ProcessAliveError(
                f"processes {left} of the old engine do not die", fix="look at them with ps"
            )
        time.sleep(0.02)
    return killed


def _kill(pid: int, number: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


_spawners: dict[int, ThreadPoolExecutor] = {}
_spawners_lock = threading.Lock()


def _spawner() -> ThreadPoolExecutor:
    # The kernel sends the death signal when the *thread* that forked ends (prctl(2)), so children
    # are forked by one thread that lives as long as this process; a forked worker makes its own.
    with _spawners_lock:
        return _spawners.setdefault(
            os.getpid(), ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine-spawner")
        )


@dataclass(frozen=True)
class Limits:
    """What a child may use before it is stopped."""

    memory_bytes: int = 3 << 30
    """Resident memory of the whole session. Not RLIMIT_AS: Go reserves address space freely."""
    wall_clock_seconds: float = 3600.0
    grace_seconds: float = 30.0
    """From SIGINT, on which the engine finishes what it has begun, to SIGKILL."""


class ChildProcess:
    """A running child under watch."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        work_dir: Path,
        stderr_path: Path,
        limits: Limits,
    ) -> None:
        self._limits = limits
        self.stop_reason: str | None = None
        self.usage = SessionUsage()
        self._lock = threading.Lock()
        self._done = threading.Event()

        def start() -> subprocess.Popen[str]:
            handle = os.open(stderr_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(handle, "a") as errors:
                return subprocess.Popen(
                    list(arguments),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=errors,
                    env=dict(environment),
                    cwd=work_dir,
                    start_new_session=True,
                    encoding="utf-8",
                )

        self._process = _spawner().submit(start).result()
        self.identity = identify(self._process.pid, environment["PULUMI_HOME"])
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def send(self, line: str) -> None:
        """Write one line. Raises: BrokenPipeError when the child is gone."""
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def lines(self) -> Iterator[str]:
        """Yield the child's lines until its pipe ends."""
        assert self._process.stdout is not None
        yield from self._process.stdout

    def interrupt(self, reason: str) -> None:
        """Ask for an orderly stop now, and make it certain after the grace time."""
        with self._lock:
            if self.stop_reason is not None or self._done.is_set():
                return
            self.stop_reason = reason
        threading.Thread(target=self._stop_ladder, daemon=True).start()

    def close(self) -> None:
        """End the child: input closed, a short wait, then the whole session killed."""
        self._look()
        self._done.set()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # gone already, which is what we want
            self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
        prove_dead(self.identity)
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()
        self._watcher.join()

    def _stop_ladder(self) -> None:
        try:
            os.killpg(self._process.pid, signal.SIGINT)
        except ProcessLookupError:
            return
        if not self._done.wait(self._limits.grace_seconds):
            prove_dead(self.identity)

    def _look(self) -> int:
        """Return what the session's processes have resident together, in bytes."""
        entries = list(_session(self._process.pid))
        with self._lock:
            self.usage.look(self._process.pid, [entry.pid for entry in entries])
        return sum(entry.rss for entry in entries)

    def _watch(self) -> None:
        deadline = time.monotonic() + self._limits.wall_clock_seconds
        while not self._done.wait(WATCH_SECONDS):
            if time.monotonic() > deadline:
                self.interrupt("engine-timeout")
            used = self._look()
            if used > self._limits.memory_bytes:
                with self._lock:
                    self.stop_reason = self.stop_reason or "engine-memory"
                # No grace: a leak that goes on for 30 s takes the host along.
                prove_dead(self.identity)
                return
