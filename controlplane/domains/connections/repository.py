"""Queries on connections and their verifications."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.tables.access import AccessGrant, GrantState
from controlplane.tables.organizations import Boundary, CloudConnection, ConnectionVerification


def find_for_boundary(session: Session, boundary_id: UUID) -> CloudConnection | None:
    """Return the connection of a boundary, or None."""
    return session.scalars(
        select(CloudConnection).where(CloudConnection.boundary_id == boundary_id)
    ).one_or_none()


def get_for_boundary(session: Session, boundary_id: UUID) -> CloudConnection:
    """Return the connection of a boundary. Raises: NotFoundError."""
    found = find_for_boundary(session, boundary_id)
    if found is None:
        raise NotFoundError("this boundary has no cloud connection")
    return found


def get_connection(session: Session, connection_id: UUID) -> tuple[CloudConnection, Boundary]:
    """Return a connection in scope and its boundary. Raises: NotFoundError."""
    row = session.execute(
        select(CloudConnection, Boundary)
        .join(
            Boundary,
            (Boundary.organization_id == CloudConnection.organization_id)
            & (Boundary.id == CloudConnection.boundary_id),
        )
        .where(CloudConnection.id == connection_id)
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no connection {connection_id}")
    return row[0], row[1]


def get_verification(session: Session, verification_id: UUID) -> ConnectionVerification:
    """Return a verification in scope. Raises: NotFoundError."""
    found = session.scalars(
        select(ConnectionVerification).where(ConnectionVerification.id == verification_id)
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no verification {verification_id}")
    return found


def find_foreign_external_id(session: Session, boundary_id: UUID) -> str | None:
    """Return another connection's external id for a probe, or None when there is only one."""
    found: str | None = session.execute(
        text("SELECT foreign_external_id(:own)"), {"own": boundary_id}
    ).scalar_one()
    return found


def find_open_grant(session: Session, boundary_id: UUID) -> AccessGrant | None:
    """Return the grant that is approved or active, whose values the stack operation takes."""
    return session.scalars(
        select(AccessGrant).where(
            AccessGrant.boundary_id == boundary_id,
            AccessGrant.state.in_([GrantState.APPROVED, GrantState.ACTIVE]),
        )
    ).one_or_none()


def has_grant(session: Session, connection: CloudConnection, grant_id: UUID) -> bool:
    """Tell whether a grant is of this connection."""
    found = session.scalars(
        select(AccessGrant.id).where(
            AccessGrant.boundary_id == connection.boundary_id,
            AccessGrant.connection_id == connection.id,
            AccessGrant.id == grant_id,
        )
    ).one_or_none()
    return found is not None
