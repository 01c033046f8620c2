"""Make an API token for somebody who is known; its secret is returned once and kept as a hash.

Called by the exchange at sign-in and by whatever lets a person make tokens of their own.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.errors import ForbiddenError
from controlplane.core.ids import new_id
from controlplane.domains.identity import repository
from controlplane.domains.identity.tokens import new_token, token_hash
from controlplane.tables.identity import ApiToken


def issue_token(
    session: Session, ctx: OpContext, principal_id: UUID, *, name: str, expires_at: datetime
) -> tuple[ApiToken, str]:
    """Return a new token's row and its secret. Raises: ForbiddenError for a disabled principal."""
    secret = new_token("rfp")
    row = ApiToken(
        id=new_id(),
        principal_id=principal_id,
        token_hash=token_hash(secret),
        expires_at=expires_at,
    )
    created_at = repository.insert_token(session, row)
    if created_at is None:
        raise ForbiddenError("this principal is disabled", code="principal-disabled")
    row.created_at = created_at
    audit.append(
        session,
        ctx,
        "token.issued",
        target=f"token/{row.id}",
        detail={"name": name, "principal": str(principal_id), "expires_at": expires_at.isoformat()},
    )
    return row, secret
