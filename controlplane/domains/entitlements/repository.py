"""Queries on entitlements and gateway keys."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.errors import NotFoundError
from controlplane.tables.catalog import Entitlement, GatewayKey
from controlplane.tables.identity import PrincipalGroup


def list_current(session: Session, boundary_id: UUID) -> list[Entitlement]:
    """Return the entitlements of a boundary that hold now, as we know it now."""
    statement = select(Entitlement).where(
        Entitlement.boundary_id == boundary_id,
        Entitlement.superseded_at.is_(None),
        Entitlement.valid_until.is_(None),
    )
    return list(session.scalars(statement))


def list_keys(session: Session, boundary_id: UUID, *, only_valid: bool) -> list[GatewayKey]:
    """Return the gateway keys of a boundary, oldest first."""
    statement = select(GatewayKey).where(GatewayKey.boundary_id == boundary_id)
    if only_valid:
        statement = statement.where(GatewayKey.revoked_at.is_(None), GatewayKey.expires_at > now())
    return list(session.scalars(statement.order_by(GatewayKey.created_at, GatewayKey.id)))


def list_valid_keys_of(session: Session, owner_id: UUID) -> list[GatewayKey]:
    """Return a person's valid gateway keys in all boundaries in scope."""
    statement = select(GatewayKey).where(
        GatewayKey.owner_id == owner_id,
        GatewayKey.revoked_at.is_(None),
        GatewayKey.expires_at > now(),
    )
    return list(session.scalars(statement.order_by(GatewayKey.boundary_id, GatewayKey.id)))


def get_key(session: Session, boundary_id: UUID, key_id: UUID) -> GatewayKey:
    """Return one key with its row locked. Raises: NotFoundError."""
    found = session.scalars(
        select(GatewayKey)
        .where(GatewayKey.boundary_id == boundary_id, GatewayKey.id == key_id)
        .with_for_update()
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no gateway key {key_id} in this boundary")
    return found


def group_names(session: Session) -> dict[UUID, str]:
    """Return the names of the organization's groups by id."""
    return {g.id: g.name for g in session.scalars(select(PrincipalGroup))}
