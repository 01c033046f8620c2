"""Routes on an organization's people and groups."""

from __future__ import annotations

from typing import Literal, cast
from uuid import UUID

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.directory import service
from controlplane.domains.directory.schemas import (
    DirectoryPersonOut,
    DirectoryRoleOut,
    GroupOut,
    GroupsOut,
    MappedRoleOut,
    MemberOut,
    MemberSource,
    PeopleOut,
)
from controlplane.domains.directory.service import Directory
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.tables.identity import RoleAssignment

router = APIRouter(prefix="/v1", tags=["directory"], route_class=TransactionRoute)

Status = Literal["active", "disabled", "guest-pending"]
Source = Literal["file", "scim", "signed-in", "service"]


@router.get("/organizations/{name}/people", operation_id="person_list")
def person_list(name: str, session: Transaction, ctx: Context) -> PeopleOut:
    """List people and services with their groups, their roles and the layer that gave each."""
    found = service.read(session, ctx)
    people = [_person(found, card) for card in found.cards.values()]
    return PeopleOut(people=sorted(people, key=lambda p: (p.subject, p.issuer)))


@router.get("/organizations/{name}/groups", operation_id="group_list")
def group_list(name: str, session: Transaction, ctx: Context) -> GroupsOut:
    """List groups with their members, who says so, and the roles that they give."""
    found = service.read(session, ctx)
    return GroupsOut(
        groups=[
            GroupOut(
                id=group.id,
                name=group.name,
                source=cast("Literal['file', 'scim']", group.source),
                members=_members(found, group.id),
                roles=[_mapped(found, a) for a in found.roles_of_group(group.id)],
            )
            for group in sorted(found.groups.values(), key=lambda g: g.name)
        ]
    )


def _members(found: Directory, group_id: UUID) -> list[MemberOut]:
    members = [
        MemberOut(
            id=principal_id,
            subject=found.cards[principal_id].subject,
            display=found.cards[principal_id].display,
            sources=cast("list[MemberSource]", sources),
        )
        for principal_id, sources in found.sources_of(group_id).items()
    ]
    return sorted(members, key=lambda m: m.subject)


def _person(found: Directory, card: PrincipalCard) -> DirectoryPersonOut:
    return DirectoryPersonOut(
        id=card.id,
        issuer=card.issuer,
        subject=card.subject,
        display=card.display,
        kind=cast("Literal['human', 'service', 'break-glass']", card.kind),
        status=_status(found, card.id),
        source=_source(found, card),
        groups=[g.name for g in found.groups_of(card.id)],
        roles=[_role(found, a) for a in found.roles_of(card.id)],
        last_sign_in_at=found.states[card.id].last_sign_in_at,
        last_used_at=found.states[card.id].last_used_at,
    )


def _status(found: Directory, principal_id: UUID) -> Status:
    if found.states[principal_id].disabled_at is not None:
        return "disabled"
    return "active" if found.guests.get(principal_id, True) else "guest-pending"


def _source(found: Directory, card: PrincipalCard) -> Source:
    if card.kind == "service":
        return "service"
    if card.id in found.provisioned:
        return "scim"
    in_file = any(a.principal_id == card.id for a in found.assignments) or any(
        m.principal_id == card.id and m.source == "file" for m in found.members
    )
    return "file" if in_file or card.id in found.guests else "signed-in"


def _mapped(found: Directory, assignment: RoleAssignment) -> MappedRoleOut:
    boundary = assignment.boundary_id
    return MappedRoleOut(
        role=assignment.role,
        layer="organization" if boundary is None else "boundary",
        boundary=found.boundary_names.get(boundary) if boundary else None,
    )


def _role(found: Directory, assignment: RoleAssignment) -> DirectoryRoleOut:
    group = found.groups[assignment.group_id].name if assignment.group_id else None
    return DirectoryRoleOut(
        **_mapped(found, assignment).model_dump(),
        via="person" if group is None else "group",
        group=group,
        reason=assignment.reason,
        since=assignment.valid_from,
    )
