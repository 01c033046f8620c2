"""Access grants as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from controlplane.domains.identity.schemas import PersonOut


class GrantIn(BaseModel):
    """What access is asked for. No role or ARN: the boundary's connection has them."""

    model_config = ConfigDict(extra="forbid")

    purpose: str = Field(min_length=1, max_length=200)
    reason: str = Field(default="", max_length=2000)
    ticket: str | None = Field(default=None, max_length=100)
    duration_seconds: int = Field(default=7200, ge=300, le=43200)


class ApproveIn(BaseModel):
    """A yes; the digest, when sent, must be what the grant asks for."""

    model_config = ConfigDict(extra="forbid")

    policy_digest: str | None = Field(default=None, max_length=80)
    reason: str = Field(default="", max_length=2000)


class DecisionIn(BaseModel):
    """A no, or an early end, with its reason."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=2000)


class GrantOut(BaseModel):
    """One access grant."""

    id: UUID
    boundary_id: UUID
    connection_id: UUID
    number: int
    purpose: str
    reason: str
    ticket: str | None
    policy_digest: str
    duration_seconds: int
    state: str
    requested_by: PersonOut
    requested_at: datetime
    decided_by: PersonOut | None
    decided_at: datetime | None
    decision_reason: str | None
    grant_until: datetime | None
    activated_at: datetime | None
    ended_at: datetime | None
    closed_by: str | None
    role_name: str
    stack_parameters: dict[str, str]
    """What the customer's stack update sets to open this grant; empty before the approval."""


class GrantsOut(BaseModel):
    """The grants of a boundary, newest first."""

    grants: list[GrantOut]
