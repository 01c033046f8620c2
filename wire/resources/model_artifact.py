"""ModelArtifact: a base model or an adapter, named by digest, verified before anything mounts it.

Written by the agent from a bundle, acted on by `operators.artifact`. The whole spec is immutable:
other bytes are another artifact.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from wire.resources.base import (
    AGE_COLUMN,
    READY_COLUMNS,
    Column,
    Digest,
    LocalRef,
    ResourceKind,
    ResourcePart,
    Spec,
    Status,
)

MAX_ARTIFACT_BYTES = 4 * 1024**4


class S3Source(ResourcePart):
    """An object in the boundary's bucket."""

    bucket: Annotated[
        str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")
    ]
    """Bucket name."""
    key: Annotated[str, Field(min_length=1, max_length=1024)]
    """Object key."""
    region: Annotated[str, Field(max_length=30, pattern=r"^[a-z]{2}(-[a-z]+)+-[0-9]$")]
    """Region of the bucket."""


class ArtifactSource(ResourcePart):
    """Where the bytes come from; exactly one of its fields."""

    s3: S3Source
    """An object in S3."""


def _spec_rules(schema: dict[str, Any]) -> None:
    schema["x-kubernetes-validations"] = [
        {
            "rule": "self == oldSelf",
            "message": "spec is immutable: other bytes are another artifact",
        },
        {
            "rule": "(self.kind == 'Adapter') == has(self.baseRef)",
            "message": "baseRef is required for kind Adapter and not allowed for kind Base",
        },
    ]


class ModelArtifactSpec(Spec):
    """The artifact that is wanted."""

    model_config = ConfigDict(json_schema_extra=_spec_rules)

    kind: Literal["Base", "Adapter"]
    """Base model, or an adapter of one."""
    base_ref: LocalRef | None = None
    """For an adapter: the ModelArtifact it was trained on."""
    source: ArtifactSource
    """Where the bytes come from."""
    digest: Digest
    """SHA-256 of the bytes."""
    size: Annotated[int, Field(ge=1, le=MAX_ARTIFACT_BYTES)]
    """Exact length in bytes; a longer download is cut off and refused."""
    format: Literal["gguf"] = "gguf"
    """File format."""

    @model_validator(mode="after")
    def _base_for_adapters_only(self) -> Self:
        if (self.kind == "Adapter") != (self.base_ref is not None):
            raise ValueError("baseRef is required for kind Adapter and not allowed for kind Base")
        return self


class ModelArtifactStatus(Status):
    """What was observed of an artifact."""

    verified_digest: Digest | None = None
    """The digest of the stored bytes, as the fetch Job computed it."""
    path: Annotated[str, Field(max_length=200)] | None = None
    """Where the verified file is in the model store."""
    attempts: Annotated[int, Field(ge=0)] = 0
    """Fetch attempts of the current Job that failed."""


class ArtifactReason(StrEnum):
    """Reasons of ModelArtifact's conditions."""

    READY = "Ready"
    """Fetched and verified."""
    FETCHING = "Fetching"
    """The fetch Job runs or waits for a node."""
    FETCHED = "Fetched"
    """The bytes are in the model store."""
    FETCH_FAILED = "FetchFailed"
    """The Job gave up; the message has its last words. Fixing the cause and deleting the Job
    fetches again."""
    DIGEST_VERIFIED = "DigestVerified"
    """The stored bytes have the wanted digest."""
    DIGEST_MISMATCH = "DigestMismatch"
    """The source's bytes have another digest: they were thrown away and are never mounted."""
    NOT_ALLOWED = "NotAllowed"
    """The boundary's list of allowed digests does not hold this one."""
    BASE_NOT_FOUND = "BaseNotFound"
    """The adapter's base artifact does not exist here, or is not a base."""
    NOT_FETCHED = "NotFetched"
    """Nothing to verify yet."""
    INVALID_SPEC = "InvalidSpec"
    """The stored spec is outside the vocabulary this operator knows."""


MODEL_ARTIFACT = ResourceKind(
    kind="ModelArtifact",
    plural="modelartifacts",
    short_name="ma",
    namespaced=True,
    spec=ModelArtifactSpec,
    status=ModelArtifactStatus,
    reasons=tuple(str(reason) for reason in ArtifactReason),
    conditions={
        "Ready": "Fetched and Verified are True.",
        "Fetched": "The bytes are in the model store.",
        "Verified": (
            "The digest that the fetch Job computed is the wanted one, and it is allowed."
        ),
    },
    columns=(
        *READY_COLUMNS,
        Column("Kind", ".spec.kind"),
        Column("Digest", ".spec.digest"),
        Column("Size", ".spec.size", "integer"),
        AGE_COLUMN,
    ),
)
