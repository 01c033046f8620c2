"""One container of a pod: runs, restarts with back-off, probes, and what its status says.

Called by the pod runner, one per container, init containers included.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sandbox.node.api import Object
from sandbox.node.environment import ConfigError
from sandbox.node.images import ImageError, resolve
from sandbox.node.probes import Probes
from sandbox.node.process import ContainerProcess, Launch, StartError
from sandbox.node.volumes import VolumeError

FIRST_BACKOFF = 1.0
LONGEST_BACKOFF = 30.0
STEADY_SECONDS = 60.0
MESSAGE_BYTES = 4096
LOG_MESSAGE_BYTES = 2048

MakeLaunch = Callable[[Object], Awaitable[Launch]]


def timestamp() -> str:
    """Return now as Kubernetes writes it."""
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Container:
    """Keeps one container in the state its pod wants."""

    def __init__(
        self,
        pod: Object,
        spec: Object,
        *,
        namespace: Path,
        scratch: Path,
        logs: Path,
        address: str,
        launch: MakeLaunch,
        changed: Callable[[], None],
    ) -> None:
        self.spec = spec
        self.name: str = spec["name"]
        self.restarts = 0
        self.state: Object = {"waiting": {"reason": "ContainerCreating"}}
        self.last: Object = {}
        self.process: ContainerProcess | None = None
        self.env: dict[str, str] = {}
        self.probes = Probes(spec, address, changed, self._unhealthy)
        self._pod = pod
        self._namespace = namespace
        self._scratch = scratch
        self._logs = logs
        self._launch = launch
        self._changed = changed
        self._stopping = False
        self._starting: asyncio.Task[None] | None = None
        self._grace = float(pod["spec"].get("terminationGracePeriodSeconds") or 0)

    @property
    def log(self) -> Path:
        """The log of the present run."""
        return self.log_of(self.restarts)

    def log_of(self, run: int) -> Path:
        return self._logs / f"{self.name}.{run}.log"

    @property
    def terminated(self) -> Object | None:
        found: Object | None = self.state.get("terminated")
        return found

    @property
    def ready(self) -> bool:
        return "running" in self.state and self.probes.started and self.probes.ready

    async def run(self, policy: str) -> int:
        """Run until it ends for good under a restart policy; return the last exit code."""
        delay = FIRST_BACKOFF
        while True:
            began = time.monotonic()
            code = await self._once()
            again = policy == "Always" or (policy == "OnFailure" and code != 0)
            if self._stopping or not again:
                return code
            if time.monotonic() - began > STEADY_SECONDS:
                delay = FIRST_BACKOFF
            self.last = self.state
            self._wait(
                "CrashLoopBackOff", f"back-off {delay:.0f}s restarting failed container {self.name}"
            )
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_BACKOFF)
            self.restarts += 1

    async def _once(self) -> int:
        """Run one process to its end; configuration errors are waited out."""
        started = timestamp()
        try:
            log_path = await self._start()
        except StartError as error:
            return self._ended(128, "StartError", str(error), started)
        process = self.process
        if process is None:
            return self._ended(137, "Error", "deleted before it started", started)
        self.state = {"running": {"startedAt": timestamp()}}
        probing = asyncio.create_task(self.probes.run(process, self.env))
        self._changed()
        try:
            code = await process.wait()
        finally:
            probing.cancel()
            self.probes.reset()
            self.process = None
        message = await asyncio.to_thread(self._message, log_path, code)
        return self._ended(code, "Completed" if code == 0 else "Error", message, started)

    async def _start(self) -> Path:
        """Start the process, unless the pod ends first; return its log."""
        while True:
            try:
                resolve(self.spec["image"])
                launch = await self._launch(self.spec)
                break
            except ImageError as error:
                self._wait(error.reason, str(error))
            except (ConfigError, VolumeError) as error:
                self._wait("CreateContainerConfigError", str(error))
            await asyncio.sleep(1)
        self.env = launch.env
        self._termination.parent.mkdir(parents=True, exist_ok=True)
        self._termination.write_bytes(b"")
        log_path = self.log
        log_path.parent.mkdir(parents=True, exist_ok=True)
        if not self._stopping:
            self._starting = asyncio.create_task(self._spawn(launch, log_path))
            # Shielded: a process must not be lost between its start and our knowing of it.
            await asyncio.shield(self._starting)
        return log_path

    async def _spawn(self, launch: Launch, log_path: Path) -> None:
        spec_file = self._scratch / f"{self.name}.json"
        with log_path.open("ab") as log:
            self.process = await ContainerProcess.start(launch, self._namespace, spec_file, log)

    @property
    def _termination(self) -> Path:
        return self._scratch / f"{self.name}.termination"

    def _message(self, log: Path, code: int) -> str:
        text = self._termination.read_bytes()[:MESSAGE_BYTES].decode(errors="replace")
        fallback = self.spec.get("terminationMessagePolicy") == "FallbackToLogsOnError"
        if not text and code != 0 and fallback:
            text = log.read_bytes()[-LOG_MESSAGE_BYTES:].decode(errors="replace")
        return text

    def _ended(self, code: int, reason: str, message: str, started: str) -> int:
        terminated = {
            "exitCode": code,
            "reason": reason,
            "startedAt": started,
            "finishedAt": timestamp(),
            "containerID": self.identity,
        }
        if code > 128 and reason == "Error":
            terminated["signal"] = code - 128
        if message:
            terminated["message"] = message
        self.state = {"terminated": terminated}
        self._changed()
        return code

    def _wait(self, reason: str, message: str) -> None:
        self.state = {"waiting": {"reason": reason, "message": message}}
        self._changed()

    @property
    def identity(self) -> str:
        return f"sandbox://{self._pod['metadata']['uid']}/{self.name}/{self.restarts}"

    async def _unhealthy(self, reason: str) -> None:
        """Restart after a failed liveness or start-up probe."""
        print(f"{self._pod['metadata']['name']}/{self.name}: {reason}; restarting", flush=True)
        await self._end(self._grace)

    async def stop(self, grace: float) -> None:
        """End the container for good: preStop, stop signal, SIGKILL after `grace` seconds."""
        self._stopping = True
        await self._end(grace)

    async def _end(self, grace: float) -> None:
        if self._starting is not None:
            await asyncio.wait({self._starting})
        process = self.process
        if process is None:
            return
        ended = asyncio.create_task(process.wait())
        deadline = time.monotonic() + grace
        if grace > 0:
            hook = (self.spec.get("lifecycle") or {}).get("preStop")
            if hook:
                await self.probes.hook(hook, process, self.env, grace)
            process.signal(signal.Signals[resolve(self.spec["image"]).stop_signal])
            await asyncio.wait({ended}, timeout=max(0.0, deadline - time.monotonic()))
        if not ended.done():
            process.signal(signal.SIGKILL)
        await ended

    def status(self) -> Object:
        """Return the container's entry in the pod's status."""
        try:
            image_id = resolve(self.spec["image"]).reference
        except ImageError:
            image_id = ""
        running = "running" in self.state
        found: dict[str, Any] = {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": image_id,
            "ready": self.ready,
            "started": running and self.probes.started,
            "restartCount": self.restarts,
            "state": self.state,
            "lastState": self.last,
        }
        if running or self.terminated:
            found["containerID"] = self.identity
        return found

    def restore(self, status: Object | None) -> None:
        """Go on from the status of an earlier agent: the run it tells of is over."""
        if status is None:
            return
        self.restarts = int(status.get("restartCount") or 0)
        state = status.get("state") or {}
        if "running" in state:
            self.restarts += 1
            self.last = {
                "terminated": {
                    "exitCode": 137,
                    "reason": "ContainerStatusUnknown",
                    "message": "the node restarted",
                    "startedAt": state["running"].get("startedAt"),
                    "finishedAt": timestamp(),
                }
            }


def dump(value: Object) -> str:
    """Return a stable text of an object, to compare states."""
    return json.dumps(value, sort_keys=True)
