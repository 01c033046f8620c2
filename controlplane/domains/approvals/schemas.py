"""What waits for a person, as the API shows it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel

from controlplane.domains.identity.schemas import PersonOut
from controlplane.domains.permissions.schemas import PermissionSummaryOut


class WhereOut(BaseModel):
    """A boundary beside an id."""

    id: UUID
    name: str
    display_name: str


class PendingOut(BaseModel):
    """One thing that waits for a second person."""

    kind: Literal["grant", "plan", "guest"]
    id: UUID
    """Of the grant, of the run, or of the guest assignment."""
    boundary: WhereOut | None
    """None for a guest, who is let into the organization."""
    title: str
    reason: str
    ticket: str | None
    requested_by: PersonOut | None
    requested_at: datetime
    duration_seconds: int | None
    """How long the access lasts from the approval on; grants only."""
    grant_id: UUID | None
    """Whose permissions these are: the grant itself, or the open one that a plan is under."""
    grant_until: datetime | None
    """When the access ends under which a plan would be applied; plans only."""
    digest: str | None
    """What exactly is approved: the digest of the role's policy, or of the plan."""
    counts: dict[str, dict[str, int]] | None
    """Resources by stack and operation; plans only."""
    permissions: PermissionSummaryOut | None
    """What the grant asks for beside what was open last; of a plan, the grant that it is under."""
    may_decide: bool
    why_not: Literal["role", "four-eyes"] | None
    """`role`: the caller is no approver here; `four-eyes`: it is the caller's own request."""


class ApprovalsOut(BaseModel):
    """All that waits, oldest first."""

    approvals: list[PendingOut]
