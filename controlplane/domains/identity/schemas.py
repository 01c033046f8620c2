"""What the API says about the caller and about people in general."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from controlplane.domains.identity.principals import PrincipalCard


class PersonOut(BaseModel):
    """A person beside an id."""

    id: UUID
    subject: str
    display: str


def person_out(card: PrincipalCard) -> PersonOut:
    """Return a person as the API shows one beside an id."""
    return PersonOut(id=card.id, subject=card.subject, display=card.display)


class RoleOut(BaseModel):
    """A role the caller holds; no organization means the platform."""

    role: str
    organization: str | None
    boundary_id: UUID | None
    pending_guest: bool


class MeOut(BaseModel):
    """Who the caller is."""

    id: UUID
    issuer: str
    subject: str
    display: str
    kind: str
    break_glass_open: bool
    """True while the break-glass administrator is open: something is out of the ordinary."""
    roles: list[RoleOut]


class ExplainIn(BaseModel):
    """Whose access to which route is asked about."""

    model_config = ConfigDict(extra="forbid")

    subject: str = Field(min_length=1, max_length=300)
    issuer: str | None = Field(default=None, max_length=300)
    method: str = Field(pattern="^(GET|POST|PUT|PATCH|DELETE)$")
    path: str = Field(min_length=1, max_length=300, description="A route, or a path it matches")
    boundary: str | None = Field(default=None, max_length=100)


class PolicyOut(BaseModel):
    """A policy that decided."""

    id: str
    effect: str
    layer: str
    message: str | None


class ExplainedWaiverOut(BaseModel):
    """The waiver on which a guest's access rests, or which is not in force."""

    id: UUID
    state: str
    boundary_id: UUID | None
    reason: str
    ticket: str | None
    approved_by: list[PersonOut]
    starts_at: datetime
    ends_at: datetime


class ExplanationOut(BaseModel):
    """A decision on access, and what it rests on."""

    person: PersonOut
    route: str
    route_layer: str
    allowed: bool
    status: int
    deciding_layer: str
    policies: list[PolicyOut]
    roles: list[RoleOut]
    waiver: ExplainedWaiverOut | None
    """None for the organization's own people, and for a guest for whom nobody asked."""
