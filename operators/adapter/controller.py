"""Reconcile AdapterBindings: report whether the instance serves the alias.

Sole writer of an AdapterBinding's status. It mounts nothing itself: the instance's plan gives
eligible adapters to the engine at start.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from operators import types
from operators.adapter.eligibility import Eligibility, judge
from operators.core.api import RawObject
from operators.core.cache import Key
from operators.core.conditions import Finding, conditions, summary
from operators.core.writer import Writer
from operators.status import invalid_findings, is_true, parse_status, reason_of
from operators.view import View
from wire.resources import (
    AdapterBindingSpec,
    AdapterBindingStatus,
    BindingReason,
    InvalidResourceError,
    parse_spec,
)

KIND = types.custom("AdapterBinding")


class BindingReconciler:
    """Acts on one AdapterBinding at a time."""

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
        binding = self._view.bindings.find(key)
        if binding is None or "deletionTimestamp" in binding["metadata"]:
            return None
        before = parse_status(binding, AdapterBindingStatus)
        try:
            spec = parse_spec(KIND.kind, binding.get("spec"))
        except InvalidResourceError as error:
            await self._store(binding, before, invalid_findings(KIND.kind, error), 0)
            return None
        if not isinstance(spec, AdapterBindingSpec):
            raise TypeError(f"{key}: parse_spec returned {type(spec).__name__}")
        instance = self._view.instances.find(Key(key.namespace, spec.instance_ref.name))
        found, loaded = self._find(binding, spec, instance)
        await self._store(binding, before, found, loaded)
        return None

    def _find(
        self, binding: RawObject, spec: AdapterBindingSpec, instance: RawObject | None
    ) -> tuple[list[Finding], int]:
        if instance is None:
            message = f"ModelInstance {spec.instance_ref.name} does not exist here"
            return not_loaded(BindingReason.INSTANCE_NOT_FOUND, message), 0
        namespace = binding["metadata"]["namespace"]
        artifact = self._view.artifact(namespace, spec.artifact_ref.name)
        siblings = self._view.bindings.by_index("instance", spec.instance_ref.name)
        judgement = judge(binding, instance, artifact, siblings)
        if judgement.outcome is not Eligibility.MOUNTED:
            return not_loaded(judgement.reason, judgement.message), 0
        status = instance.get("status", {})
        if spec.alias in status.get("servedModels", []) and is_true(instance, "EngineHealthy"):
            loaded = [Finding("Loaded", "True", BindingReason.LOADED)]
            ready = summary(loaded, BindingReason.READY)
            return [ready, *loaded], int(status.get("readyReplicas", 0))
        why = reason_of(instance, "Ready") or "not observed yet"
        message = f"the instance does not list {spec.alias} yet: {why}"
        return not_loaded(BindingReason.LOADING, message), 0

    async def _store(
        self,
        binding: RawObject,
        before: AdapterBindingStatus | None,
        found: list[Finding],
        loaded_on: int,
    ) -> None:
        generation = binding["metadata"]["generation"]
        after = AdapterBindingStatus(
            observed_generation=generation,
            conditions=conditions(found, before, generation, self._now()),
            loaded_on=loaded_on,
        )
        await self._writer.status(KIND, binding, before, after, self._view.bindings)


def not_loaded(reason: BindingReason, message: str) -> list[Finding]:
    """Return both conditions of a binding that is not served."""
    return [
        Finding("Ready", "False", reason, message),
        Finding("Loaded", "False", reason, message),
    ]
