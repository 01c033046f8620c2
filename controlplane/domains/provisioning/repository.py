"""Queries on pushed people and groups of the organization in scope."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, func, select, text
from sqlalchemy.orm import Session

from controlplane.tables.identity import (
    GroupMember,
    IdentityProvider,
    MembershipSource,
    PrincipalGroup,
)
from controlplane.tables.provisioning import ProvisionedUser


def get_provider(session: Session) -> IdentityProvider:
    """Return the organization's current identity provider; each organization has one."""
    return session.scalars(select(IdentityProvider).where(IdentityProvider.is_current)).one()


def find_user(session: Session, wanted: UUID, *, lock: bool = False) -> ProvisionedUser | None:
    """Return a pushed person by id, None when there is none or it was removed."""
    statement = select(ProvisionedUser).where(
        ProvisionedUser.id == wanted, ProvisionedUser.removed_at.is_(None)
    )
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def find_user_by_name(session: Session, user_name: str) -> ProvisionedUser | None:
    """Return a pushed person by name, whatever its case."""
    return session.scalars(
        select(ProvisionedUser).where(
            func.lower(ProvisionedUser.user_name) == user_name.lower(),
            ProvisionedUser.removed_at.is_(None),
        )
    ).one_or_none()


def find_user_of_principal(session: Session, principal_id: UUID) -> ProvisionedUser | None:
    """Return the pushed person behind a principal."""
    return session.scalars(
        select(ProvisionedUser).where(
            ProvisionedUser.principal_id == principal_id, ProvisionedUser.removed_at.is_(None)
        )
    ).one_or_none()


def list_users(
    session: Session, condition: ColumnElement[bool] | None, start: int, count: int
) -> tuple[int, list[ProvisionedUser]]:
    """Return how many match in all, and one page of them in the order of their making."""
    statement = select(ProvisionedUser).where(ProvisionedUser.removed_at.is_(None))
    if condition is not None:
        statement = statement.where(condition)
    total = session.scalars(select(func.count()).select_from(statement.subquery())).one()
    page = statement.order_by(ProvisionedUser.created_at, ProvisionedUser.id)
    return total, list(session.scalars(page.offset(start).limit(count)))


def list_users_by_id(session: Session, ids: Collection[UUID]) -> dict[UUID, ProvisionedUser]:
    """Return pushed people by id; unknown ids are left out."""
    found = session.scalars(
        select(ProvisionedUser).where(
            ProvisionedUser.id.in_(ids), ProvisionedUser.removed_at.is_(None)
        )
    )
    return {u.id: u for u in found}


def find_group(session: Session, wanted: UUID, *, lock: bool = False) -> PrincipalGroup | None:
    """Return a group that SCIM knows by id, or None."""
    statement = select(PrincipalGroup).where(
        PrincipalGroup.id == wanted, PrincipalGroup.provisioned_at.is_not(None)
    )
    return session.scalars(statement.with_for_update() if lock else statement).one_or_none()


def list_groups(
    session: Session, condition: ColumnElement[bool] | None, start: int, count: int
) -> tuple[int, list[PrincipalGroup]]:
    """Return how many of SCIM's groups match in all, and one page of them by name."""
    statement = select(PrincipalGroup).where(PrincipalGroup.provisioned_at.is_not(None))
    if condition is not None:
        statement = statement.where(condition)
    total = session.scalars(select(func.count()).select_from(statement.subquery())).one()
    page = statement.order_by(PrincipalGroup.name, PrincipalGroup.id)
    return total, list(session.scalars(page.offset(start).limit(count)))


def list_pushed_members(
    session: Session, groups: Collection[UUID]
) -> list[tuple[UUID, ProvisionedUser]]:
    """Return (group, person) for whom SCIM put into these groups."""
    statement = (
        select(GroupMember.group_id, ProvisionedUser)
        .join(ProvisionedUser, ProvisionedUser.principal_id == GroupMember.principal_id)
        .where(
            GroupMember.group_id.in_(groups),
            GroupMember.source == MembershipSource.SCIM,
            GroupMember.valid_until.is_(None),
            ProvisionedUser.removed_at.is_(None),
        )
        .order_by(ProvisionedUser.user_name)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]


def list_groups_of(
    session: Session, principals: Collection[UUID]
) -> list[tuple[UUID, PrincipalGroup]]:
    """Return (principal, group) for the groups of SCIM that people were put into by it."""
    statement = (
        select(GroupMember.principal_id, PrincipalGroup)
        .join(PrincipalGroup, PrincipalGroup.id == GroupMember.group_id)
        .where(
            GroupMember.principal_id.in_(principals),
            GroupMember.source == MembershipSource.SCIM,
            GroupMember.valid_until.is_(None),
            PrincipalGroup.provisioned_at.is_not(None),
        )
        .order_by(PrincipalGroup.name)
    )
    return [(row[0], row[1]) for row in session.execute(statement)]


def set_enabled(session: Session, organization_id: UUID, principal_id: UUID, *, to: bool) -> bool:
    """Enable or disable a person of the organization's issuer; tell whether that changed it."""
    changed: bool = session.execute(
        text("SELECT set_principal_enabled(:organization, :who, :to)"),
        {"organization": organization_id, "who": principal_id, "to": to},
    ).scalar_one()
    return changed


def describe(
    session: Session, organization_id: UUID, principal_id: UUID, shown: str, key: str | None
) -> None:
    """Write what the provider says of a person: the name, and the person key where it has one."""
    arguments: dict[str, Any] = {
        "organization": organization_id,
        "who": principal_id,
        "shown": shown,
        "key": key,
    }
    session.execute(text("SELECT describe_principal(:organization, :who, :shown, :key)"), arguments)
