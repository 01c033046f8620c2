"""The one decision on access: a caller and a resource as entities, and what the policies say.

Called by `service.decide` for each request, by `explanation` for an auditor, and by the writer of
the published table. No database here: what a principal holds is given. Policies are the files in
`policies/`: forbids by hand, permits generated from the route table.
Source: access.md 5, decision 18, ADR-0018.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

from controlplane.adapters.cedar import CedarEngine
from controlplane.core.actor import Actor
from controlplane.core.policy import Entity, PolicyEngine, PolicyRequest, Prepared, Uid, Verdict
from controlplane.domains.identity.principals import HeldRole
from controlplane.tables.identity import RoleName

POLICIES = Path(__file__).with_name("policies")
PLATFORM = Uid("Platform", "ringfence")


@dataclass(frozen=True)
class Asker:
    """A principal as policies see it: what it is, and every role it holds now."""

    id: str
    kind: str
    home: UUID | None
    """The organization whose identity provider vouches for it; None for the vendor's."""
    roles: tuple[HeldRole, ...]
    is_disabled: bool = False

    @classmethod
    def of(cls, actor: Actor, roles: Iterable[HeldRole], *, is_disabled: bool = False) -> Asker:
        """Return an actor with its roles as one who asks."""
        identifier = str(actor.principal_id or f"{actor.issuer}#{actor.subject}")
        return cls(identifier, actor.kind, actor.organization_id, tuple(roles), is_disabled)


@dataclass(frozen=True)
class Place:
    """What is asked about: the platform, an organization, or one boundary of it."""

    organization_id: UUID | None = None
    boundary_id: UUID | None = None

    def uid(self) -> Uid:
        """Return the place's entity."""
        if self.boundary_id is not None:
            return Uid("Boundary", str(self.boundary_id))
        if self.organization_id is not None:
            return Uid("Organization", str(self.organization_id))
        return PLATFORM


@cache
def engine() -> PolicyEngine:
    """Return the policies of this version, parsed once per process. Raises: PolicyError."""
    return CedarEngine.load(POLICIES)


def forget_policies() -> None:
    """Read the policies again at the next question; for their writer."""
    engine.cache_clear()
    _prepared.cache_clear()


def decide(asker: Asker, action: str, places: Sequence[Place]) -> list[Verdict]:
    """Return one verdict per place, in order. Raises: PolicyError.

    `action` is `METHOD /path` of a route in the table.
    """
    principal = Uid("Principal", asker.id)
    requests = [PolicyRequest(principal, Uid("Action", action), p.uid()) for p in places]
    return engine().decide(requests, _prepared(asker, tuple(places)))


@lru_cache(maxsize=4096)
def _prepared(asker: Asker, places: tuple[Place, ...]) -> Prepared:
    """Return the entities of a question, parsed.

    Kept, since most requests repeat the one before; never stale, since the key is all they hold.
    """
    return engine().prepare(entities(asker, places))


def entities(asker: Asker, places: Sequence[Place]) -> list[Entity]:
    """Return the principal, its roles, and the places with everything around them."""
    wanted = {place.uid(): place for place in places}
    for place in places:
        if place.boundary_id is not None:
            outer = Place(place.organization_id)
            wanted.setdefault(outer.uid(), outer)
    wanted.setdefault(PLATFORM, Place())
    organizations = {r.organization_id for r in asker.roles} | {asker.home}
    for organization_id in organizations - {None}:
        outer = Place(organization_id)
        wanted.setdefault(outer.uid(), outer)
    return [_principal(asker), *(_place(place) for place in wanted.values())]


def _principal(asker: Asker) -> Entity:
    attributes: dict[str, Any] = {
        "kind": asker.kind,
        "disabled": asker.is_disabled,
        **_guest_attributes(asker),
    }
    if asker.home is not None:
        attributes["home"] = _reference(Place(asker.home).uid())
    held = {(Place(r.organization_id, r.boundary_id), r.role) for r in asker.roles}
    return {
        "uid": Uid("Principal", asker.id).json(),
        "attrs": attributes,
        "parents": sorted((_holders(p, role).json() for p, role in held), key=lambda u: u["id"]),
    }


def _guest_attributes(asker: Asker) -> dict[str, Any]:
    """Return where a guest is let in, and where a role waits for a waiver.

    A waiver for one boundary lets a guest into the organization as far as that boundary: a role in
    another one goes on waiting there, and nothing is held for the whole.
    """
    waiting = [r for r in asker.roles if r.is_pending_guest and r.organization_id is not None]
    whole = {r.organization_id for r in waiting if r.boundary_id is None}
    let_in = {r.organization_id for r in asker.roles if not r.is_pending_guest}
    let_in -= whole | {None, asker.home}
    outside = {r.organization_id for r in waiting} - let_in
    boundaries = {r.boundary_id for r in waiting} - {None}
    return {
        "guestOf": [_reference(Place(i).uid()) for i in _in_order(let_in)],
        "pendingGuestOf": [_reference(Place(i).uid()) for i in _in_order(outside)],
        "pendingGuestIn": [_reference(Uid("Boundary", str(i))) for i in _in_order(boundaries)],
    }


def _place(place: Place) -> Entity:
    attributes: dict[str, Any] = {
        "holders": {str(role): _reference(_holders(place, role)) for role in RoleName}
    }
    parents = []
    if place.boundary_id is not None:
        outer = Place(place.organization_id).uid()
        attributes["organization"] = _reference(outer)
        parents.append(outer.json())
    elif place.organization_id is not None:
        parents.append(PLATFORM.json())
    return {"uid": place.uid().json(), "attrs": attributes, "parents": parents}


def _holders(place: Place, role: str) -> Uid:
    """Return the group of all who hold a role at a place."""
    uid = place.uid()
    return Uid("Holders", f"{uid.type}/{uid.id}/{role}")


def _reference(uid: Uid) -> dict[str, Any]:
    return {"__entity": uid.json()}


def _in_order(identifiers: Iterable[UUID | None]) -> list[UUID]:
    return sorted(i for i in identifiers if i is not None)
