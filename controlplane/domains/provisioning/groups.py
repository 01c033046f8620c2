"""Bring pushed groups to what the identity provider says.

Called by the router. A pushed group of the same name as one of the organization's file is that
group: the file maps it to roles, SCIM says who is in it. SCIM's memberships are rows of their own,
so neither undoes the other.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from scim2_models import (
    InvalidValueException,
    MutabilityException,
    NotFoundException,
    UniquenessException,
)
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.ids import new_id
from controlplane.domains.organizations import repository as organizations
from controlplane.domains.organizations import service as organization_service
from controlplane.domains.provisioning import repository
from controlplane.domains.provisioning.description import ScimGroup
from controlplane.tables.identity import MembershipSource, PrincipalGroup

LONGEST_NAME = 200


def get(session: Session, wanted: UUID, *, lock: bool = False) -> PrincipalGroup:
    """Return a group that SCIM knows. Raises: NotFoundException."""
    row = repository.find_group(session, wanted, lock=lock)
    if row is None:
        raise NotFoundException(detail=f"there is no group {wanted}")
    return row


def create(
    session: Session, ctx: OpContext, organization_id: UUID, group: ScimGroup
) -> PrincipalGroup:
    """Write a new group, or take over the file's of that name. Raises: UniquenessException."""
    name = _name(group)
    row = organizations.find_group(session, name)
    if row is not None and row.provisioned_at is not None:
        raise UniquenessException(detail=f"the group {name!r} exists already")
    members = _principals(session, group)
    if row is None:
        row = PrincipalGroup(organization_id=organization_id, id=new_id(), name=name, source="scim")
        session.add(row)
    row.external_id = group.external_id
    row.provisioned_at = row.changed_at = now()
    row.version = 1
    session.flush()
    _record(session, ctx, row, "group.provisioned", group=name, source=row.source)
    _set_members(session, ctx, row, members)
    return row


def change(session: Session, ctx: OpContext, row: PrincipalGroup, group: ScimGroup) -> None:
    """Bring a group to what a replaced or patched resource says, and count the change."""
    name = _name(group)
    if name != row.name:
        _require_renamable(session, row, name)
        row.name = name
    members = _principals(session, group)
    row.external_id = group.external_id
    row.changed_at = now()
    row.version += 1
    session.flush()
    _set_members(session, ctx, row, members)


def remove(session: Session, ctx: OpContext, row: PrincipalGroup) -> None:
    """End what SCIM said of a group; one of the file goes on with the file's members."""
    _set_members(session, ctx, row, set())
    row.provisioned_at = row.external_id = None
    row.changed_at = now()
    session.flush()
    _record(session, ctx, row, "group.removed", group=row.name)


def _name(group: ScimGroup) -> str:
    name = group.display_name or ""
    if not 0 < len(name) <= LONGEST_NAME:
        raise InvalidValueException(detail=f"displayName must have 1 to {LONGEST_NAME} characters")
    return name


def _require_renamable(session: Session, row: PrincipalGroup, name: str) -> None:
    if row.source == "file":
        raise MutabilityException(
            detail=f"{row.name!r} is named in the organization's file: rename it there first"
        )
    if organizations.find_group(session, name) is not None:
        raise UniquenessException(detail=f"the group {name!r} exists already")


def _principals(session: Session, group: ScimGroup) -> set[UUID]:
    """Return who is to be in the group. Raises: InvalidValueException for an unknown member."""
    wanted: set[UUID] = set()
    for member in group.members or []:
        try:
            wanted.add(UUID(str(member.value)))
        except ValueError as error:
            raise _unknown(member.value) from error
    found = repository.list_users_by_id(session, wanted)
    for missing in sorted(wanted - found.keys(), key=str):
        raise _unknown(missing)
    return {user.principal_id for user in found.values()}


def _unknown(value: Any) -> InvalidValueException:
    return InvalidValueException(
        detail=f"member {value!r} is not the id of a user of this service; groups in groups are not"
        " supported"
    )


def _set_members(
    session: Session, ctx: OpContext, row: PrincipalGroup, principals: set[UUID]
) -> None:
    organization_service.set_members(
        session, ctx, row.organization_id, row, principals, source=MembershipSource.SCIM
    )


def _record(
    session: Session, ctx: OpContext, row: PrincipalGroup, code: str, **detail: Any
) -> None:
    audit.append(
        session,
        ctx,
        code,
        target=f"group/{row.id}",
        organization_id=row.organization_id,
        detail=detail,
    )
