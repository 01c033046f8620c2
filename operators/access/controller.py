"""Reconcile GatewayAccesses: validate, resolve names, report the gateway's address.

Sole writer of a GatewayAccess' status. The gateway watches the spec itself and enforces it.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from operators import types
from operators.access import plan
from operators.core.api import RawObject
from operators.core.cache import Key
from operators.core.conditions import Finding, conditions
from operators.core.writer import Writer
from operators.status import invalid_findings, parse_status
from operators.view import View
from wire.resources import (
    GatewayAccessSpec,
    GatewayAccessStatus,
    InvalidResourceError,
    parse_spec,
)

KIND = types.custom("GatewayAccess")


class AccessReconciler:
    """Acts on one GatewayAccess at a time."""

    def __init__(
        self,
        view: View,
        writer: Writer,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._view = view
        self._writer = writer
        self._now = now

    async def reconcile(self, key: Key) -> float | None:
        access = self._view.accesses.find(key)
        if access is None or "deletionTimestamp" in access["metadata"]:
            return None
        before = parse_status(access, GatewayAccessStatus)
        try:
            spec = parse_spec(KIND.kind, access.get("spec"))
        except InvalidResourceError as error:
            await self._store(access, before, invalid_findings(KIND.kind, error), None, None)
            return None
        if not isinstance(spec, GatewayAccessSpec):
            raise TypeError(f"{key}: parse_spec returned {type(spec).__name__}")
        gateway = plan.read_gateway(
            self._view.services.by_index("component", plan.COMPONENT),
            self._view.deployments.by_index("component", plan.COMPONENT),
        )
        served = {i["spec"]["serving"]["modelName"] for i in self._view.instances}
        served |= {b["spec"]["alias"] for b in self._view.bindings}
        found = plan.findings(spec, gateway, served)
        await self._store(access, before, found, spec, gateway.endpoint)
        return None

    async def _store(
        self,
        access: RawObject,
        before: GatewayAccessStatus | None,
        found: list[Finding],
        spec: GatewayAccessSpec | None,
        endpoint: str | None,
    ) -> None:
        generation = access["metadata"]["generation"]
        after = GatewayAccessStatus(
            observed_generation=generation,
            conditions=conditions(found, before, generation, self._now()),
            endpoint=endpoint,
            keys=len(spec.keys) if spec else 0,
            groups=len(spec.groups) if spec else 0,
        )
        await self._writer.status(KIND, access, before, after, self._view.accesses)
