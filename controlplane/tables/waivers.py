"""Waivers: crossings of a wall that two people approved, with an end.

Rows are decided on and never edited otherwise: the terms are what the digest covers. Whether a
waiver is in force is a matter of the clock, so `active` and `expired` are read and never written.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import OrganizationScoped, organization_table

APPROVALS_NEEDED = 2


class WaiverKind(StrEnum):
    """What is crossed."""

    GUEST = "guest"
    """A person of another organization's identity provider acts in this one (decision 18)."""


class WaiverState(StrEnum):
    """How a waiver stands; the first four are written, the last two follow from the time."""

    REQUESTED = "requested"
    """Fewer than two people have approved it."""
    APPROVED = "approved"
    """By two people; shown until its start."""
    DENIED = "denied"
    REVOKED = "revoked"
    """Ended by one person before its time, or withdrawn before it was approved."""
    ACTIVE = "active"
    EXPIRED = "expired"
    """Its end has passed, approved or not."""


class Waiver(OrganizationScoped, Base):
    """One crossing: who, where, why, from when to when, and who said yes."""

    __tablename__ = "waiver"
    __table_args__ = organization_table(
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        CheckConstraint("kind IN ('guest')", name="kind"),
        CheckConstraint("state IN ('requested', 'approved', 'denied', 'revoked')", name="state"),
        CheckConstraint(
            "ends_at > starts_at AND ends_at - starts_at <= interval '90 days'", name="window"
        ),
        CheckConstraint("(first_approver IS NULL) = (first_approved_at IS NULL)", name="first"),
        CheckConstraint("(second_approver IS NULL) = (second_approved_at IS NULL)", name="second"),
        CheckConstraint("second_approver IS NULL OR first_approver IS NOT NULL", name="in_order"),
        # Four eyes in the database too; that two identities are two people is for the service.
        CheckConstraint(
            "carried_over OR (first_approver IS DISTINCT FROM principal_id"
            " AND second_approver IS DISTINCT FROM principal_id"
            " AND (first_approver <> requested_by) IS NOT FALSE"
            " AND (second_approver <> requested_by) IS NOT FALSE"
            " AND (second_approver <> first_approver) IS NOT FALSE)",
            name="four_eyes",
        ),
        CheckConstraint(
            "state <> 'approved' OR second_approver IS NOT NULL OR carried_over",
            name="approved_by_two",
        ),
        CheckConstraint(
            "(state IN ('denied', 'revoked')) = (ended_at IS NOT NULL)"
            " AND (ended_at IS NULL) = (ended_by IS NULL)",
            name="ended",
        ),
        Index(None, "organization_id", "principal_id"),
    )

    kind: Mapped[str]
    principal_id: Mapped[UUID]
    """Who crosses."""
    boundary_id: Mapped[UUID | None]
    """None: the whole organization."""
    reason: Mapped[str]
    ticket: Mapped[str | None]
    starts_at: Mapped[datetime]
    ends_at: Mapped[datetime]
    digest: Mapped[str]
    """Of all the terms: what exactly an approval approves."""
    state: Mapped[str] = mapped_column(server_default=WaiverState.REQUESTED.value)
    requested_by: Mapped[UUID | None]
    """None only for one that was carried over and whose requester was not kept."""
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    first_approver: Mapped[UUID | None]
    first_approved_at: Mapped[datetime | None]
    first_reason: Mapped[str | None]
    second_approver: Mapped[UUID | None]
    second_approved_at: Mapped[datetime | None]
    second_reason: Mapped[str | None]
    ended_by: Mapped[UUID | None]
    """Who denied or revoked it."""
    ended_at: Mapped[datetime | None]
    end_reason: Mapped[str | None]
    carried_over: Mapped[bool] = mapped_column(server_default="false")
    """True for a guest whom one person had let in before there were waivers."""

    def state_at(self, at: datetime) -> WaiverState:
        """Return how the waiver stands at a moment after its last decision."""
        state = WaiverState(self.state)
        if state in (WaiverState.DENIED, WaiverState.REVOKED):
            return state
        if at >= self.ends_at:
            return WaiverState.EXPIRED
        if state is WaiverState.APPROVED and at >= self.starts_at:
            return WaiverState.ACTIVE
        return state
