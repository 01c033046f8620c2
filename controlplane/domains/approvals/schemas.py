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

    kind: Literal["grant", "plan", "guest", "override"]
    id: UUID
    """Of the grant, of the run, of the guest's waiver, or of the override."""
    boundary: WhereOut | None
    """None for a guest who would be let into the whole organization."""
    title: str
    reason: str
    ticket: str | None
    requested_by: PersonOut | None
    requested_at: datetime
    duration_seconds: int | None
    """How long it lasts from the approval on: the access, or the time outside the windows."""
    grant_id: UUID | None
    """Whose permissions these are: the grant itself, or the open one that a plan is under."""
    grant_until: datetime | None
    """When the access ends under which a plan would be applied; plans only."""
    starts_at: datetime | None
    """From when on a guest may act at the earliest; guests only."""
    ends_at: datetime | None
    """When the waiver ends, whenever it is approved; of an override, until when it can be."""
    approved_by: list[PersonOut]
    """Who has said yes already; the caller cannot be one of the remaining if among them."""
    approvals_needed: int
    """How many people must say yes: two for a guest, one for all else."""
    digest: str | None
    """What exactly is approved: the digest of the role's policy, of the plan, or of the terms."""
    counts: dict[str, dict[str, int]] | None
    """Resources by stack and operation; plans only."""
    permissions: PermissionSummaryOut | None
    """What the grant asks for beside what was open last; of a plan, the grant that it is under."""
    may_decide: bool
    why_not: Literal["role", "four-eyes"] | None
    """`role`: the caller is no approver here; `four-eyes`: the caller asked, crosses or has
    approved already."""


class ApprovalsOut(BaseModel):
    """All that waits, oldest first."""

    approvals: list[PendingOut]
