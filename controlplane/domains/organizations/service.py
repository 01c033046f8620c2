"""Write an organization, its accounts, groups, members and roles.

Called by `domains/documents`, which applies a whole file. Every function brings the rows to what
is wanted and is safe to repeat.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError
from controlplane.core.ids import new_id
from controlplane.domains.organizations import repository
from controlplane.tables.identity import (
    GroupMember,
    IdentityProvider,
    MembershipSource,
    PrincipalGroup,
    RoleAssignment,
)
from controlplane.tables.organizations import CloudAccount, Organization


@dataclass(frozen=True)
class WantedRole:
    """A role that somebody is to have; no boundary means the whole organization."""

    role: str
    principal_id: UUID | None
    group_id: UUID | None
    boundary_id: UUID | None


def ensure_organization(
    session: Session,
    organization_id: UUID,
    *,
    name: str,
    display_name: str,
    document: dict[str, Any],
    digest: str,
) -> None:
    """Write the organization's row and keep the document that was applied."""
    existing = session.scalars(
        select(Organization).where(Organization.id == organization_id)
    ).one_or_none()
    if existing is None:
        session.add(
            Organization(
                id=organization_id,
                name=name,
                display_name=display_name,
                document=document,
                document_digest=digest,
            )
        )
    else:
        existing.display_name = display_name
        existing.document = document
        existing.document_digest = digest
        existing.updated_at = now()
    session.flush()


def ensure_identity_provider(
    session: Session, organization_id: UUID, issuer: str, sign_in: Mapping[str, str | None]
) -> None:
    """Claim an issuer for the organization and set how its people sign in with it.

    Shapes: `sign_in` has the columns of `IdentityProvider` that the file may set.
    Raises: ConflictError when the issuer is another organization's.
    """
    known = {p.issuer: p for p in session.scalars(select(IdentityProvider))}
    for other in known.values():
        other.is_current = other.issuer == issuer
    try:
        with session.begin_nested():
            row = known.get(issuer)
            if row is None:
                row = IdentityProvider(organization_id=organization_id, issuer=issuer)
                session.add(row)
            for column, value in sign_in.items():
                setattr(row, column, value)
    except IntegrityError as error:
        raise ConflictError(
            "this identity provider belongs to another organization",
            code="issuer-taken",
            field="identity_provider",
            fix="use the organization's own issuer, and name people of others under `guests`",
        ) from error


def ensure_accounts(
    session: Session, organization_id: UUID, wanted: Collection[tuple[str, str, str]]
) -> None:
    """Write accounts given as (name, number, partition)."""
    known = repository.list_accounts(session)
    for name, number, partition in wanted:
        if number in known:
            known[number].name = name
        else:
            session.add(
                CloudAccount(
                    organization_id=organization_id,
                    name=name,
                    account=number,
                    partition=partition,
                )
            )
    session.flush()


def ensure_groups(
    session: Session, ctx: OpContext, organization_id: UUID, wanted: Mapping[str, set[UUID]]
) -> dict[str, UUID]:
    """Write groups and whom the file says to be in them; return the groups' ids by name."""
    known = repository.list_groups(session)
    ids: dict[str, UUID] = {}
    for name, members in wanted.items():
        group = known.get(name)
        if group is None:
            group = PrincipalGroup(organization_id=organization_id, id=new_id(), name=name)
            session.add(group)
            session.flush()
        ids[name] = group.id
        set_members(session, ctx, organization_id, group, members, source=MembershipSource.FILE)
    for name, group in known.items():
        if name not in wanted:
            set_members(session, ctx, organization_id, group, set(), source=MembershipSource.FILE)
    return ids


def changes_members(session: Session, wanted: Mapping[str, set[UUID]]) -> bool:
    """Tell whether a file with these groups puts somebody into a group or takes somebody out."""
    known = repository.list_groups(session)
    present = {
        name: set(repository.list_current_members(session, group.id, MembershipSource.FILE))
        for name, group in known.items()
    }
    names = present.keys() | wanted.keys()
    return any(present.get(name, set()) != wanted.get(name, set()) for name in names)


def set_members(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    group: PrincipalGroup,
    wanted: set[UUID],
    *,
    source: MembershipSource,
) -> bool:
    """Bring what one source says about a group to `wanted`; tell whether that changed anything.

    Whom another source put there stays: each ends only what it began.
    """
    current = repository.list_current_members(session, group.id, source)
    added, removed = wanted - current.keys(), current.keys() - wanted
    for principal_id in added:
        session.add(
            GroupMember(
                organization_id=organization_id,
                group_id=group.id,
                principal_id=principal_id,
                source=source,
            )
        )
    for principal_id in removed:
        current[principal_id].valid_until = now()
    session.flush()
    if added or removed:
        audit.append(
            session,
            ctx,
            "group.changed",
            target=f"group/{group.id}",
            organization_id=organization_id,
            detail={
                "group": group.name,
                "source": source,
                "added": sorted(str(i) for i in added),
                "removed": sorted(str(i) for i in removed),
            },
        )
    return bool(added or removed)


def add_pushed_member(
    session: Session, ctx: OpContext, group: PrincipalGroup, principal_id: UUID
) -> None:
    """Put one person into a group on SCIM's word, beside those who are in it."""
    present = repository.list_current_members(session, group.id, MembershipSource.SCIM).keys()
    set_members(
        session,
        ctx,
        group.organization_id,
        group,
        {*present, principal_id},
        source=MembershipSource.SCIM,
    )


def end_memberships(
    session: Session, ctx: OpContext, organization_id: UUID, principal_id: UUID
) -> int:
    """Take a person out of every group, whoever put them there; return how many that were."""
    rows = repository.list_memberships_of(session, principal_id)
    names = {g.id: g.name for g in repository.list_groups(session).values()}
    for row in rows:
        row.valid_until = now()
        session.flush()
        audit.append(
            session,
            ctx,
            "group.changed",
            target=f"group/{row.group_id}",
            organization_id=organization_id,
            detail={
                "group": names[row.group_id],
                "source": row.source,
                "added": [],
                "removed": [str(principal_id)],
            },
        )
    return len(rows)


def role_changes(
    session: Session, wanted: Collection[WantedRole]
) -> tuple[set[WantedRole], list[RoleAssignment]]:
    """Return which wanted roles are not there yet and which present ones are not wanted.

    Service identities are made one by one and not by a file, so their roles are left alone.
    """
    missing = set(wanted)
    surplus = []
    services = repository.list_service_principals(session)
    for row in repository.list_current_assignments(session):
        if row.principal_id in services:
            continue
        key = WantedRole(row.role, row.principal_id, row.group_id, row.boundary_id)
        if key in missing:
            missing.discard(key)
        else:
            surplus.append(row)
    return missing, surplus


def ensure_roles(
    session: Session,
    ctx: OpContext,
    organization_id: UUID,
    wanted: Collection[WantedRole],
    *,
    reason: str,
) -> None:
    """Bring role assignments to what is wanted; history is kept, never edited."""
    missing, surplus = role_changes(session, wanted)
    for key in sorted(missing, key=str):
        assign_role(session, ctx, organization_id, key, reason=reason)
    for row in surplus:
        revoke_role(session, ctx, row, reason=reason)


def assign_role(
    session: Session, ctx: OpContext, organization_id: UUID, wanted: WantedRole, *, reason: str
) -> None:
    """Give a role from now on; the caller has checked that it is not there yet."""
    session.add(
        RoleAssignment(
            organization_id=organization_id,
            id=new_id(),
            boundary_id=wanted.boundary_id,
            principal_id=wanted.principal_id,
            group_id=wanted.group_id,
            role=wanted.role,
            valid_from=now(),
            granted_by=ctx.actor.principal_id,
            reason=reason,
        )
    )
    session.flush()
    _record_role(session, ctx, "role.assigned", organization_id, wanted)


def revoke_role(session: Session, ctx: OpContext, row: RoleAssignment, *, reason: str) -> None:
    """Take a role away from now on; what was known stays known."""
    repository.end_assignment(session, row, now(), ctx.actor.principal_id, reason)
    session.flush()
    key = WantedRole(row.role, row.principal_id, row.group_id, row.boundary_id)
    _record_role(session, ctx, "role.revoked", row.organization_id, key)


def _record_role(
    session: Session, ctx: OpContext, code: str, organization_id: UUID, key: WantedRole
) -> None:
    subject = f"principal/{key.principal_id}" if key.principal_id else f"group/{key.group_id}"
    audit.append(
        session,
        ctx,
        code,
        target=subject,
        organization_id=organization_id,
        detail={
            "role": key.role,
            "boundary_id": str(key.boundary_id) if key.boundary_id else None,
        },
    )
