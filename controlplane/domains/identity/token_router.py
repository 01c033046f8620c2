"""Routes on API tokens: one's own, and an organization's for those who watch over it."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.identity import api_tokens, repository
from controlplane.domains.identity.token_repository import TokenCard
from controlplane.domains.identity.token_schemas import (
    TokenCreatedOut,
    TokenIn,
    TokenOut,
    TokensOut,
    token_out,
)

router = APIRouter(prefix="/v1", tags=["tokens"], route_class=TransactionRoute)

OfOrganization = Annotated[
    str | None, Query(max_length=100, description="all tokens of this organization, for its staff")
]


@router.get("/tokens", operation_id="token_list")
def token_list(
    session: Transaction, ctx: Context, organization: OfOrganization = None
) -> TokensOut:
    """List API tokens without their secrets, ended ones too."""
    if organization is None:
        tokens = api_tokens.list_own(session, ctx)
    else:
        tokens = api_tokens.list_of_organization(session, ctx, organization)
    return TokensOut(tokens=shown(session, ctx, tokens))


@router.post("/tokens", operation_id="token_create", status_code=201)
def token_create(body: TokenIn, session: Transaction, ctx: Context) -> TokenCreatedOut:
    """Make an API token for oneself; this answer is the only place that ever shows it."""
    token, secret = api_tokens.create_own(
        session,
        ctx,
        name=body.name,
        lifetime=timedelta(days=body.lifetime_days),
        organization=body.organization,
        boundary=body.boundary,
        roles=body.roles,
    )
    (out,) = shown(session, ctx, [token])
    return TokenCreatedOut(**out.model_dump(), token=secret)


@router.post("/tokens/{token_id}/revoke", operation_id="token_revoke")
def token_revoke(token_id: UUID, session: Transaction, ctx: Context) -> TokenOut:
    """Revoke a token: its next use is refused."""
    (out,) = shown(session, ctx, [api_tokens.revoke(session, ctx, token_id)])
    return out


def shown(session: Session, ctx: OpContext, tokens: list[TokenCard]) -> list[TokenOut]:
    """Return tokens as the API shows them."""
    ids = [t.holder_id for t in tokens] + [t.created_by for t in tokens]
    cards = repository.get_cards(session, ids)
    current = ctx.actor.restriction.token_id if ctx.actor.restriction else None
    return [token_out(t, cards, current, now()) for t in tokens]
