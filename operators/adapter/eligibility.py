"""May this binding be mounted by its instance? One rule, used by two controllers; pure.

The instance's plan mounts what is `MOUNTED`; the binding's controller reports the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any

from operators.core.api import RawObject
from operators.status import is_true, reason_of
from wire.resources import ArtifactReason, BindingReason


class Eligibility(Enum):
    """What happens to a binding."""

    MOUNTED = "mounted"
    """Its file is given to the engine."""
    WAITING = "waiting"
    """It may be mounted as soon as its artifact is verified."""
    REFUSED = "refused"
    """It cannot be mounted until somebody changes something."""


@dataclass(frozen=True)
class Judgement:
    """The outcome for one binding."""

    outcome: Eligibility
    reason: BindingReason
    message: str = ""


def judge(
    binding: RawObject,
    instance: RawObject,
    artifact: RawObject | None,
    siblings: list[RawObject],
) -> Judgement:
    """Judge a binding; `siblings` are all bindings of the instance, this one included."""
    spec = binding["spec"]
    name = spec["artifactRef"]["name"]
    if _alias_taken(binding, instance, siblings):
        message = f"alias {spec['alias']} belongs to the base model or to an older binding"
        return Judgement(Eligibility.REFUSED, BindingReason.ALIAS_TAKEN, message)
    if artifact is None:
        message = f"ModelArtifact {name} does not exist here"
        return Judgement(Eligibility.REFUSED, BindingReason.ARTIFACT_NOT_FOUND, message)
    if artifact["spec"].get("kind") != "Adapter":
        message = f"ModelArtifact {name} is not of kind Adapter"
        return Judgement(Eligibility.REFUSED, BindingReason.NOT_AN_ADAPTER, message)
    base = artifact["spec"].get("baseRef", {}).get("name")
    served = instance["spec"]["artifactRef"]["name"]
    if base != served:
        message = f"adapter {name} was trained on {base}, the instance serves {served}"
        return Judgement(Eligibility.REFUSED, BindingReason.BASE_MISMATCH, message)
    if is_true(artifact, "Verified"):
        return Judgement(Eligibility.MOUNTED, BindingReason.LOADING)
    reason = reason_of(artifact, "Ready")
    message = f"ModelArtifact {name} is not verified: {reason or 'not observed yet'}"
    pending = reason in ("", ArtifactReason.FETCHING)
    outcome = Eligibility.WAITING if pending else Eligibility.REFUSED
    return Judgement(outcome, BindingReason.ARTIFACT_NOT_READY, message)


def _age(binding: RawObject) -> tuple[Any, ...]:
    metadata = binding["metadata"]
    return metadata.get("creationTimestamp", ""), metadata["name"]


def _alias_taken(binding: RawObject, instance: RawObject, siblings: list[RawObject]) -> bool:
    alias = binding["spec"]["alias"]
    if alias == instance["spec"]["serving"]["modelName"]:
        return True
    return any(
        other["spec"].get("alias") == alias and _age(other) < _age(binding) for other in siblings
    )
