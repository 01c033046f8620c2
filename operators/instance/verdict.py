"""The conditions of a ModelInstance from what was gathered; pure.

Called by `instance.controller` and by tests. The order is a chain: artifacts, rollout, engine,
completion; the first that does not hold is the reason of `Ready`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from operators import types
from operators.core.api import RawObject
from operators.core.conditions import Finding, summary
from operators.engines.prober import Answer
from wire.resources import (
    InstanceFailure,
    InstanceReason,
    ModelInstanceStatus,
    SmokeResult,
)

BAD_WAITS = {
    "CrashLoopBackOff",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
}


@dataclass(frozen=True)
class Rollout:
    """What the Deployment says."""

    replicas: int = 0
    ready: int = 0
    complete: bool = False
    """Every replica runs the wanted revision and is ready, and no older one is left."""
    refusal: str = ""
    """Why Kubernetes would not create a pod (a quota, Pod Security), empty when it did."""


def read_rollout(deployment: RawObject | None, wanted_revision: str) -> Rollout:
    """Return the state of a rollout; nothing of an older generation counts as complete."""
    if deployment is None:
        return Rollout()
    status, spec = deployment.get("status", {}), deployment["spec"]
    wanted = spec.get("replicas", 1)
    revision = spec["template"]["metadata"]["labels"].get(types.REVISION)
    counts = [status.get(n, 0) for n in ("replicas", "readyReplicas", "updatedReplicas")]
    complete = (
        revision == wanted_revision
        and status.get("observedGeneration", 0) >= deployment["metadata"]["generation"]
        and counts == [wanted] * 3
        and wanted > 0
    )
    refusals = [
        str(c.get("message", ""))
        for c in status.get("conditions", [])
        if c["type"] == "ReplicaFailure" and c["status"] == "True"
    ]
    return Rollout(counts[0], counts[1], complete, "; ".join(refusals))


def ready_pods(pods: list[RawObject], revision: str) -> list[RawObject]:
    """Return the pods of a revision that are ready and not going away."""
    return [
        pod
        for pod in pods
        if pod["metadata"].get("labels", {}).get(types.REVISION) == revision
        and "deletionTimestamp" not in pod["metadata"]
        and pod.get("status", {}).get("podIP")
        and any(
            c["type"] == "Ready" and c["status"] == "True"
            for c in pod["status"].get("conditions", [])
        )
    ]


def find_failure(pods: list[RawObject], revision: str) -> InstanceFailure | None:
    """Return why a pod of the revision cannot run, or None when none is failing."""
    for pod in pods:
        if pod["metadata"].get("labels", {}).get(types.REVISION) != revision:
            continue
        for container in pod.get("status", {}).get("containerStatuses", []):
            failure = _container_failure(pod["metadata"]["name"], container)
            if failure is not None:
                return failure
    return None


def _container_failure(pod: str, container: dict[str, Any]) -> InstanceFailure | None:
    waiting = container.get("state", {}).get("waiting") or {}
    ended = container.get("state", {}).get("terminated")
    last = container.get("lastState", {}).get("terminated")
    if waiting.get("reason") not in BAD_WAITS and not (ended and ended.get("exitCode")):
        return None
    detail = ended or last or {}
    finished = detail.get("finishedAt")
    message = detail.get("message") or waiting.get("message") or ""
    return InstanceFailure(
        pod=pod,
        reason=str(waiting.get("reason") or detail.get("reason") or "Error"),
        exit_code=detail.get("exitCode"),
        message=message.strip()[-1000:],
        # A container that never started has no end: the start of the epoch would be a lie.
        time=datetime.fromisoformat(finished) if finished else datetime.now(UTC),
    )


def same_failure(one: InstanceFailure | None, other: InstanceFailure | None) -> bool:
    """Return whether two failures are the same event seen twice."""
    if one is None or other is None:
        return one is other
    return one.model_copy(update={"time": other.time}) == other


def smoke_of(
    before: ModelInstanceStatus | None, answer: Answer | None, revision: str
) -> SmokeResult | None:
    """Return the completion that this revision answered, stored or new, or None."""
    if before is not None and before.smoke is not None and before.smoke.revision == revision:
        return before.smoke
    if answer is None or answer.completion is None:
        return None
    done = answer.completion
    return SmokeResult(
        model=done.model,
        output_tokens=done.output_tokens,
        ttft_ms=done.ttft_ms,
        revision=revision,
    )


def served_by(
    before: ModelInstanceStatus | None, answer: Answer | None, rollout: Rollout
) -> tuple[str, ...]:
    """Return the names the engine lists; what was stored stands until the first answer."""
    if answer is not None:
        return answer.served
    return before.served_models if before is not None and rollout.complete else ()


def blocked(reason: InstanceReason, message: str) -> list[Finding]:
    """Return all conditions of an instance that may not run yet."""
    artifacts = Finding("ArtifactsReady", "False", reason, message)
    rest = [
        Finding(type_, "Unknown", InstanceReason.PENDING, "waits for ArtifactsReady")
        for type_ in ("Progressing", "EngineHealthy")
    ]
    return [summary([artifacts], InstanceReason.READY), artifacts, *rest]


def running(
    rollout: Rollout,
    failure: InstanceFailure | None,
    answer: Answer | None,
    smoke_answered: bool,
) -> list[Finding]:
    """Return all conditions, `Ready` first, of an instance whose artifacts are verified."""
    artifacts = Finding("ArtifactsReady", "True", InstanceReason.ARTIFACTS_VERIFIED)
    if failure is not None and not rollout.complete:
        text = f"pod {failure.pod}: {failure.reason}: {failure.message}"
        progress = Finding("Progressing", "False", InstanceReason.POD_FAILING, text)
    elif rollout.refusal and not rollout.complete:
        progress = Finding("Progressing", "False", InstanceReason.POD_FAILING, rollout.refusal)
    elif rollout.complete:
        progress = Finding("Progressing", "False", InstanceReason.ROLLED_OUT)
    else:
        text = f"{rollout.ready} of {rollout.replicas} replicas are ready"
        progress = Finding("Progressing", "True", InstanceReason.ROLLING_OUT, text)
    engine = _engine(rollout, answer, smoke_answered)
    if not rollout.complete:
        ready = Finding("Ready", "False", progress.reason, progress.message)
    else:
        ready = summary([engine], InstanceReason.READY)
    return [ready, artifacts, progress, engine]


def _engine(rollout: Rollout, answer: Answer | None, smoke_answered: bool) -> Finding:
    type_ = "EngineHealthy"
    if not rollout.complete:
        return Finding(type_, "Unknown", InstanceReason.PENDING, "waits for the rollout")
    if answer is None:
        if smoke_answered:
            # After a restart of the operator: what was proven stays so until the first probe.
            return Finding(type_, "True", InstanceReason.SMOKE_ANSWERED)
        return Finding(type_, "Unknown", InstanceReason.SMOKE_PENDING, "not asked yet")
    if not answer.healthy:
        return Finding(type_, "False", InstanceReason.ENGINE_UNHEALTHY, answer.error)
    if smoke_answered:
        return Finding(type_, "True", InstanceReason.SMOKE_ANSWERED)
    if answer.error:
        return Finding(type_, "False", InstanceReason.SMOKE_FAILED, answer.error)
    return Finding(type_, "Unknown", InstanceReason.SMOKE_PENDING, "the completion runs")
