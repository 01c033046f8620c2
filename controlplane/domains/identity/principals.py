"""Plain values of the identity domain: roles held, and who a principal is."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True)
class HeldRole:
    """A role that a principal holds now; no organization means the platform."""

    organization_id: UUID | None
    organization_name: str | None
    boundary_id: UUID | None
    role: str
    is_pending_guest: bool
    """True while the organization has not let this person of another issuer in."""


@dataclass(frozen=True)
class PrincipalCard:
    """Who a principal is, for showing beside an id."""

    id: UUID
    issuer: str
    subject: str
    kind: str
    display: str
    person_key: str | None
