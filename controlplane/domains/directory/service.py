"""Put people, groups and roles together, cut to what the caller may know.

Whoever has a role for the whole organization sees all of it. A boundary's administrator sees what
touches the own boundary: who has a role in it or over it, through which groups, and no name of
anything that is mapped elsewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import NotFoundError
from controlplane.domains.boundaries import repository as boundaries
from controlplane.domains.directory import repository
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity import service as identity_service
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.organizations import repository as organizations
from controlplane.tables.identity import GroupMember, PrincipalGroup, RoleAssignment
from controlplane.tables.provisioning import ProvisionedUser


@dataclass(frozen=True)
class Directory:
    """What the caller may know of the organization's directory, at one moment."""

    boundary_names: dict[UUID, str]
    groups: dict[UUID, PrincipalGroup]
    assignments: list[RoleAssignment]
    members: list[GroupMember]
    cards: dict[UUID, PrincipalCard]
    states: dict[UUID, repository.PrincipalState]
    guests: dict[UUID, bool]
    """People of other providers, and whether a waiver is in force for each."""
    provisioned: dict[UUID, ProvisionedUser]

    def groups_of(self, principal_id: UUID) -> list[PrincipalGroup]:
        """Return the groups that somebody is in, by name."""
        ids = {m.group_id for m in self.members if m.principal_id == principal_id}
        return sorted((self.groups[i] for i in ids), key=lambda g: g.name)

    def roles_of(self, principal_id: UUID) -> list[RoleAssignment]:
        """Return the assignments that give somebody a role, own ones first."""
        groups = {m.group_id for m in self.members if m.principal_id == principal_id}
        held = [
            a for a in self.assignments if a.principal_id == principal_id or a.group_id in groups
        ]
        return sorted(held, key=lambda a: (a.group_id is not None, a.role, str(a.boundary_id)))

    def roles_of_group(self, group_id: UUID) -> list[RoleAssignment]:
        """Return the assignments that a group gives to its members."""
        held = [a for a in self.assignments if a.group_id == group_id]
        return sorted(held, key=lambda a: (a.role, str(a.boundary_id)))

    def sources_of(self, group_id: UUID) -> dict[UUID, list[str]]:
        """Return who is in a group, each with the sources that say so."""
        found: dict[UUID, list[str]] = defaultdict(list)
        for member in self.members:
            if member.group_id == group_id:
                found[member.principal_id].append(member.source)
        return {principal_id: sorted(sources) for principal_id, sources in found.items()}


def read(session: Session, ctx: OpContext) -> Directory:
    """Return the organization's directory as the caller may know it."""
    organization_id = organization_of(ctx)
    everything = sees_everything(session, ctx, organization_id)
    names = {b.id: b.name for b in boundaries.list_boundaries(session)}
    assignments = [
        a
        for a in repository.list_assignments(session, now())
        if everything or a.boundary_id is None or a.boundary_id in names
    ]
    groups = _visible_groups(session, assignments, everything)
    members = [m for m in repository.list_members(session) if m.group_id in groups]
    guests = repository.list_guests(session, now(), names)
    people = {a.principal_id for a in assignments if a.principal_id}
    people |= {m.principal_id for m in members}
    own = repository.list_own_principals(session, organization_id)
    if everything:
        people |= own | guests.keys()
    # Whoever is known to another provider only is a guest, with or without a waiver that one sees.
    guests = {**dict.fromkeys(people - own, False), **guests}
    return Directory(
        boundary_names=names,
        groups=groups,
        assignments=assignments,
        members=members,
        cards=identity.get_cards(session, people),
        states=repository.get_states(session, people),
        guests=guests,
        provisioned=repository.list_provisioned(session),
    )


def organization_of(ctx: OpContext) -> UUID:
    """Return the organization in scope. Raises: NotFoundError without one."""
    if ctx.scope.organization_id is None:
        raise NotFoundError("there is no such organization")
    return ctx.scope.organization_id


def sees_everything(session: Session, ctx: OpContext, organization_id: UUID) -> bool:
    """Tell whether the caller has one of the route's roles for the whole organization."""
    return any(
        r.organization_id == organization_id and r.boundary_id is None and r.role in ctx.roles
        for r in identity_service.held_roles(session, ctx.actor)
    )


def _visible_groups(
    session: Session, assignments: Iterable[RoleAssignment], everything: bool
) -> dict[UUID, PrincipalGroup]:
    """Return the groups; without a view of everything, those of the assignments that one sees."""
    giving = {a.group_id for a in assignments if a.group_id}
    return {
        g.id: g
        for g in organizations.list_groups(session).values()
        # A group that SCIM deleted stays for history only.
        if g.id in giving or (everything and (g.source == "file" or g.provisioned_at is not None))
    }
