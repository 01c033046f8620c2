"""Reconcile SecurityBoundaries: gather, plan, write.

Sole writer of a SecurityBoundary's status and of the boundary's policies, quota and labels.
"""

from __future__ import annotations

from datetime import UTC, datetime

from operators import types
from operators.boundary import plan
from operators.core.api import RawObject
from operators.core.cache import Key, key_of
from operators.core.conditions import Finding, conditions
from operators.core.writer import Writer
from operators.settings import Settings
from operators.status import invalid_findings, parse_status
from operators.view import View
from wire.resources import (
    InvalidResourceError,
    SecurityBoundarySpec,
    SecurityBoundaryStatus,
    parse_spec,
)

MANAGER = "ringfence/boundary"
KIND = types.custom("SecurityBoundary")


class BoundaryReconciler:
    """Acts on one SecurityBoundary at a time."""

    def __init__(self, view: View, writer: Writer, settings: Settings) -> None:
        self._view = view
        self._writer = writer
        self._settings = settings

    async def reconcile(self, key: Key) -> float | None:
        boundary = self._view.boundaries.find(key)
        if boundary is None or "deletionTimestamp" in boundary["metadata"]:
            return None
        try:
            spec = parse_spec(KIND.kind, boundary.get("spec"))
        except InvalidResourceError as error:
            await self._store(boundary, invalid_findings(KIND.kind, error), None, None)
            return None
        if not isinstance(spec, SecurityBoundarySpec):
            raise TypeError(f"{key}: parse_spec returned {type(spec).__name__}")
        namespace = self._view.namespaces.find(Key("", spec.namespace))
        digest = None
        if namespace is not None and spec.namespace == self._settings.namespace:
            digest = await self._write_children(boundary, spec)
        quota = plan.resource_quota(boundary, spec)
        found = plan.findings(
            spec, self._settings.namespace, namespace is not None, quota is not None
        )
        uid = namespace["metadata"]["uid"] if namespace is not None else None
        await self._store(boundary, found, uid, digest)
        return None

    async def _write_children(self, boundary: RawObject, spec: SecurityBoundarySpec) -> str:
        """Store policies first, so that nothing runs in a namespace that is still open."""
        policies = plan.network_policies(boundary, spec)
        for policy in policies:
            await self._writer.apply(types.NETWORK_POLICY, policy, self._view.policies, MANAGER)
        labels = plan.namespace_labels(boundary, spec)
        await self._writer.apply(types.NAMESPACE, labels, self._view.namespaces, MANAGER)
        quota = plan.resource_quota(boundary, spec)
        if quota is not None:
            await self._writer.apply(types.RESOURCE_QUOTA, quota, self._view.quotas, MANAGER)
        elif self._view.quotas.find(Key(spec.namespace, "boundary")) is not None:
            await self._writer.delete(types.RESOURCE_QUOTA, Key(spec.namespace, "boundary"))
        wanted = {policy["metadata"]["name"] for policy in policies}
        for policy in self._view.policies.by_index("component", plan.COMPONENT):
            if policy["metadata"]["name"] not in wanted:
                await self._writer.delete(types.NETWORK_POLICY, key_of(policy))
        return plan.policy_hash(policies)

    async def _store(
        self, boundary: RawObject, found: list[Finding], uid: str | None, digest: str | None
    ) -> None:
        before = parse_status(boundary, SecurityBoundaryStatus)
        generation = boundary["metadata"]["generation"]
        after = SecurityBoundaryStatus(
            observed_generation=generation,
            conditions=conditions(found, before, generation, datetime.now(UTC)),
            namespace_uid=uid,
            policy_hash=digest,
        )
        await self._writer.status(KIND, boundary, before, after, self._view.boundaries)
