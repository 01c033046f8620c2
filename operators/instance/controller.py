"""Reconcile ModelInstances: gather, plan, write, ask the engine, store the conditions.

Sole writer of a ModelInstance's status and of its Deployment, Service, ConfigMap and policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from operators import types
from operators.adapter.eligibility import Eligibility, Judgement, judge
from operators.artifact.plan import store_path
from operators.core.api import RawObject
from operators.core.cache import Key
from operators.core.conditions import Finding, conditions
from operators.core.writer import Writer
from operators.engines.prober import EngineProber, Question
from operators.engines.protocol import MountedAdapter
from operators.instance import plan, verdict
from operators.settings import Settings
from operators.status import invalid_findings, is_true, parse_status, reason_of
from operators.view import View
from wire.resources import (
    AdapterCount,
    ArtifactReason,
    InstanceFailure,
    InstanceReason,
    InvalidResourceError,
    ModelInstanceSpec,
    ModelInstanceStatus,
    SmokeResult,
    parse_spec,
)

MANAGER = "ringfence/instance"
KIND = types.custom("ModelInstance")
PROFILES = ("cpu",)
"""Built in until AcceleratorProfiles are their own kind."""


@dataclass(frozen=True)
class Gathered:
    """What a reconcile found before it decides."""

    spec: ModelInstanceSpec
    base: RawObject | None
    bindings: list[tuple[RawObject, Judgement]]
    exists: bool
    """Whether the Deployment exists already."""
    over_limit: str
    """Why the boundary's maxInstances leaves no place; empty when there is one."""


class InstanceReconciler:
    """Acts on one ModelInstance at a time."""

    def __init__(
        self,
        view: View,
        writer: Writer,
        settings: Settings,
        prober: EngineProber,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._view = view
        self._writer = writer
        self._settings = settings
        self._prober = prober
        self._now = now

    async def reconcile(self, key: Key) -> float | None:
        instance = self._view.instances.find(key)
        if instance is None or "deletionTimestamp" in instance["metadata"]:
            self._prober.forget(key)
            return None
        before = parse_status(instance, ModelInstanceStatus)
        try:
            spec = parse_spec(KIND.kind, instance.get("spec"))
        except InvalidResourceError as error:
            await self._store(instance, before, invalid_findings(KIND.kind, error), {})
            return None
        if not isinstance(spec, ModelInstanceSpec):
            raise TypeError(f"{key}: parse_spec returned {type(spec).__name__}")
        gathered = self._gather(key, instance, spec)
        obstacle = find_obstacle(gathered)
        if obstacle is not None:
            self._prober.forget(key)
            stopping = _revoked(gathered.base) or bool(gathered.over_limit)
            if gathered.exists and gathered.base is not None and stopping:
                await self._write_children(instance, gathered, replicas=0)
            await self._store(instance, before, verdict.blocked(*obstacle), {})
            return None
        await self._write_children(instance, gathered, replicas=spec.scaling.min)
        await self._observe(key, instance, before, gathered)
        return None

    def _gather(self, key: Key, instance: RawObject, spec: ModelInstanceSpec) -> Gathered:
        siblings = self._view.bindings.by_index("instance", key.name)
        judged = []
        for binding in siblings:
            artifact = self._view.artifact(key.namespace, binding["spec"]["artifactRef"]["name"])
            judged.append((binding, judge(binding, instance, artifact, siblings)))
        return Gathered(
            spec,
            self._view.artifact(key.namespace, spec.artifact_ref.name),
            judged,
            self._view.deployments.find(key) is not None,
            self._over_limit(instance),
        )

    def _over_limit(self, instance: RawObject) -> str:
        limit = self._view.instance_limit(instance["metadata"]["namespace"])
        # Without a limit nobody is counted: counting is what makes many instances slow.
        if limit is None:
            return ""
        older = sum(_age(other) < _age(instance) for other in self._view.instances)
        if older < limit:
            return ""
        return f"the boundary allows {limit} instances and older ones use them up"

    def _inputs(self, gathered: Gathered, replicas: int) -> plan.InstanceInputs:
        if gathered.base is None:
            raise ValueError("no base artifact: find_obstacle is asked first")
        mounted = []
        for binding, judgement in gathered.bindings:
            if judgement.outcome is Eligibility.MOUNTED:
                namespace = binding["metadata"]["namespace"]
                name = binding["spec"]["artifactRef"]["name"]
                artifact = self._view.artifact(namespace, name)
                if artifact is not None:
                    path = store_path(artifact["spec"]["digest"])
                    mounted.append(MountedAdapter(binding["spec"]["alias"], path))
        base = gathered.base["spec"]
        return plan.InstanceInputs(
            model_path=store_path(base["digest"]),
            model_bytes=base["size"],
            adapters=tuple(sorted(mounted, key=lambda adapter: adapter.alias)),
            replicas=replicas,
        )

    async def _write_children(self, instance: RawObject, gathered: Gathered, replicas: int) -> None:
        """Store the children; the policy first, so that no engine is ever without it."""
        inputs = self._inputs(gathered, replicas)
        spec, settings, view = gathered.spec, self._settings, self._view
        for type_, wanted, cache in (
            (types.NETWORK_POLICY, plan.network_policy(instance, settings), view.policies),
            (types.CONFIG_MAP, plan.config_map(instance, spec, inputs), view.config_maps),
            (types.SERVICE, plan.service(instance, settings), view.services),
            (
                types.DEPLOYMENT,
                plan.deployment(instance, spec, inputs, settings),
                view.deployments,
            ),
        ):
            await self._writer.apply(type_, wanted, cache, MANAGER)

    async def _observe(
        self,
        key: Key,
        instance: RawObject,
        before: ModelInstanceStatus | None,
        gathered: Gathered,
    ) -> None:
        inputs = self._inputs(gathered, gathered.spec.scaling.min)
        revision = plan.revision(instance, gathered.spec, inputs, self._settings)
        rollout = verdict.read_rollout(self._view.deployments.find(key), revision)
        pods = self._view.pods.by_index("instance", key.name)
        failure = verdict.find_failure(pods, revision)
        ready = verdict.ready_pods(pods, revision)
        answer = self._prober.answer(key, revision)
        smoke = verdict.smoke_of(before, answer, revision)
        if rollout.complete and ready:
            self._prober.want(key, self._question(gathered, inputs, revision, ready, smoke))
        else:
            self._prober.forget(key)
            answer = None
        found = verdict.running(rollout, failure, answer, smoke is not None)
        served = verdict.served_by(before, answer, rollout)
        aliases = [adapter.alias for adapter in inputs.adapters]
        loaded = sum(alias in served for alias in aliases)
        observed: dict[str, object] = {
            "endpoint": self._endpoint(key),
            "replicas": rollout.replicas,
            "ready_replicas": rollout.ready,
            "selector": ",".join(f"{k}={v}" for k, v in plan.selector(instance).items()),
            "adapters": AdapterCount(desired=len(aliases), ready=loaded),
            "served_models": served,
            "smoke": smoke,
        }
        await self._store(instance, before, found, observed, failure)

    def _question(
        self,
        gathered: Gathered,
        inputs: plan.InstanceInputs,
        revision: str,
        pods: list[RawObject],
        smoke: SmokeResult | None,
    ) -> Question:
        port = self._settings.engine_port
        model = gathered.spec.serving.model_name
        return Question(
            dialect=gathered.spec.engine.name,
            revision=revision,
            urls=tuple(sorted(f"http://{pod['status']['podIP']}:{port}" for pod in pods)),
            model=model,
            expected=(model, *(adapter.alias for adapter in inputs.adapters)),
            smoke=smoke is None,
        )

    def _endpoint(self, key: Key) -> str | None:
        # The cluster address: it stays as long as the Service, and needs no name resolution.
        service = self._view.services.find(key)
        address = service["spec"].get("clusterIP") if service else None
        return f"http://{address}:{self._settings.engine_port}" if address else None

    async def _store(
        self,
        instance: RawObject,
        before: ModelInstanceStatus | None,
        found: list[Finding],
        observed: dict[str, object],
        failure: InstanceFailure | None = None,
    ) -> None:
        last = before.last_failure if before else None
        if failure is not None and not verdict.same_failure(failure, last):
            last = failure
        generation = instance["metadata"]["generation"]
        after = ModelInstanceStatus.model_validate(
            {
                **observed,
                "observed_generation": generation,
                "conditions": conditions(found, before, generation, self._now()),
                "last_failure": last,
            }
        )
        await self._writer.status(KIND, instance, before, after, self._view.instances)


def find_obstacle(gathered: Gathered) -> tuple[InstanceReason, str] | None:
    """Return why the instance may not run with what there is, or None."""
    spec, base = gathered.spec, gathered.base
    if gathered.over_limit:
        return InstanceReason.INSTANCE_LIMIT, gathered.over_limit
    if spec.profile.name not in PROFILES:
        known = ", ".join(PROFILES)
        message = f"no accelerator profile {spec.profile.name}; known: {known}"
        return InstanceReason.UNKNOWN_PROFILE, message
    name = spec.artifact_ref.name
    if base is None:
        return InstanceReason.ARTIFACT_NOT_FOUND, f"ModelArtifact {name} does not exist here"
    if base["spec"].get("kind") != "Base":
        return InstanceReason.NOT_A_BASE, f"ModelArtifact {name} is not of kind Base"
    if not is_true(base, "Verified"):
        why = reason_of(base, "Ready") or "not observed yet"
        return InstanceReason.ARTIFACT_NOT_READY, f"ModelArtifact {name} is not verified: {why}"
    waiting = [
        binding["metadata"]["name"]
        for binding, judgement in gathered.bindings
        if judgement.outcome is Eligibility.WAITING
    ]
    if waiting and not gathered.exists:
        # The first start waits for adapters on their way: otherwise it would roll right after.
        listed = ", ".join(waiting)
        return InstanceReason.ARTIFACT_NOT_READY, f"adapters of {listed} are being fetched"
    return None


def _age(instance: RawObject) -> tuple[str, str]:
    metadata = instance["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"]


def _revoked(base: RawObject | None) -> bool:
    """Return whether the base was refused after the fact, not merely is on its way."""
    return base is not None and reason_of(base, "Ready") in (
        ArtifactReason.NOT_ALLOWED,
        ArtifactReason.DIGEST_MISMATCH,
    )
