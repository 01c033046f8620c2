"""Authenticate a token and decide on a route; the only place where roles become a scope.

Called by the authorizer of the HTTP edge. No FastAPI here. What is allowed where is the policies'
decision (`decision.py`); this turns it into the rows that the transaction may see.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.actor import Actor, OpContext, Restriction
from controlplane.core.db import Scope
from controlplane.core.errors import (
    ForbiddenError,
    InvalidRequestError,
    NotFoundError,
    UnauthenticatedError,
)
from controlplane.core.policy import Verdict
from controlplane.domains.identity import decision, repository
from controlplane.domains.identity.decision import Asker, Place
from controlplane.domains.identity.principals import HeldRole
from controlplane.domains.identity.route_table import STAFF, Rule
from controlplane.domains.identity.tokens import MINIMUM_LENGTH, token_hash

ORGANIZATION_HEADER = "Ringfence-Organization"
DENY_BY_DEFAULT = "deny-by-default"
"""Named where no policy decided: nothing permits it."""


@dataclass(frozen=True)
class Caller:
    """An authenticated principal and all roles it holds now."""

    actor: Actor
    roles: tuple[HeldRole, ...]

    def platform_roles(self) -> frozenset[str]:
        """Return the roles held at the outermost layer."""
        return frozenset(r.role for r in self.roles if r.organization_id is None)

    def in_organization(self, organization_id: UUID) -> list[HeldRole]:
        """Return the roles that count in an organization: a pending guest's do not."""
        return [
            r for r in self.roles if r.organization_id == organization_id and not r.is_pending_guest
        ]


def authenticate(session: Session, authorization: str | None) -> Caller:
    """Return who presents this `Authorization` header. Raises: UnauthenticatedError."""
    scheme, _, token = (authorization or "").partition(" ")
    if scheme.lower() != "bearer" or len(token) < MINIMUM_LENGTH:
        raise UnauthenticatedError(
            "this route needs a bearer token or a signed-in browser",
            fix="send `Authorization: Bearer <token>`, or sign in: GET /v1/sign-in/start",
        )
    actor = repository.find_actor_by_token_hash(session, token_hash(token))
    if actor is None or actor.principal_id is None:
        raise UnauthenticatedError(
            "this token is unknown, expired or revoked", fix="sign in again for a new one"
        )
    return Caller(actor, tuple(held_roles(session, actor)))


def held_roles(session: Session, actor: Actor) -> list[HeldRole]:
    """Return the roles that an actor has now, as far as the token it came with lets it use them."""
    if actor.principal_id is None:
        return []
    roles = repository.list_roles(session, actor.principal_id)
    if actor.restriction is None:
        return roles
    narrowed = (_narrowed(role, actor.restriction) for role in roles)
    return [role for role in narrowed if role is not None]


def _narrowed(role: HeldRole, only: Restriction) -> HeldRole | None:
    """Return what is left of a role under a token's restriction: never more than the role was."""
    if only.roles is not None and role.role not in only.roles:
        return None
    if only.organization_id is None:
        return role
    if role.organization_id != only.organization_id:
        return None
    if only.boundary_id is None or role.boundary_id == only.boundary_id:
        return role
    return replace(role, boundary_id=only.boundary_id) if role.boundary_id is None else None


def decide(
    session: Session, caller: Caller, rule: Rule, organization: str | None, request_id: str
) -> OpContext:
    """Return the context under which the caller may use the route.

    Raises: ForbiddenError; NotFoundError for an organization that the caller may not know;
    InvalidRequestError when several organizations are possible and none is named.
    """
    if rule.layer == "authenticated":
        _require(caller, rule, [Place()])
        return OpContext(caller.actor, request_id, Scope(None), caller.platform_roles())
    if rule.layer == "platform":
        _require(caller, rule, [Place()])
        held_here = caller.platform_roles() & frozenset(str(r) for r in rule.roles)
        return OpContext(caller.actor, request_id, Scope.platform(), held_here)
    if rule.layer == "document":
        return _decide_document(session, caller, rule, organization, request_id)
    organization_id = _organization_of(caller, organization)
    held = caller.in_organization(organization_id)
    whole = _ask(caller, rule, [Place(organization_id)])[0]
    inner = {} if rule.layer == "organization" else _by_boundary(caller, rule, held)
    if whole.is_allowed:
        # No policy names a place, so only where the caller holds a role can an inner layer narrow.
        refused = {i for i, verdict in inner.items() if not verdict.is_allowed}
        boundaries = repository.list_boundary_ids(session, organization_id) - refused
    elif whole.policies:
        # A forbid for the organization wins over what a boundary would permit.
        raise _forbidden(caller, rule, whole)
    else:
        boundaries = frozenset(i for i, verdict in inner.items() if verdict.is_allowed)
        if not boundaries:
            raise _forbidden(caller, rule, next((v for v in inner.values() if v.policies), whole))
    allowed = frozenset(
        r.role
        for r in held
        if r.role in rule.roles and (r.boundary_id is None or r.boundary_id in boundaries)
    )
    return OpContext(caller.actor, request_id, Scope(organization_id, boundaries), allowed)


def _by_boundary(caller: Caller, rule: Rule, held: list[HeldRole]) -> dict[UUID, Verdict]:
    """Return the verdict on each boundary in which the caller holds a role."""
    places = sorted(
        {(r.organization_id, r.boundary_id) for r in held if r.boundary_id is not None},
        key=lambda pair: str(pair[1]),
    )
    verdicts = _ask(caller, rule, [Place(*pair) for pair in places])
    return {pair[1]: v for pair, v in zip(places, verdicts, strict=True) if pair[1] is not None}


def _decide_document(
    session: Session, caller: Caller, rule: Rule, name: str | None, request_id: str
) -> OpContext:
    """Decide on applying a file: a new organization by platform role, a known one by its own."""
    organization_id = repository.find_organization_id(session, name) if name else None
    if organization_id is None:
        places = [Place()]
        if name is None:
            known = {r.organization_id for r in caller.roles if r.organization_id is not None}
            places += [Place(i) for i in sorted(known)]
        allowed = _require(caller, rule, places)
        roles = frozenset(
            r.role
            for r in caller.roles
            if r.role in rule.roles and Place(r.organization_id) in allowed
        )
        return OpContext(caller.actor, request_id, Scope(None), roles)
    _require(caller, rule, [Place(organization_id)])
    held = caller.in_organization(organization_id)
    roles = frozenset(r.role for r in held if r.boundary_id is None and r.role in rule.roles)
    scope = Scope(organization_id, repository.list_boundary_ids(session, organization_id))
    return OpContext(caller.actor, request_id, scope, roles)


def _ask(caller: Caller, rule: Rule, places: list[Place]) -> list[Verdict]:
    asker = Asker.of(caller.actor, caller.roles)
    return decision.decide(asker, rule.action, places)


def _require(caller: Caller, rule: Rule, places: list[Place]) -> list[Place]:
    """Return the places that are allowed. Raises: ForbiddenError when none is."""
    verdicts = _ask(caller, rule, places)
    allowed = [p for p, v in zip(places, verdicts, strict=True) if v.is_allowed]
    if not allowed:
        raise _forbidden(caller, rule, next((v for v in verdicts if v.policies), verdicts[0]))
    return allowed


def _organization_of(caller: Caller, name: str | None) -> UUID:
    """Return the organization meant: the one named, else the only one the caller has a role in."""
    known = {r.organization_name: r.organization_id for r in caller.roles if r.organization_id}
    if name is not None:
        found = known.get(name)
        if found is None:
            raise NotFoundError(f"there is no organization {name!r} that you have a role in")
        return found
    ids = {i for i in known.values() if i is not None}
    if not ids:
        raise ForbiddenError(
            "you have no role in any organization yet",
            fix="ask an administrator to name you in the organization's file",
        )
    if len(ids) > 1:
        names = ", ".join(sorted(str(n) for n in known))
        raise InvalidRequestError(
            "you have roles in several organizations",
            field=ORGANIZATION_HEADER,
            fix=f"send the header {ORGANIZATION_HEADER} with one of: {names}",
        )
    return ids.pop()


def _forbidden(caller: Caller, rule: Rule, verdict: Verdict) -> ForbiddenError:
    """Return the refusal; the policy that decided is for the record, and for staff to read.

    It names no thing that was asked about, so it tells nobody that one exists.
    """
    roles = ", ".join(sorted(str(r) for r in rule.roles))
    message, code = f"this needs one of the roles {roles}", None
    fix = "ask somebody who has it, or ask an administrator for the role"
    policy = verdict.policies[0] if verdict.policies else None
    if policy is not None and policy.message is not None:
        message, code, fix = policy.message, policy.code, policy.fix or fix
    decided = {"layer": verdict.layer, "policy": policy.id if policy else DENY_BY_DEFAULT}
    if any(r.role in STAFF for r in caller.roles):
        fix = f"{fix} (decided at layer {decided['layer']} by policy {decided['policy']})"
    return ForbiddenError(message, code=code, fix=fix, decided=decided)
