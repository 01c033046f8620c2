"""Service identities as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from controlplane.domains.identity.schemas import PersonOut
from controlplane.tables.identity import RoleName


class ServiceIn(BaseModel):
    """A service identity that is asked for."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$")
    purpose: str = Field(min_length=1, max_length=500)
    roles: list[RoleName] = Field(min_length=1, max_length=10)
    boundary: str | None = Field(default=None, max_length=100)
    """The one boundary that it serves; without it the whole organization."""


class ServiceTokenIn(BaseModel):
    """A token for a service."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    lifetime_days: int = Field(default=90, ge=1, le=90)


class ServiceOut(BaseModel):
    """A service identity."""

    id: UUID
    principal_id: UUID
    name: str
    purpose: str
    boundary: str | None
    roles: list[str]
    created_by: PersonOut | None
    created_at: datetime
    disabled_at: datetime | None


class ServicesOut(BaseModel):
    """The service identities that the caller may see, by name."""

    services: list[ServiceOut]
