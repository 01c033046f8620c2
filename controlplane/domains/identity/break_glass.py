"""Open, show and close the sealed administrator for the day when nobody can sign in.

Called by its router; sealing is an offline command (`controlplane.break_glass`), so the API cannot
make a secret that it would then accept. The secret has two parts with two custodians, and both
prove what they hold: a name alone opens nothing. It is loud: opening and closing are events of the
platform and of every organization. It opens platform operations only, decides on nothing, makes no
tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import Actor, OpContext
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope, apply_scope
from controlplane.core.errors import (
    ConflictError,
    ForbiddenError,
    QuotaError,
    UnauthenticatedError,
)
from controlplane.core.ids import new_id
from controlplane.domains.identity import repository, service
from controlplane.domains.identity.api_tokens import PREFIX_LENGTH
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.token_repository import revoke_tokens
from controlplane.domains.identity.tokens import new_token, seal_hash, token_hash
from controlplane.tables.identity import RoleName

LIFETIME = timedelta(minutes=30)
MOST_FAILURES = 5
"""Wrong secrets from one address within the window; further ones are not even compared."""
WINDOW = timedelta(minutes=15)
ACTOR = Actor(None, "ringfence", "break-glass", "break-glass", None, "Break-glass administrator")


@dataclass(frozen=True)
class BreakGlassState:
    """Whether a secret is sealed, and what is known of the opening that lasts now."""

    is_sealed: bool
    opened_at: datetime | None
    ends_at: datetime | None
    by: tuple[PrincipalCard, ...]
    """The two custodians of the secret that was opened."""
    reason: str | None
    token_id: UUID | None


def state(session: Session) -> BreakGlassState:
    """Return how things stand now."""
    row = session.execute(text("SELECT * FROM break_glass_state()")).one()
    cards = repository.get_cards(session, row.opened_by)
    by = tuple(cards[i] for i in row.opened_by)
    return BreakGlassState(row.sealed, row.opened_at, row.ends_at, by, row.reason, row.token_id)


def open_sealed(
    database: Database, request_id: str, address: str, *, parts: tuple[str, str], reason: str
) -> tuple[str, datetime]:
    """Use the secret up; return the session's token and its end. In transactions of its own.

    Raises: QuotaError after too many wrong secrets from this address; UnauthenticatedError for a
    wrong one, or one of a custodian who was disabled, recorded.
    """
    _require_few_failures(database, address)
    token, ends_at = new_token("rfb"), now() + LIFETIME
    with database.transaction(Scope(None)) as session:
        custodians = _use_up(session, parts, reason, token, ends_at)
        if custodians is not None:
            cards = repository.get_cards(session, custodians)
            _record_everywhere(
                session,
                OpContext(ACTOR, request_id, Scope(None)),
                "break-glass.opened",
                custodians=[str(i) for i in custodians],
                subjects=[cards[i].subject for i in custodians],
                reason=reason,
                ends_at=ends_at.isoformat(),
                address=address,
            )
            return token, ends_at
    _record_failure(database, request_id, address)
    raise UnauthenticatedError(
        "these are not the two parts of the sealed secret, or it was used, or a custodian of it was"
        " disabled",
        fix="seal a new one with the database's owner: python -m controlplane.break_glass seal",
    )


def _require_few_failures(database: Database, address: str) -> None:
    with database.transaction(Scope(None)) as session:
        failures: int = session.execute(
            text("SELECT from_address FROM break_glass_failures(:address, :since)"),
            {"address": address, "since": now() - WINDOW},
        ).scalar_one()
    if failures >= MOST_FAILURES:
        raise QuotaError(
            "too many wrong secrets from this address",
            code="too-many-attempts",
            fix=f"wait {int(WINDOW.total_seconds() // 60)} minutes, or try from another place",
            retry_after=int(WINDOW.total_seconds()),
        )


def close(session: Session, ctx: OpContext) -> None:
    """End an open session before its time. Raises: ConflictError when none is open."""
    found = state(session)
    if found.token_id is None:
        raise ConflictError("no break-glass session is open")
    held = service.held_roles(session, ctx.actor)
    if not any(r.role == RoleName.PLATFORM_ADMIN and r.organization_id is None for r in held):
        raise ForbiddenError("only a platform-admin of the platform ends a break-glass session")
    revoke_tokens(session, [found.token_id], ctx.actor.principal_id)
    _record_everywhere(session, ctx, "break-glass.closed")


def _use_up(
    session: Session, parts: tuple[str, str], reason: str, token: str, ends_at: datetime
) -> list[UUID] | None:
    """Mark the secret as used and make the session; return the custodians, None if it is wrong."""
    custodians: list[UUID] | None = session.execute(
        text("SELECT open_break_glass(:secret, :reason, :id, :token, :prefix, :ends, :admin)"),
        {
            "secret": seal_hash(parts),
            "reason": reason,
            "id": new_id(),
            "token": token_hash(token),
            "prefix": token[:PREFIX_LENGTH],
            "ends": ends_at,
            "admin": new_id(),
        },
    ).scalar_one()
    return custodians


def _record_failure(database: Database, request_id: str, address: str) -> None:
    with database.transaction(Scope.platform()) as session:
        session.execute(
            text("SELECT record_break_glass_failure(:id, :address)"),
            {"id": new_id(), "address": address},
        )
        audit.append(
            session,
            OpContext(ACTOR, request_id, Scope.platform()),
            "break-glass.refused",
            target="break-glass/installation",
            detail={"address": address},
        )


def _record_everywhere(session: Session, ctx: OpContext, code: str, **detail: Any) -> None:
    """Write the event to the platform's chain and to every organization's."""
    rows: Any = session.execute(text("SELECT * FROM all_organization_ids()")).scalars()
    organizations: list[UUID] = list(rows)
    for scope in (Scope.platform(), *(Scope(i) for i in organizations)):
        apply_scope(session, scope)
        audit.append(
            session,
            ctx,
            code,
            target="break-glass/installation",
            organization_id=scope.organization_id,
            detail=detail,
        )
