"""AdapterBinding: an adapter artifact served by an instance under an alias.

Written by the agent from a bundle, acted on by `operators.adapter`, read by the gateway.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from wire.resources.base import (
    AGE_COLUMN,
    READY_COLUMNS,
    Column,
    LocalRef,
    ModelName,
    ResourceKind,
    Spec,
    Status,
)


class AdapterBindingSpec(Spec):
    """The binding that is wanted."""

    instance_ref: LocalRef
    """The ModelInstance that serves it."""
    artifact_ref: LocalRef
    """The ModelArtifact of kind Adapter."""
    alias: ModelName
    """Name callers use; unique in the instance."""


class AdapterBindingStatus(Status):
    """What was observed of a binding."""

    loaded_on: Annotated[int, Field(ge=0)] = 0
    """Ready replicas whose engine lists the alias."""


class BindingReason(StrEnum):
    """Reasons of AdapterBinding's conditions."""

    READY = "Ready"
    """The instance serves the alias."""
    LOADED = "Loaded"
    """The engine lists the alias."""
    LOADING = "Loading"
    """The instance is rolling to a revision that has the adapter."""
    INSTANCE_NOT_FOUND = "InstanceNotFound"
    """instanceRef names nothing here."""
    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    """artifactRef names nothing here."""
    NOT_AN_ADAPTER = "NotAnAdapter"
    """artifactRef names a base model."""
    ARTIFACT_NOT_READY = "ArtifactNotReady"
    """The adapter is not verified yet, or was refused."""
    BASE_MISMATCH = "BaseMismatch"
    """The adapter was trained on another base than the instance serves."""
    ALIAS_TAKEN = "AliasTaken"
    """An older binding of the instance, or its base model, has this name."""
    INVALID_SPEC = "InvalidSpec"
    """The stored spec is outside the vocabulary this operator knows."""


ADAPTER_BINDING = ResourceKind(
    kind="AdapterBinding",
    plural="adapterbindings",
    short_name="ab",
    namespaced=True,
    spec=AdapterBindingSpec,
    status=AdapterBindingStatus,
    reasons=tuple(str(reason) for reason in BindingReason),
    conditions={
        "Ready": "Loaded is True.",
        "Loaded": "The instance is healthy and every ready pod lists the alias.",
    },
    columns=(
        *READY_COLUMNS,
        Column("Instance", ".spec.instanceRef.name"),
        Column("Alias", ".spec.alias"),
        Column("Loaded", ".status.loadedOn", "integer"),
        AGE_COLUMN,
    ),
)
