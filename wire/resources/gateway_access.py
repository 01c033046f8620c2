"""GatewayAccess: who may call which models through the boundary's gateway.

Written by the agent from a bundle, validated by `operators.access`, enforced by the gateway. A key
is never here, only its hash: keys are 256 random bits, so a plain SHA-256 cannot be searched.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from wire.resources.base import (
    AGE_COLUMN,
    READY_COLUMNS,
    Column,
    Digest,
    ModelName,
    ObjectName,
    ResourceKind,
    ResourcePart,
    Spec,
    Status,
)


class AccessKey(ResourcePart):
    """One caller's key."""

    hash: Digest
    """SHA-256 of the key's UTF-8 bytes."""
    owner: Annotated[str, Field(min_length=1, max_length=200)]
    """Subject of the person or program; becomes a pseudonym before anything is stored."""
    group: ObjectName
    """The group whose models it may call; one of `groups`."""
    expires_at: AwareDatetime
    """From then on the key is refused; a key always expires."""


class AccessGroup(ResourcePart):
    """A group and its models."""

    name: ObjectName
    """Name of the group."""
    models: Annotated[
        tuple[ModelName, ...],
        Field(max_length=100, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ] = ()
    """Model names and aliases it may call; empty means none."""


def _keys_have_groups(schema: dict[str, Any]) -> None:
    schema["x-kubernetes-validations"] = [
        {
            "rule": "self.keys.all(k, self.groups.exists(g, g.name == k.group))",
            "message": "every key's group must be one of groups",
        }
    ]


class GatewayAccessSpec(Spec):
    """The access that is wanted."""

    model_config = ConfigDict(json_schema_extra=_keys_have_groups)

    keys: Annotated[
        tuple[AccessKey, ...],
        Field(
            max_length=500,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["hash"],
            },
        ),
    ] = ()
    """Every key that is accepted."""
    groups: Annotated[
        tuple[AccessGroup, ...],
        Field(
            max_length=100,
            json_schema_extra={
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["name"],
            },
        ),
    ] = ()
    """Every group."""

    @model_validator(mode="after")
    def _groups_exist(self) -> Self:
        known = {group.name for group in self.groups}
        for index, key in enumerate(self.keys):
            if key.group not in known:
                raise ValueError(f"keys[{index}].group {key.group!r} is not one of groups")
        if len(known) != len(self.groups):
            raise ValueError("groups: a name appears twice")
        if len({key.hash for key in self.keys}) != len(self.keys):
            raise ValueError("keys: a hash appears twice")
        return self


class GatewayAccessStatus(Status):
    """What was observed of the access list."""

    endpoint: Annotated[str, Field(max_length=300)] | None = None
    """Base URL of the gateway for callers, without path."""
    keys: Annotated[int, Field(ge=0)] = 0
    """Keys listed."""
    groups: Annotated[int, Field(ge=0)] = 0
    """Groups listed."""


class AccessReason(StrEnum):
    """Reasons of GatewayAccess' conditions."""

    READY = "Ready"
    """Programmed and reachable."""
    PROGRAMMED = "Programmed"
    """The list is valid and a gateway replica is ready to enforce it."""
    NO_GATEWAY = "NoGateway"
    """There is no gateway Service here."""
    NO_ADDRESS = "NoAddress"
    """The gateway Service has no load balancer address yet."""
    GATEWAY_NOT_READY = "GatewayNotReady"
    """No gateway replica is ready."""
    UNKNOWN_MODEL = "UnknownModel"
    """A group names a model that no instance or binding here serves; the rest is in force."""
    INVALID_SPEC = "InvalidSpec"
    """The stored spec is outside the vocabulary this operator knows."""


GATEWAY_ACCESS = ResourceKind(
    kind="GatewayAccess",
    plural="gatewayaccesses",
    short_name="ga",
    namespaced=True,
    spec=GatewayAccessSpec,
    status=GatewayAccessStatus,
    reasons=tuple(str(reason) for reason in AccessReason),
    conditions={
        "Ready": "Programmed is True.",
        "Programmed": (
            "The list is valid and a gateway replica with an address is ready to enforce it."
        ),
        "ResolvedModels": "Every model of every group is served by something here.",
    },
    columns=(
        *READY_COLUMNS,
        Column("Keys", ".status.keys", "integer"),
        Column("Groups", ".status.groups", "integer"),
        Column("Endpoint", ".status.endpoint"),
        AGE_COLUMN,
    ),
)
