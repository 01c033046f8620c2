"""API tokens as the directory functions show and change them; the table is closed to the API."""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from controlplane.core.errors import ForbiddenError, NotFoundError
from controlplane.core.ids import new_id
from controlplane.domains.identity.tokens import token_hash


@dataclass(frozen=True)
class TokenCard:
    """A token without its secret and without its hash."""

    id: UUID
    holder_id: UUID
    name: str
    prefix: str
    created_by: UUID | None
    created_at: datetime
    expires_at: datetime
    revoked_at: datetime | None
    last_used_at: datetime | None
    organization_id: UUID | None
    organization: str | None
    boundary_id: UUID | None
    boundary: str | None
    roles: frozenset[str] | None
    home_organization_id: UUID | None
    """The organization whose person or service the holder is; None for the vendor's."""


def create_token(
    session: Session,
    *,
    holder: UUID,
    creator: UUID | None,
    name: str,
    prefix: str,
    secret: str,
    expires_at: datetime,
    organization_id: UUID | None,
    boundary_id: UUID | None,
    roles: frozenset[str] | None,
) -> UUID:
    """Keep a token's hash with what narrows it; return its id.

    Raises: ForbiddenError for a disabled holder.
    """
    token_id = new_id()
    made = session.execute(
        text(
            "SELECT create_api_token(:id, :holder, :creator, :name, :prefix, :hash, :expires,"
            " :organization, :boundary, CAST(:roles AS jsonb))"
        ),
        {
            "id": token_id,
            "holder": holder,
            "creator": creator,
            "name": name,
            "prefix": prefix,
            "hash": token_hash(secret),
            "expires": expires_at,
            "organization": organization_id,
            "boundary": boundary_id,
            "roles": json.dumps(sorted(roles)) if roles is not None else None,
        },
    ).scalar_one()
    if made is None:
        raise ForbiddenError("this principal is disabled", code="principal-disabled")
    return token_id


def find_token(session: Session, token_id: UUID) -> TokenCard | None:
    """Return a token by id, or None."""
    found = _list(session, wanted=token_id)
    return found[0] if found else None


def get_token(session: Session, token_id: UUID) -> TokenCard:
    """Return a token by id. Raises: NotFoundError."""
    found = find_token(session, token_id)
    if found is None:
        raise NotFoundError(f"there is no token {token_id}")
    return found


def list_tokens_of_holder(session: Session, holder: UUID) -> list[TokenCard]:
    """Return a principal's tokens, oldest first, ended ones too."""
    return _list(session, holder=holder)


def list_tokens_of_organization(session: Session, organization_id: UUID) -> list[TokenCard]:
    """Return the tokens of an organization's people and services, and those made for it only."""
    return _list(session, organization=organization_id)


def revoke_tokens(session: Session, ids: Collection[UUID], by: UUID | None) -> frozenset[UUID]:
    """End tokens; return those that were still good."""
    rows: Any = session.execute(
        text("SELECT * FROM revoke_api_tokens(CAST(:ids AS uuid[]), :by)"),
        {"ids": sorted(str(i) for i in ids), "by": by},
    ).scalars()
    return frozenset(rows)


def _list(
    session: Session,
    *,
    holder: UUID | None = None,
    wanted: UUID | None = None,
    organization: UUID | None = None,
) -> list[TokenCard]:
    rows: Any = session.execute(
        text("SELECT * FROM api_tokens(:holder, :wanted, :organization)"),
        {"holder": holder, "wanted": wanted, "organization": organization},
    )
    return [
        TokenCard(
            id=r.id,
            holder_id=r.principal_id,
            name=r.name,
            prefix=r.prefix,
            created_by=r.created_by,
            created_at=r.created_at,
            expires_at=r.expires_at,
            revoked_at=r.revoked_at,
            last_used_at=r.last_used_at,
            organization_id=r.organization_id,
            organization=r.organization_name,
            boundary_id=r.boundary_id,
            boundary=r.boundary_name,
            roles=None if r.roles is None else frozenset(r.roles),
            home_organization_id=r.home_organization_id,
        )
        for r in rows
    ]
