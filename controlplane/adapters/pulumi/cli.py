"""Run one command of the Pulumi CLI; called by the child process only.

Separate from the SDK's own runner because that one starts the CLI with the whole environment and
lets it outlive its parent: here the kernel kills the CLI when the child dies (PR_SET_PDEATHSIG).
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import threading
from collections import deque
from dataclasses import dataclass
from typing import IO

_PR_SET_PDEATHSIG = 1
# Loaded before any fork: between fork and exec nothing may take a lock.
_libc = ctypes.CDLL(None, use_errno=True)

TAIL_LINES = 200


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends (prctl(2))."""
    if _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        os._exit(71)


@dataclass(frozen=True)
class Outcome:
    """How a command ended; texts hold its last lines."""

    code: int
    stdout: str
    stderr: str


class Cli:
    """The CLI with its environment; one command at a time."""

    def __init__(self, program: str, work_dir: str, environment: dict[str, str]) -> None:
        self._program = program
        self._work_dir = work_dir
        self._environment = environment

    def run(self, arguments: list[str]) -> Outcome:
        """Run to the end and return the outcome; never prompts."""
        process = subprocess.Popen(
            [self._program, "--non-interactive", *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self._work_dir,
            env=self._environment,
            encoding="utf-8",
            errors="replace",
            preexec_fn=die_with_parent,  # no lock is taken: only prctl(2), loaded above
        )
        stdout: deque[str] = deque(maxlen=TAIL_LINES)
        stderr: deque[str] = deque(maxlen=TAIL_LINES)
        readers = [_drain(process.stdout, stdout), _drain(process.stderr, stderr)]
        code = process.wait()
        for reader in readers:
            # A plugin may hold the pipe open after the CLI has ended; its words are not awaited.
            reader.join(timeout=2)
        return Outcome(code, "\n".join(stdout), "\n".join(stderr))


def _drain(stream: IO[str] | None, lines: deque[str]) -> threading.Thread:
    assert stream is not None

    def read() -> None:
        with stream:
            lines.extend(line.rstrip("\n") for line in stream)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread
