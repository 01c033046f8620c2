"""Queries on boundaries; a caller names one by name or id."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.tables.organizations import Boundary


def get_boundary(session: Session, name_or_id: str) -> Boundary:
    """Return a boundary in scope. Raises: NotFoundError, also for others' boundaries."""
    try:
        condition = Boundary.id == UUID(name_or_id)
    except ValueError:
        condition = Boundary.name == name_or_id
    found = session.scalars(select(Boundary).where(condition)).one_or_none()
    if found is None:
        raise NotFoundError(
            f"there is no boundary {name_or_id!r}, or you have no role in it that allows this",
            fix="list those you can see with GET /v1/boundaries",
        )
    return found


def list_boundaries(session: Session) -> list[Boundary]:
    """Return all boundaries in scope, by name."""
    return list(session.scalars(select(Boundary).order_by(Boundary.name)))
