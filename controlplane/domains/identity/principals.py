"""Plain values of the identity domain: roles held, who a principal is, a session."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from controlplane.core.actor import Actor
from controlplane.core.db import Scope
from controlplane.tables.sign_in import SessionEnd


@dataclass(frozen=True)
class HeldRole:
    """A role that a principal holds now; no organization means the platform."""

    organization_id: UUID | None
    organization_name: str | None
    boundary_id: UUID | None
    role: str
    is_pending_guest: bool
    """True while no waiver lets this person of another issuer in."""
    waiver_id: UUID | None = None
    """The waiver on which a guest's role rests; None for the organization's own people."""
    waiver_ends_at: datetime | None = None


@dataclass(frozen=True)
class PrincipalCard:
    """Who a principal is, for showing beside an id."""

    id: UUID
    issuer: str
    subject: str
    kind: str
    display: str
    person_key: str | None


@dataclass(frozen=True)
class FoundSession:
    """A session as it stands, with its person."""

    id: UUID
    actor: Actor
    seen_at: datetime
    idle_ends_at: datetime
    ends_at: datetime
    ended_at: datetime | None
    disabled_at: datetime | None

    def reason_to_end(self, at: datetime) -> SessionEnd | None:
        """Return why this session cannot go on, or None."""
        if self.disabled_at is not None:
            return SessionEnd.DISABLED
        if at >= self.ends_at:
            return SessionEnd.ABSOLUTE
        if at >= self.idle_ends_at:
            return SessionEnd.IDLE
        return None

    def is_live(self, at: datetime) -> bool:
        """Tell whether the session counts now."""
        return self.ended_at is None and self.reason_to_end(at) is None

    def scope(self) -> Scope:
        """Return the scope in which the session and its person's audit chain are written."""
        return Scope(self.actor.organization_id, None, is_platform=True)
