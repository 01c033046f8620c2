"""Make an API token for somebody who has just proven who they are; called by the exchange.

Separate from `api_tokens`, which makes one for a caller who has one already.
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.domains.identity import api_tokens
from controlplane.domains.identity.api_tokens import TokenScope
from controlplane.domains.identity.token_repository import TokenCard


def issue_token(
    session: Session, ctx: OpContext, principal_id: UUID, *, name: str, expires_at: datetime
) -> tuple[TokenCard, str]:
    """Return a new token and its secret. Raises: ForbiddenError for a disabled principal."""
    return api_tokens.create(
        session, ctx, principal_id, name=name, lifetime=expires_at - now(), scope=TokenScope()
    )
