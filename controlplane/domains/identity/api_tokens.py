"""Make, list and revoke API tokens: named, narrowed, always ending, shown once.

Called by the token routes and by `domains/directory` for service identities. A token never gives
anything: at each request the holder's roles of that moment are cut by what the token allows
(`service.held_roles`). Separate from `tokens`, which only knows random bits and hashes.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import Actor, OpContext
from controlplane.core.clock import now
from controlplane.core.db import Scope, apply_scope
from controlplane.core.errors import ForbiddenError, InvalidRequestError, NotFoundError
from controlplane.domains.identity import repository, service, token_repository
from controlplane.domains.identity.token_repository import TokenCard
from controlplane.domains.identity.tokens import Kind, new_token
from controlplane.tables.identity import RoleName

LONGEST_LIFE = timedelta(days=90)
PREFIX_LENGTH = 10
"""Characters shown in lists: the kind and six of the 43 random ones."""
READERS = frozenset({RoleName.PLATFORM_ADMIN, RoleName.APPROVER, RoleName.AUDITOR})
"""Roles of a whole organization that see all of its tokens; only the first may revoke them."""


@dataclass(frozen=True)
class TokenScope:
    """What a new token is narrowed to; None narrows nothing."""

    organization_id: UUID | None = None
    boundary_id: UUID | None = None
    roles: frozenset[str] | None = None


def create_own(
    session: Session,
    ctx: OpContext,
    *,
    name: str,
    lifetime: timedelta,
    organization: str | None,
    boundary: str | None,
    roles: Collection[str] | None,
) -> tuple[TokenCard, str]:
    """Make a token for the caller; return it and the secret, which is never seen again.

    Raises: ForbiddenError when called with a narrowed token: it could widen itself.
    """
    actor = ctx.actor
    if actor.principal_id is None:
        raise ForbiddenError("only a known person or service can have a token")
    if actor.kind == "break-glass":
        raise ForbiddenError("a break-glass session makes no tokens: it would outlive itself")
    if actor.restriction is not None and actor.restriction.narrows():
        raise ForbiddenError(
            "a narrowed token cannot make another token",
            fix="sign in, or use a token without organization, boundary and roles",
        )
    scope = _own_scope(session, actor, organization, boundary, roles)
    return create(session, ctx, actor.principal_id, name=name, lifetime=lifetime, scope=scope)


def create(
    session: Session,
    ctx: OpContext,
    holder: UUID,
    *,
    name: str,
    lifetime: timedelta,
    scope: TokenScope,
    kind: Kind = "rfp",
) -> tuple[TokenCard, str]:
    """Make a token for a holder; the caller has checked that this is allowed."""
    if not timedelta(0) < lifetime <= LONGEST_LIFE:
        raise InvalidRequestError(
            f"a token lives at most {LONGEST_LIFE.days} days",
            field="lifetime_days",
            fix=f"ask for 1 to {LONGEST_LIFE.days} days",
        )
    secret = new_token(kind)
    token_id = token_repository.create_token(
        session,
        holder=holder,
        creator=ctx.actor.principal_id,
        name=name,
        prefix=secret[:PREFIX_LENGTH],
        secret=secret,
        expires_at=now() + lifetime,
        organization_id=scope.organization_id,
        boundary_id=scope.boundary_id,
        roles=scope.roles,
    )
    token = token_repository.get_token(session, token_id)
    _record(session, ctx, token, "token.issued", expires_at=token.expires_at.isoformat())
    return token, secret


def list_own(session: Session, ctx: OpContext) -> list[TokenCard]:
    """Return the caller's tokens, oldest first; the one in use among them."""
    if ctx.actor.principal_id is None:
        return []
    return token_repository.list_tokens_of_holder(session, ctx.actor.principal_id)


def list_of_organization(session: Session, ctx: OpContext, name: str) -> list[TokenCard]:
    """Return every token of an organization's people and services, for those who watch over it."""
    organization_id = _known_organization(session, ctx.actor, name)
    held = _organization_roles(session, ctx.actor, organization_id)
    if not held & READERS:
        raise ForbiddenError(
            "only a platform-admin, approver or auditor of the organization sees all tokens",
            fix="leave `organization` out to see your own",
        )
    return token_repository.list_tokens_of_organization(session, organization_id)


def revoke(session: Session, ctx: OpContext, token_id: UUID) -> TokenCard:
    """End a token at once; harmless when it has ended.

    Raises: NotFoundError for a token that is neither the caller's own nor of an organization that
    the caller administers; ForbiddenError when a narrowed token would end another one.
    """
    token = token_repository.find_token(session, token_id)
    if token is None or not _may_revoke(session, ctx.actor, token):
        raise NotFoundError(f"there is no token {token_id} that you may revoke")
    only = ctx.actor.restriction
    own = token.holder_id == ctx.actor.principal_id
    if own and only is not None and only.narrows() and only.token_id != token_id:
        raise ForbiddenError("a narrowed token can revoke only itself among your own")
    if token_repository.revoke_tokens(session, [token_id], ctx.actor.principal_id):
        _record(session, ctx, token, "token.revoked")
    return token_repository.get_token(session, token_id)


def revoke_all_of(session: Session, ctx: OpContext, holder: UUID) -> int:
    """End every token of a holder; return how many were still good."""
    cards = token_repository.list_tokens_of_holder(session, holder)
    ended = token_repository.revoke_tokens(
        session, [c.id for c in cards if c.revoked_at is None], ctx.actor.principal_id
    )
    for card in cards:
        if card.id in ended:
            _record(session, ctx, card, "token.revoked")
    return len(ended)


def revoke_for_organization(
    session: Session,
    ctx: OpContext,
    holder: UUID,
    organization_id: UUID,
    boundaries: Collection[UUID] | None = None,
) -> int:
    """End a holder's tokens for one organization, or for these boundaries of it; return how many.

    What the holder has elsewhere stays: a guest's own organization looks after that.
    """
    cards = [
        c
        for c in token_repository.list_tokens_of_holder(session, holder)
        if c.revoked_at is None
        and c.organization_id == organization_id
        and (boundaries is None or c.boundary_id in boundaries)
    ]
    ended = token_repository.revoke_tokens(session, [c.id for c in cards], ctx.actor.principal_id)
    for card in cards:
        if card.id in ended:
            _record(session, ctx, card, "token.revoked")
    return len(ended)


def _may_revoke(session: Session, actor: Actor, token: TokenCard) -> bool:
    if token.holder_id == actor.principal_id:
        return True
    organization_id = token.organization_id or token.home_organization_id
    if organization_id is None:
        return False
    return RoleName.PLATFORM_ADMIN in _organization_roles(session, actor, organization_id)


def _organization_roles(session: Session, actor: Actor, organization_id: UUID) -> set[str]:
    """Return the roles that the actor holds for a whole organization."""
    return {
        r.role
        for r in service.held_roles(session, actor)
        if r.organization_id == organization_id and r.boundary_id is None and not r.is_pending_guest
    }


def _known_organization(session: Session, actor: Actor, name: str) -> UUID:
    for role in service.held_roles(session, actor):
        if role.organization_name == name and role.organization_id is not None:
            return role.organization_id
    raise NotFoundError(f"there is no organization {name!r} that you have a role in")


def _own_scope(
    session: Session,
    actor: Actor,
    organization: str | None,
    boundary: str | None,
    roles: Collection[str] | None,
) -> TokenScope:
    """Return the scope asked for, of which the caller must have something now."""
    if boundary is not None and organization is None:
        raise InvalidRequestError(
            "a boundary is named without its organization",
            field="organization",
            fix="name the boundary's organization too",
        )
    held = service.held_roles(session, actor)
    organization_id = boundary_id = None
    if organization is not None:
        organization_id = _known_organization(session, actor, organization)
        held = [r for r in held if r.organization_id == organization_id]
    if boundary is not None and organization_id is not None:
        boundary_id = repository.find_boundary_id(session, organization_id, boundary)
        held = [r for r in held if r.boundary_id in (None, boundary_id)]
        if boundary_id is None or not held:
            raise NotFoundError(f"there is no boundary {boundary!r} that you have a role in")
    names = {r.role for r in held}
    missing = sorted(set(roles or ()) - names)
    if missing:
        raise InvalidRequestError(
            f"you do not have the role {missing[0]!r} there",
            field="roles",
            fix=f"choose among: {', '.join(sorted(names)) or 'none'}",
        )
    return TokenScope(organization_id, boundary_id, frozenset(roles) if roles else None)


def _record(
    session: Session, ctx: OpContext, token: TokenCard, code: str, **detail: object
) -> None:
    """Write the event to the chain of the organization that the token belongs to."""
    organization_id = token.organization_id or token.home_organization_id
    if ctx.scope.organization_id is None:
        # Such a request has no tenant scope; from here on it has the one of its event.
        apply_scope(session, Scope(organization_id) if organization_id else Scope.platform())
    audit.append(
        session,
        ctx,
        code,
        target=f"token/{token.id}",
        organization_id=organization_id,
        detail={
            "name": token.name,
            "prefix": token.prefix,
            "holder": str(token.holder_id),
            "organization_id": _text(token.organization_id),
            "boundary_id": _text(token.boundary_id),
            "roles": sorted(token.roles) if token.roles is not None else None,
            **detail,
        },
    )


def _text(value: UUID | datetime | None) -> str | None:
    return str(value) if value is not None else None
