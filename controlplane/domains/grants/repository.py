"""Queries on access grants."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.tables.access import ENDED_GRANT_STATES, AccessGrant


def get_grant(session: Session, grant_id: UUID, *, lock: bool = False) -> AccessGrant:
    """Return a grant in scope. Raises: NotFoundError."""
    statement = select(AccessGrant).where(AccessGrant.id == grant_id)
    if lock:
        statement = statement.with_for_update()
    found = session.scalars(statement).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no grant {grant_id}")
    return found


def list_grants(session: Session, boundary_id: UUID) -> list[AccessGrant]:
    """Return the grants of a boundary, newest first."""
    return list(
        session.scalars(
            select(AccessGrant)
            .where(AccessGrant.boundary_id == boundary_id)
            .order_by(AccessGrant.number.desc())
        )
    )


def find_unfinished(session: Session, boundary_id: UUID) -> AccessGrant | None:
    """Return the boundary's grant that has not ended, or None."""
    return session.scalars(
        select(AccessGrant).where(
            AccessGrant.boundary_id == boundary_id,
            AccessGrant.state.not_in([s.value for s in ENDED_GRANT_STATES]),
        )
    ).one_or_none()


def next_number(session: Session, boundary_id: UUID) -> int:
    """Return the number of the next opening; each makes a fresh role."""
    highest = session.scalars(
        select(func.max(AccessGrant.number)).where(AccessGrant.boundary_id == boundary_id)
    ).one()
    return (highest or 0) + 1


def last_opened_number(session: Session, boundary_id: UUID) -> int:
    """Return the number of the last grant whose role was seen open; 0 before the first."""
    found = session.scalars(
        select(func.max(AccessGrant.number)).where(
            AccessGrant.boundary_id == boundary_id, AccessGrant.activated_at.is_not(None)
        )
    ).one()
    return found or 0
