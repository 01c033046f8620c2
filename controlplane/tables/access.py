"""Access grants and the approvals of second persons."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import BoundaryScoped, boundary_table, within_boundary


class GrantState(StrEnum):
    """The states of access.md 4; `closing` is decision 5, `closed` its proven end."""

    REQUESTED = "requested"
    APPROVED = "approved"
    """By a second person of ours; the customer has not opened the role yet, or we cannot tell."""
    ACTIVE = "active"
    """A probe showed that the role of this grant's number is open."""
    CLOSING = "closing"
    """We took our power away; the role is still there until the customer or time ends it."""
    EXPIRED = "expired"
    REVOKED = "revoked"
    CLOSED = "closed"
    """The role is gone and a denied attempt proves it."""
    DENIED = "denied"


ENDED_GRANT_STATES = frozenset(
    {GrantState.EXPIRED, GrantState.REVOKED, GrantState.CLOSED, GrantState.DENIED}
)


class PermissionDocument(BoundaryScoped, Base):
    """The role's template as grants ask for it, kept once per digest and never changed.

    It is the template with the External ID's hash in its place, so that nothing in it is secret.
    """

    __tablename__ = "permission_document"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "digest"),
        CheckConstraint("digest ~ '^sha256:[0-9a-f]{64}$'", name="digest"),
    )

    digest: Mapped[str]
    """Of the canonical JSON of `document`; checked whenever it is read."""
    document: Mapped[dict[str, Any]]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class AccessGrant(BoundaryScoped, Base):
    """One time-boxed permission to use a connection for one purpose."""

    __tablename__ = "access_grant"
    __table_args__ = boundary_table(
        within_boundary("connection_id", "cloud_connection"),
        within_boundary("permission_document_id", "permission_document"),
        UniqueConstraint("boundary_id", "number"),
        CheckConstraint("number >= 1", name="number"),
        CheckConstraint("duration_seconds BETWEEN 300 AND 43200", name="duration"),
        # Four eyes in the database too: no code path can write a self-approval.
        CheckConstraint("decided_by IS NULL OR decided_by <> requested_by", name="four_eyes"),
        CheckConstraint(
            "state NOT IN ('approved', 'active', 'closing') OR decided_by IS NOT NULL",
            name="approved_by_someone",
        ),
        Index(
            "uq_access_grant_one_open",
            "boundary_id",
            unique=True,
            postgresql_where="state IN ('requested', 'approved', 'active', 'closing')",
        ),
    )

    connection_id: Mapped[UUID]
    number: Mapped[int]
    """n of role `ringfence-<boundary>-g<n>`; rises by one per opening."""
    purpose: Mapped[str]
    reason: Mapped[str]
    ticket: Mapped[str | None]
    policy_digest: Mapped[str]
    """Digest of the permission document: what an approval is for."""
    permission_document_id: Mapped[UUID | None]
    """What exactly is asked for; None for a grant from before documents were kept."""
    duration_seconds: Mapped[int]
    state: Mapped[str] = mapped_column(default=GrantState.REQUESTED.value)
    requested_by: Mapped[UUID]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    decided_by: Mapped[UUID | None]
    decided_at: Mapped[datetime | None]
    decision_reason: Mapped[str | None]
    grant_until: Mapped[datetime | None]
    """Set at approval: the end that the customer's stack update is asked to set."""
    activated_at: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]
    closed_by: Mapped[str | None]
    """`agent`, `customer` or `expiry` once closed."""


class Approval(BoundaryScoped, Base):
    """One decision by a second person, over a subject with a digest."""

    __tablename__ = "approval"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "subject_kind", "subject_id", "decided_by"),
        CheckConstraint("decision IN ('approved', 'denied')", name="decision"),
        CheckConstraint("subject_kind IN ('grant', 'plan')", name="subject_kind"),
        CheckConstraint("decided_by <> requested_by", name="four_eyes"),
    )

    subject_kind: Mapped[str]
    subject_id: Mapped[UUID]
    digest: Mapped[str]
    """What exactly was decided on: policy digest of a grant, constraint digest of a plan."""
    decision: Mapped[str]
    requested_by: Mapped[UUID]
    decided_by: Mapped[UUID]
    reason: Mapped[str]
    decided_at: Mapped[datetime] = mapped_column(server_default=func.now())
