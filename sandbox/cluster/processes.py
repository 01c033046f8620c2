"""One supervised child process with a log and restarts with back-off.

Called by the supervisor inside the namespace for every server and for the node agent.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from pathlib import Path

from sandbox.cluster.components import Component

FIRST_DELAY = 0.2
LONGEST_DELAY = 5.0
STEADY_SECONDS = 30.0


class Supervised:
    """Keeps one component running until `stop`."""

    def __init__(self, component: Component, logs: Path) -> None:
        self.component = component
        self.log = logs / f"{component.name}.log"
        self.restarts = 0
        self._process: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name=self.component.name)

    async def _keep(self) -> None:
        delay = FIRST_DELAY
        while not self._stopping:
            started = time.monotonic()
            with self.log.open("ab") as log:
                self._process = await asyncio.create_subprocess_exec(
                    *self.component.command,
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=self.component.environment,
                    # Signals to the supervisor's group must not reach its parts twice.
                    start_new_session=True,
                )
            code = await self._process.wait()
            if self._stopping:
                return
            if time.monotonic() - started > STEADY_SECONDS:
                delay = FIRST_DELAY
            self.restarts += 1
            print(
                f"{self.component.name} ended with {code}; restart {self.restarts} "
                f"in {delay:.1f} s; log: {self.log}",
                flush=True,
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY)

    def send_signal(self, number: signal.Signals) -> None:
        """Signal the process if it runs."""
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, seconds: float) -> None:
        """End the process: SIGTERM, then SIGKILL after some seconds."""
        self._stopping = True
        process = self._process
        if process is not None and process.returncode is None:
            self.send_signal(signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), seconds)
            except TimeoutError:
                self.send_signal(signal.SIGKILL)
                await process.wait()
        if self._task is not None:
            self._task.cancel()


def tail(path: Path, lines: int = 12) -> str:
    """Return the last lines of a log."""
    try:
        content = path.read_text(errors="replace").splitlines()
    except FileNotFoundError:
        return "(no log)"
    return "\n".join(content[-lines:])


def agent_environment() -> dict[str, str]:
    """Return what the node agent inherits: paths and thread limits, never a secret."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "XDG_CACHE_HOME", "PYTHONPATH")
        or name.startswith(("OPENBLAS_", "OMP_"))
    }
    return {**kept, "PYTHONUNBUFFERED": "1"}
