"""Probes and life-cycle hooks of one container: HTTP, TCP and commands.

Called by the container runner. Until a container is first started and ready it is probed ten
times a second instead of every period, so that a rehearsal does not wait for a timer; the limits
on failures count time, so nothing is given up earlier than Kubernetes would.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

import aiohttp

from sandbox.node.api import Object
from sandbox.node.process import ContainerProcess

EAGER_SECONDS = 0.1


class Probes:
    """What a container's probes say; a container without a probe passes it."""

    def __init__(
        self,
        spec: Object,
        address: str,
        changed: Callable[[], None],
        unhealthy: Callable[[str], Coroutine[Any, Any, None]],
    ) -> None:
        self._spec = spec
        self._address = address
        self._changed = changed
        self._unhealthy = unhealthy
        self.started = False
        self.ready = False
        self._ending: asyncio.Task[None] | None = None
        self.reset()

    def reset(self) -> None:
        """Forget the results of the run that ended."""
        self.started = "startupProbe" not in self._spec
        self.ready = False

    async def run(self, process: ContainerProcess, env: dict[str, str]) -> None:
        """Probe until cancelled or the container is given up."""
        self.reset()
        began = time.monotonic()
        startup = self._spec.get("startupProbe")
        if startup and not await self._startup(startup, process, env):
            return
        self.started = True
        self.ready = "readinessProbe" not in self._spec
        self._changed()
        tasks = []
        if "readinessProbe" in self._spec:
            tasks.append(self._readiness(self._spec["readinessProbe"], process, env, began))
        if "livenessProbe" in self._spec:
            tasks.append(self._liveness(self._spec["livenessProbe"], process, env, began))
        await asyncio.gather(*tasks)

    async def _startup(self, probe: Object, process: ContainerProcess, env: dict[str, str]) -> bool:
        period = float(probe.get("periodSeconds") or 10)
        limit = int(probe.get("failureThreshold") or 3) * period
        await asyncio.sleep(float(probe.get("initialDelaySeconds") or 0))
        deadline = time.monotonic() + limit
        while not await self._check(probe, process, env):
            if time.monotonic() > deadline:
                await self._unhealthy(f"start-up probe failed for {limit:.0f} s")
                return False
            await asyncio.sleep(min(period, EAGER_SECONDS))
        return True

    async def _readiness(
        self, probe: Object, process: ContainerProcess, env: dict[str, str], began: float
    ) -> None:
        period = float(probe.get("periodSeconds") or 10)
        failures = successes = 0
        delay = float(probe.get("initialDelaySeconds") or 0) - (time.monotonic() - began)
        await asyncio.sleep(max(0.0, delay))
        while True:
            if await self._check(probe, process, env):
                failures, successes = 0, successes + 1
                if not self.ready and successes >= int(probe.get("successThreshold") or 1):
                    self.ready = True
                    self._changed()
            else:
                successes, failures = 0, failures + 1
                if self.ready and failures >= int(probe.get("failureThreshold") or 3):
                    self.ready = False
                    self._changed()
            await asyncio.sleep(period if self.ready else min(period, EAGER_SECONDS))

    async def _liveness(
        self, probe: Object, process: ContainerProcess, env: dict[str, str], began: float
    ) -> None:
        period = float(probe.get("periodSeconds") or 10)
        limit = int(probe.get("failureThreshold") or 3)
        delay = float(probe.get("initialDelaySeconds") or 0) - (time.monotonic() - began)
        await asyncio.sleep(max(0.0, delay))
        failures = 0
        while True:
            failures = 0 if await self._check(probe, process, env) else failures + 1
            if failures >= limit:
                # In a task of its own: restarting cancels the one that probes.
                self._ending = asyncio.create_task(
                    self._unhealthy(f"liveness probe failed {failures} times")
                )
                return
            await asyncio.sleep(period)

    async def _check(self, probe: Object, process: ContainerProcess, env: dict[str, str]) -> bool:
        seconds = float(probe.get("timeoutSeconds") or 1)
        try:
            return await self._act(probe, process, env, seconds)
        except (aiohttp.ClientError, OSError, TimeoutError):
            return False

    async def _act(
        self, action: Object, process: ContainerProcess, env: dict[str, str], seconds: float
    ) -> bool:
        if "exec" in action:
            command = list(action["exec"].get("command") or ())
            return await process.execute(command, env, seconds) == 0
        if "tcpSocket" in action:
            port = self._port(action["tcpSocket"]["port"])
            _, writer = await asyncio.wait_for(
                asyncio.open_connection(self._address, port), seconds
            )
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            return True
        if "httpGet" in action:
            return await self._http(action["httpGet"], seconds)
        return False

    async def _http(self, action: Object, seconds: float) -> bool:
        scheme = (action.get("scheme") or "HTTP").lower()
        host = action.get("host") or self._address
        path = action.get("path") or "/"
        url = f"{scheme}://{host}:{self._port(action['port'])}{path}"
        headers = {item["name"]: item["value"] for item in action.get("httpHeaders") or ()}
        timeout = aiohttp.ClientTimeout(total=seconds)
        async with (
            aiohttp.ClientSession(timeout=timeout) as session,
            # As the kubelet: the certificate of a probed container is not checked.
            session.get(url, headers=headers, ssl=False, allow_redirects=False) as response,
        ):
            return 200 <= response.status < 400

    def _port(self, port: int | str) -> int:
        if isinstance(port, int):
            return port
        for item in self._spec.get("ports") or ():
            if item.get("name") == port:
                return int(item["containerPort"])
        raise OSError(f"port {port!r} is not a named port of container {self._spec['name']!r}")

    async def hook(
        self, action: Object, process: ContainerProcess, env: dict[str, str], seconds: float
    ) -> None:
        """Run a life-cycle hook; its failure is not the container's."""
        with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
            if "sleep" in action:
                await asyncio.sleep(min(seconds, float(action["sleep"]["seconds"])))
            else:
                await self._act(action, process, env, seconds)
