"""Leader election on a Lease, with fencing: who cannot renew stops before the lease can lapse.

Used by `operators.main`. Own code because the client's election leaves the old leader running when
it is cancelled. Another holder's lease is judged by how long *we* have seen it unchanged, so clocks
need not agree.
"""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import aiohttp

from operators.core.api import ApiError, KubernetesApi, RawObject, ResourceType
from operators.core.metrics import Metrics

log = logging.getLogger("operators.lease")

LEASE = ResourceType("coordination.k8s.io/v1", "Lease", "leases")


@dataclass(frozen=True)
class Timing:
    """How long things take, in seconds; `stop` plus the time to stop is less than `duration`."""

    duration: int = 15
    """How long a lease is good after its last renewal."""
    renew: float = 4.0
    """Between two renewals."""
    stop: float = 9.0
    """Without a renewal for so long the work is stopped; the rest is for stopping."""


class Lease:
    """One lease and this process' claim to it."""

    def __init__(
        self,
        api: KubernetesApi,
        namespace: str,
        name: str,
        identity: str,
        metrics: Metrics,
        timing: Timing | None = None,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._metrics = metrics
        self._timing = timing or Timing()
        self._seen: tuple[object, float] | None = None
        self._renewed = 0.0

    async def acquire(self) -> None:
        """Wait until this process holds the lease."""
        while True:
            try:
                if await self._try():
                    self._metrics.count("lease_transitions_total")
                    log.info("%s holds lease %s", self._identity, self._name)
                    return
            except (ApiError, aiohttp.ClientError, OSError) as error:
                log.warning("lease %s: %s", self._name, error)
            await asyncio.sleep(self._timing.renew / 4)

    async def keep(self) -> None:
        """Renew until that is no longer possible; then the work must stop at once."""
        while True:
            await asyncio.sleep(self._timing.renew)
            left = self._timing.stop - (time.monotonic() - self._renewed)
            try:
                async with asyncio.timeout(max(0.1, min(self._timing.renew, left))):
                    if not await self._try():
                        log.error("lease %s was taken by another", self._name)
                        return
            except (ApiError, aiohttp.ClientError, OSError) as error:
                log.warning("lease %s: %s", self._name, error)
            silent = time.monotonic() - self._renewed
            if silent > self._timing.stop - self._timing.renew:
                # The next chance would come after the limit: stop now, not then.
                log.error("lease %s could not be renewed for %.1f s", self._name, silent)
                return

    async def release(self) -> None:
        """Give the lease up, so that the next process need not wait for its end."""
        lease = await self._read()
        if lease is None or lease["spec"].get("holderIdentity") != self._identity:
            return
        lease["spec"].update(holderIdentity="", leaseDurationSeconds=1)
        await self._replace(lease)

    async def _try(self) -> bool:
        lease = await self._read()
        started = time.monotonic()
        if lease is None:
            held = await self._create()
        elif self._may_take(lease):
            other = lease["spec"].get("holderIdentity") != self._identity
            lease["spec"] |= self._claim(other, lease["spec"])
            held = await self._replace(lease)
        else:
            held = False
        if held:
            self._renewed = started
        return held

    def _may_take(self, lease: RawObject) -> bool:
        spec = lease.get("spec", {})
        holder = spec.get("holderIdentity")
        if not holder or holder == self._identity:
            return True
        mark = (holder, spec.get("renewTime"))
        now = time.monotonic()
        if self._seen is None or self._seen[0] != mark:
            self._seen = (mark, now)
            return False
        return now - self._seen[1] > float(spec.get("leaseDurationSeconds", self._timing.duration))

    def _claim(self, other: bool, before: RawObject) -> RawObject:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        claim: RawObject = {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": self._timing.duration,
            "renewTime": now,
        }
        if other:
            claim["acquireTime"] = now
            claim["leaseTransitions"] = int(before.get("leaseTransitions", 0)) + 1
        return claim

    async def _read(self) -> RawObject | None:
        try:
            return await self._api.get(LEASE, self._namespace, self._name)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _create(self) -> bool:
        body = {
            "apiVersion": LEASE.api_version,
            "kind": LEASE.kind,
            "metadata": {"name": self._name, "namespace": self._namespace},
            "spec": self._claim(True, {}),
        }
        return await self._write("POST", LEASE.path(self._namespace), body)

    async def _replace(self, lease: RawObject) -> bool:
        # The resourceVersion in the body makes this a compare-and-swap.
        return await self._write("PUT", LEASE.path(self._namespace, self._name), lease)

    async def _write(self, method: str, path: str, body: RawObject) -> bool:
        try:
            await self._api.request(method, path, body=body)
        except ApiError as error:
            if error.status == 409:
                return False
            raise
        return True
