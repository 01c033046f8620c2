"""Queries on people, groups and service identities of the organization in scope."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.tables.identity import GroupMember, RoleAssignment
from controlplane.tables.provisioning import ProvisionedUser
from controlplane.tables.services import ServiceIdentity
from controlplane.tables.waivers import Waiver, WaiverKind, WaiverState


@dataclass(frozen=True)
class PrincipalState:
    """What of a principal the organization may know beside its card."""

    created_at: datetime
    disabled_at: datetime | None
    last_used_at: datetime | None
    """When one of its tokens was last used; None: never, or before this was kept."""
    last_sign_in_at: datetime | None
    """When a browser last signed in; None: never, or its session is no longer kept."""


def list_own_principals(session: Session, organization_id: UUID) -> frozenset[UUID]:
    """Return everyone whom the organization's identity provider vouches for, and its services."""
    rows: Any = session.execute(
        text("SELECT * FROM principals_of_organization(:id)"), {"id": organization_id}
    ).scalars()
    return frozenset(rows)


def get_states(session: Session, ids: Collection[UUID]) -> dict[UUID, PrincipalState]:
    """Return the states of principals by id."""
    rows: Any = session.execute(
        text("SELECT * FROM principal_states(CAST(:ids AS uuid[]))"),
        {"ids": sorted(str(i) for i in ids)},
    )
    return {
        r.id: PrincipalState(r.created_at, r.disabled_at, r.last_used_at, r.last_sign_in_at)
        for r in rows
    }


def list_assignments(session: Session, at: datetime) -> list[RoleAssignment]:
    """Return the role assignments that hold at a moment, as we know it now."""
    statement = select(RoleAssignment).where(
        RoleAssignment.superseded_at.is_(None),
        RoleAssignment.valid_from <= at,
        RoleAssignment.valid_until.is_(None) | (RoleAssignment.valid_until > at),
    )
    return list(session.scalars(statement))


def list_members(session: Session) -> list[GroupMember]:
    """Return all present memberships of the organization."""
    return list(session.scalars(select(GroupMember).where(GroupMember.valid_until.is_(None))))


def list_guests(session: Session, at: datetime, boundary_ids: Collection[UUID]) -> dict[UUID, bool]:
    """Return the guests by principal, and whether a waiver is in force for each.

    Waivers of boundaries that are not among these are left out.
    """
    found: dict[UUID, bool] = {}
    for waiver in session.scalars(select(Waiver).where(Waiver.kind == WaiverKind.GUEST)):
        if waiver.boundary_id is not None and waiver.boundary_id not in boundary_ids:
            continue
        is_in_force = waiver.state_at(at) is WaiverState.ACTIVE
        found[waiver.principal_id] = found.get(waiver.principal_id, False) or is_in_force
    return found


def list_provisioned(session: Session) -> dict[UUID, ProvisionedUser]:
    """Return whom SCIM pushed, by principal; also those it removed, unless pushed anew."""
    found = session.scalars(
        select(ProvisionedUser).order_by(ProvisionedUser.removed_at.nulls_last())
    )
    return {u.principal_id: u for u in found}


def list_services(session: Session) -> list[ServiceIdentity]:
    """Return the organization's service identities by name."""
    return list(session.scalars(select(ServiceIdentity).order_by(ServiceIdentity.name)))


def get_service(session: Session, wanted: UUID) -> ServiceIdentity:
    """Return one service identity with its row locked. Raises: NotFoundError."""
    found = session.scalars(
        select(ServiceIdentity).where(ServiceIdentity.id == wanted).with_for_update()
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no service identity {wanted}")
    return found
