"""Queries on organizations, groups and role assignments."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.core.ids import new_id
from controlplane.tables.identity import (
    GroupMember,
    MembershipSource,
    PrincipalGroup,
    RoleAssignment,
)
from controlplane.tables.organizations import CloudAccount, Organization
from controlplane.tables.services import ServiceIdentity


def get_organization(session: Session, name: str) -> Organization:
    """Return the organization in scope. Raises: NotFoundError."""
    found = session.scalars(select(Organization).where(Organization.name == name)).one_or_none()
    if found is None:
        raise NotFoundError(f"there is no organization {name!r}")
    return found


def list_accounts(session: Session) -> dict[str, CloudAccount]:
    """Return the organization's accounts by number."""
    return {a.account: a for a in session.scalars(select(CloudAccount))}


def list_groups(session: Session) -> dict[str, PrincipalGroup]:
    """Return the organization's groups by name."""
    return {g.name: g for g in session.scalars(select(PrincipalGroup))}


def find_group(session: Session, name: str) -> PrincipalGroup | None:
    """Return a group of the organization by name, or None."""
    return session.scalars(select(PrincipalGroup).where(PrincipalGroup.name == name)).one_or_none()


def list_current_members(
    session: Session, group_id: UUID, source: MembershipSource | None = None
) -> dict[UUID, GroupMember]:
    """Return who is in a group now, by principal; `source` None means whatever put them there."""
    statement = select(GroupMember).where(
        GroupMember.group_id == group_id, GroupMember.valid_until.is_(None)
    )
    if source is not None:
        statement = statement.where(GroupMember.source == source)
    return {m.principal_id: m for m in session.scalars(statement)}


def list_current_groups_of(session: Session, principal_id: UUID | None) -> frozenset[UUID]:
    """Return the groups that a principal is in now."""
    statement = select(GroupMember.group_id).where(
        GroupMember.principal_id == principal_id, GroupMember.valid_until.is_(None)
    )
    return frozenset(session.scalars(statement))


def list_memberships_of(session: Session, principal_id: UUID) -> list[GroupMember]:
    """Return a person's present memberships, of every source."""
    statement = select(GroupMember).where(
        GroupMember.principal_id == principal_id, GroupMember.valid_until.is_(None)
    )
    return list(session.scalars(statement))


def list_current_assignments(session: Session) -> list[RoleAssignment]:
    """Return all role assignments of the organization that hold now, as we know it now."""
    statement = select(RoleAssignment).where(
        RoleAssignment.superseded_at.is_(None), RoleAssignment.valid_until.is_(None)
    )
    return list(session.scalars(statement))


def list_service_principals(session: Session) -> frozenset[UUID]:
    """Return the principals of the organization's service identities."""
    return frozenset(session.scalars(select(ServiceIdentity.principal_id)))


def end_assignment(
    session: Session, assignment: RoleAssignment, at: datetime, by: UUID | None, reason: str
) -> None:
    """End an assignment bitemporally: the old row is superseded by one that says until when."""
    ended: dict[str, Any] = {
        column.key: getattr(assignment, column.key) for column in RoleAssignment.__table__.columns
    }
    ended |= {"id": new_id(), "valid_until": at, "recorded_at": at}
    ended |= {"granted_by": by, "reason": reason}
    session.execute(
        update(RoleAssignment)
        .where(
            RoleAssignment.organization_id == assignment.organization_id,
            RoleAssignment.id == assignment.id,
        )
        .values(superseded_at=at)
    )
    session.add(RoleAssignment(**ended))
