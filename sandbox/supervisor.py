"""The process that starts the sandbox's parts, restarts one that dies, and ends them all.

Started by `ringfence up` in a session of its own; ended by `ringfence down` with SIGTERM. It is
separate from the command line so that the sandbox outlives the terminal. Children carry a parent
death signal: a killed supervisor leaves no process behind.

Parts start in order, each once the one before is ready. A part that ends by itself is started
again after a delay that doubles (1 s to 30 s); the record names the part, how it ended and its log.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.home import Home, write_private
from sandbox.part import Part
from sandbox.parts import build_parts

FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
STEADY_SECONDS = 30.0
"""How long a part must run before its next end is answered with the first delay again."""
KEPT_LOG_BYTES = 20_000_000


@dataclass
class Running:
    """What is known of a started part."""

    part: Part
    process: subprocess.Popen[bytes] | None = None
    state: str = "waiting"
    restarts: int = 0
    last_exit: str = ""
    next_start: float = 0.0
    seconds: float = 0.0
    spawned: float = 0.0
    delay: float = field(default=FIRST_DELAY_SECONDS)


class PartFailedError(RuntimeError):
    """A part did not become ready at start-up; the message has its last log lines."""


PREPARATION_ERRORS = (OSError, RuntimeError, ValueError, subprocess.SubprocessError)
"""What preparing or starting a part may raise; it is that part's failure, not the supervisor's."""


def log_tail(path: Path, lines: int = 15, start: int = 0) -> str:
    """Return the last lines of a log after byte `start`, or a note that there is none."""
    if not path.exists():
        return "(no log)"
    data = path.read_bytes()[start:][-200 * max(lines, 100) :].decode(errors="replace")
    return "\n".join(data.splitlines()[-lines:])


class Supervisor:
    """Owns the children; everything runs on the main thread, which the death signal is tied to."""

    def __init__(self, home: Home, parts: Sequence[Part], facts: Mapping[str, Any]) -> None:
        self._home = home
        self._facts = dict(facts)
        self._running = [Running(part) for part in parts]
        self._stopping = threading.Event()
        self._state = "starting"
        self._error = ""
        self._written = ""

    def run(self) -> int:
        """Start everything, watch until told to stop, end everything. Returns the exit code."""
        signal.signal(signal.SIGTERM, lambda *_: self._stopping.set())
        signal.signal(signal.SIGINT, lambda *_: self._stopping.set())
        try:
            for entry in self._running:
                self._bring_up(entry)
                if self._stopping.is_set():
                    break
            if not self._stopping.is_set():
                self._state = "ready"
            self._watch()
            code = 0
        except PartFailedError as error:
            self._state, self._error, code = "failed", str(error), 1
        finally:
            self._end_all()
        if self._state != "failed":
            self._state = "stopped"
        self._write()
        return code

    def _write(self) -> None:
        record = {
            "state": self._state,
            "pid": os.getpid(),
            "error": self._error,
            "facts": self._facts,
            "parts": [
                {
                    "name": e.part.name,
                    "state": e.state,
                    "pid": e.process.pid if e.process and e.process.poll() is None else None,
                    "restarts": e.restarts,
                    "last_exit": e.last_exit,
                    "address": e.part.address,
                    "seconds": round(e.seconds, 2),
                    "log": str(self._log(e)),
                    "emulated": e.part.emulated,
                    "task": e.part.once,
                }
                for e in self._running
            ],
        }
        text = json.dumps(record, indent=2)
        if text != self._written:
            write_private(self._home.record_file, text)
            self._written = text

    def _log(self, entry: Running) -> Path:
        return self._home.logs / f"{entry.part.name}.log"

    def _spawn(self, entry: Running) -> None:
        part, log = entry.part, self._log(entry)
        if part.before:
            part.before()
        if log.exists() and log.stat().st_size > KEPT_LOG_BYTES:
            log.replace(log.with_suffix(".log.1"))
        with log.open("ab") as output:
            entry.process = subprocess.Popen(
                part.argv,
                env=dict(part.environment),
                cwd=self._home.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                pass_fds=() if part.listener is None else (part.listener.fileno(),),
            )
        entry.state, entry.spawned = "starting", time.monotonic()

    def _bring_up(self, entry: Running) -> None:
        started = time.monotonic()
        try:
            self._spawn(entry)
        except PREPARATION_ERRORS as error:
            entry.state = "failed"
            raise PartFailedError(f"{entry.part.name} could not be started: {error}") from error
        self._write()
        while not self._stopping.is_set():
            up = self._is_up(entry)
            entry.seconds = time.monotonic() - started
            if up:
                entry.state = "done" if entry.part.once else "running"
                self._write()
                return
            if entry.seconds > entry.part.timeout_seconds:
                entry.state = "failed"
                raise PartFailedError(self._explain(entry, "was not ready in time"))
            self._stopping.wait(0.05)

    def _is_up(self, entry: Running) -> bool:
        process = entry.process
        assert process is not None
        code = process.poll()
        if entry.part.once:
            if code not in (None, 0):
                entry.state = "failed"
                raise PartFailedError(self._explain(entry, f"ended with {code}"))
            return code == 0
        if code is not None:
            entry.state = "failed"
            raise PartFailedError(self._explain(entry, f"ended with {code}"))
        return entry.part.ready is None or entry.part.ready()

    def _explain(self, entry: Running, what: str) -> str:
        log = self._log(entry)
        return f"{entry.part.name} {what}; its log {log} ends:\n{log_tail(log)}"

    def _watch(self) -> None:
        self._write()
        while not self._stopping.wait(0.25):
            for entry in self._running:
                if not entry.part.once:
                    self._look_after(entry)
            self._write()

    def _look_after(self, entry: Running) -> None:
        now = time.monotonic()
        if entry.process is not None and (code := entry.process.poll()) is not None:
            entry.process = None
            entry.state, entry.last_exit = "restarting", f"ended with {code}"
            entry.next_start = now + entry.delay
            entry.delay = min(entry.delay * 2, LONGEST_DELAY_SECONDS)
            print(f"{entry.part.name} ended with {code}; log {self._log(entry)}", flush=True)
        elif entry.process is None and now >= entry.next_start:
            entry.restarts += 1
            try:
                self._spawn(entry)
            except PREPARATION_ERRORS as error:
                entry.last_exit = f"could not be started: {error}"
                entry.next_start = now + entry.delay
                entry.delay = min(entry.delay * 2, LONGEST_DELAY_SECONDS)
                print(f"{entry.part.name} could not be started: {error}", flush=True)
        elif entry.state == "starting" and (entry.part.ready is None or entry.part.ready()):
            entry.state = "running"
        elif entry.state == "running" and now - entry.spawned > STEADY_SECONDS:
            entry.delay = FIRST_DELAY_SECONDS

    def _end_all(self) -> None:
        self._state = "stopping" if self._state != "failed" else self._state
        self._write()
        for entry in reversed(self._running):
            self._end(entry)
            self._write()
        self._home.remove_sockets()

    def _end(self, entry: Running) -> None:
        process = entry.process
        if process is not None:
            if process.poll() is None:
                process.send_signal(entry.part.stop_signal)
                try:
                    process.wait(entry.part.stop_seconds)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
            # What a part started in its own session ends with it.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        if entry.part.after is not None:
            entry.part.after()
        if entry.state not in ("failed", "waiting"):
            entry.state = "stopped"


def main() -> int:
    """Run the supervisor of the current home; entry of `python -m sandbox.supervisor`."""
    home = Home.current()
    try:
        parts, facts = build_parts(home)
    except PREPARATION_ERRORS as error:
        print(f"error: {error}", flush=True)
        return 1
    return Supervisor(home, parts, facts).run()


if __name__ == "__main__":
    sys.exit(main())
