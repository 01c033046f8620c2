"""ModelInstance: a base model served by an engine, with the adapters bound to it.

Written by the agent from a bundle, acted on by `operators.instance`, read by the gateway.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from wire.resources.base import (
    AGE_COLUMN,
    READY_COLUMNS,
    Column,
    ImageReference,
    LocalRef,
    ModelName,
    ObjectName,
    ResourceKind,
    ResourcePart,
    Spec,
    Status,
)


class InstanceProfile(ResourcePart):
    """What hardware one replica gets."""

    name: ObjectName = "cpu"
    """Name of the accelerator profile; `cpu` is the one built in."""
    count: Annotated[int, Field(ge=1, le=64)] = 1
    """How many of the profile's units; for `cpu`, cores and engine threads."""


class InstanceEngine(ResourcePart):
    """The server program."""

    name: Literal["llama.cpp", "vllm"]
    """The engine's dialect."""
    image: ImageReference
    """Image by digest."""


class InstanceServing(ResourcePart):
    """How callers see the model."""

    model_name: ModelName
    """Name callers use for the base model."""
    context_length: Annotated[int, Field(ge=64, le=131_072)] = 2048
    """Tokens of prompt and answer together."""


def _min_max(schema: dict[str, Any]) -> None:
    schema["x-kubernetes-validations"] = [
        {"rule": "self.min <= self.max", "message": "min must not be above max"}
    ]


class InstanceScaling(ResourcePart):
    """How many replicas; without an autoscaler `min` of them run."""

    model_config = ConfigDict(json_schema_extra=_min_max)

    min: Annotated[int, Field(ge=1, le=100)] = 1
    """Fewest replicas."""
    max: Annotated[int, Field(ge=1, le=100)] = 1
    """Most replicas."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.min > self.max:
            raise ValueError("min must not be above max")
        return self


class ModelInstanceSpec(Spec):
    """The instance that is wanted."""

    artifact_ref: LocalRef
    """The base ModelArtifact."""
    profile: InstanceProfile = Field(default_factory=InstanceProfile)
    """Hardware of one replica."""
    engine: InstanceEngine
    """Server program."""
    serving: InstanceServing
    """How callers see it."""
    scaling: InstanceScaling = Field(default_factory=InstanceScaling)
    """Number of replicas."""


class SmokeResult(ResourcePart):
    """One real completion that was answered after the engine became healthy."""

    model: Annotated[str, Field(max_length=100)]
    """The model the engine said it answered with."""
    output_tokens: Annotated[int, Field(ge=0)]
    """Tokens of the answer."""
    ttft_ms: Annotated[float, Field(ge=0)]
    """Milliseconds from request to first token."""
    revision: Annotated[str, Field(max_length=64)]
    """The revision of the configuration that answered; another revision is asked again."""


class InstanceFailure(ResourcePart):
    """The last failure seen, kept after recovery."""

    pod: Annotated[str, Field(max_length=253)] | None = None
    """The pod, when one failed."""
    reason: Annotated[str, Field(max_length=100)]
    """Kubernetes' or the engine's word for it."""
    exit_code: int | None = None
    """Exit code of the container."""
    message: Annotated[str, Field(max_length=1000)] = ""
    """Last words of the container or of the call."""
    time: AwareDatetime
    """When it was seen, UTC."""


class AdapterCount(ResourcePart):
    """Adapters bound to the instance."""

    desired: Annotated[int, Field(ge=0)] = 0
    """Bindings whose artifact is verified."""
    ready: Annotated[int, Field(ge=0)] = 0
    """Of these, those the engine lists."""


class ModelInstanceStatus(Status):
    """What was observed of an instance."""

    endpoint: Annotated[str, Field(max_length=300)] | None = None
    """Base URL of the engine inside the cluster, without path."""
    replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that exist."""
    ready_replicas: Annotated[int, Field(ge=0)] = 0
    """Replicas that pass their probe."""
    selector: Annotated[str, Field(max_length=300)] | None = None
    """Label selector of the pods."""
    adapters: AdapterCount = Field(default_factory=AdapterCount)
    """Adapters bound and loaded."""
    served_models: Annotated[
        tuple[ModelName, ...],
        Field(max_length=200, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Names the engine lists: the base model and each loaded adapter."""
    smoke: SmokeResult | None = None
    """The last smoke completion of the current revision."""
    last_failure: InstanceFailure | None = None
    """The last failure seen."""


class InstanceReason(StrEnum):
    """Reasons of ModelInstance's conditions."""

    READY = "Ready"
    """Replicas ready, engine healthy, smoke completion answered."""
    ARTIFACTS_VERIFIED = "ArtifactsVerified"
    """The base and every bound adapter that is mounted are verified."""
    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    """artifactRef names nothing here."""
    ARTIFACT_NOT_READY = "ArtifactNotReady"
    """The base artifact is not verified yet, or was refused."""
    NOT_A_BASE = "NotABase"
    """artifactRef names an adapter."""
    UNKNOWN_PROFILE = "UnknownProfile"
    """No accelerator profile of that name."""
    ROLLING_OUT = "RollingOut"
    """Pods of the wanted revision are not all ready."""
    ROLLED_OUT = "RolledOut"
    """Every replica runs the wanted revision."""
    POD_FAILING = "PodFailing"
    """A pod of the instance cannot start or keeps ending; see lastFailure."""
    ENGINE_UNHEALTHY = "EngineUnhealthy"
    """Pods are ready but the engine does not answer health, or lists another model."""
    SMOKE_PENDING = "SmokePending"
    """The engine is healthy; the smoke completion runs."""
    SMOKE_FAILED = "SmokeFailed"
    """The engine is healthy but answered no completion."""
    SMOKE_ANSWERED = "SmokeAnswered"
    """The engine answered a completion."""
    PENDING = "Pending"
    """An earlier condition is not True yet."""
    INSTANCE_LIMIT = "InstanceLimit"
    """The boundary's quota.maxInstances is used up by older instances; this one is not started."""
    INVALID_SPEC = "InvalidSpec"
    """The stored spec is outside the vocabulary this operator knows."""


MODEL_INSTANCE = ResourceKind(
    kind="ModelInstance",
    plural="modelinstances",
    short_name="mi",
    namespaced=True,
    spec=ModelInstanceSpec,
    status=ModelInstanceStatus,
    reasons=tuple(str(reason) for reason in InstanceReason),
    conditions={
        "Ready": "The wanted revision is rolled out, healthy, and has answered a completion.",
        "ArtifactsReady": "The base is verified, and so is every adapter that is mounted.",
        "Progressing": "A rollout is under way; False when it is complete or stuck.",
        "EngineHealthy": (
            "Every ready pod answers health and lists the base and all mounted "
            "adapters, and one of this revision has answered a completion."
        ),
    },
    columns=(
        *READY_COLUMNS,
        Column("Model", ".spec.serving.modelName"),
        Column("Profile", ".spec.profile.name"),
        Column("Replicas", ".status.readyReplicas", "integer"),
        AGE_COLUMN,
    ),
)
