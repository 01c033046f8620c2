"""Queries on waivers; the transaction's scope is their organization."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.tables.waivers import Waiver, WaiverState


def get_waiver(session: Session, waiver_id: UUID) -> Waiver:
    """Return a waiver with its row locked, for a decision. Raises: NotFoundError."""
    found = session.scalars(
        select(Waiver).where(Waiver.id == waiver_id).with_for_update()
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no waiver {waiver_id}")
    return found


def list_waivers(session: Session) -> list[Waiver]:
    """Return the organization's waivers, newest first."""
    return list(
        session.scalars(select(Waiver).order_by(Waiver.requested_at.desc(), Waiver.id.desc()))
    )


def list_waivers_of(session: Session, principal_id: UUID) -> list[Waiver]:
    """Return a person's waivers, newest first."""
    return [w for w in list_waivers(session) if w.principal_id == principal_id]


def find_waiting(
    session: Session, principal_id: UUID, boundary_id: UUID | None, at: datetime
) -> Waiver | None:
    """Return a request for the same crossing that nobody has decided on, or None."""
    return session.scalars(
        select(Waiver)
        .where(
            Waiver.principal_id == principal_id,
            Waiver.boundary_id.is_not_distinct_from(boundary_id),
            Waiver.state == WaiverState.REQUESTED,
            Waiver.ends_at > at,
        )
        .limit(1)
    ).one_or_none()


def list_in_force(session: Session, principal_id: UUID, at: datetime) -> list[Waiver]:
    """Return the waivers under which a person may act at a moment."""
    return [
        w for w in list_waivers_of(session, principal_id) if w.state_at(at) is WaiverState.ACTIVE
    ]
