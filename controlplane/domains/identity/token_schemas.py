"""API tokens as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.schemas import PersonOut, person_out
from controlplane.domains.identity.token_repository import TokenCard
from controlplane.tables.identity import RoleName


class TokenIn(BaseModel):
    """A token that is asked for; what is left out does not narrow it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100)
    lifetime_days: int = Field(default=30, ge=1, le=90)
    organization: str | None = Field(default=None, max_length=100)
    boundary: str | None = Field(default=None, max_length=100)
    """Name of a boundary of that organization."""
    roles: list[RoleName] | None = Field(default=None, min_length=1, max_length=10)


class TokenOut(BaseModel):
    """A token without its secret."""

    id: UUID
    name: str
    prefix: str
    holder: PersonOut
    created_by: PersonOut | None
    state: Literal["active", "expired", "revoked"]
    organization: str | None
    boundary: str | None
    roles: list[str] | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    is_current: bool
    """True for the token that this request came with."""


class TokenCreatedOut(TokenOut):
    """A new token; the only answer that ever has the secret."""

    token: str


class TokensOut(BaseModel):
    """Tokens, oldest first."""

    tokens: list[TokenOut]


def token_out(
    token: TokenCard, cards: dict[UUID, PrincipalCard], current: UUID | None, at: datetime
) -> TokenOut:
    """Return a token as the API shows one."""
    creator = cards.get(token.created_by) if token.created_by else None
    state: Literal["active", "expired", "revoked"] = "active"
    if token.revoked_at is not None:
        state = "revoked"
    elif token.expires_at <= at:
        state = "expired"
    return TokenOut(
        id=token.id,
        name=token.name,
        prefix=token.prefix,
        holder=person_out(cards[token.holder_id]),
        created_by=person_out(creator) if creator else None,
        state=state,
        organization=token.organization,
        boundary=token.boundary,
        roles=sorted(token.roles) if token.roles is not None else None,
        created_at=token.created_at,
        expires_at=token.expires_at,
        revoked_at=token.revoked_at,
        last_used_at=token.last_used_at,
        is_current=token.id == current,
    )
