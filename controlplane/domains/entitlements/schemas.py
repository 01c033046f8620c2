"""Entitlements and gateway keys as the API shows them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from controlplane.domains.identity.schemas import PersonOut


class EntitlementOut(BaseModel):
    """A group may use a model version."""

    id: UUID
    group: str
    model_version_id: UUID
    valid_from: datetime
    reason: str


class EntitlementsOut(BaseModel):
    """The entitlements of a boundary that hold now."""

    entitlements: list[EntitlementOut]


class GatewayKeyIn(BaseModel):
    """Whose key it is to be, as a member of which group."""

    model_config = ConfigDict(extra="forbid")

    group: str = Field(min_length=1, max_length=63)
    owner: str = Field(min_length=1, max_length=200)
    """Subject of the person."""


class GatewayKeyOut(BaseModel):
    """A key without its secret."""

    id: UUID
    group: str
    owner: PersonOut
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None


class GatewayKeyCreatedOut(BaseModel):
    """A new key; `key` is shown this once and kept nowhere."""

    id: UUID
    group: str
    owner: PersonOut
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    key: str


class GatewayKeysOut(BaseModel):
    """All keys of a boundary."""

    keys: list[GatewayKeyOut]
