"""Sessions of browsers: opened at sign-in, found by their cookie, ended by time or by somebody.

Used by `sign_in`, by `browser_gate` and by the scheduler's clearing. A cookie is 256 random bits,
of which only the hash is kept. Whether a session still counts is decided here, by our clock, from
the row as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select, text, update
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Scope
from controlplane.core.ids import new_id
from controlplane.domains.identity import repository
from controlplane.domains.identity.browser_secrets import LENGTHS, new_secret
from controlplane.domains.identity.principals import FoundSession
from controlplane.domains.identity.tokens import token_hash
from controlplane.tables.sign_in import BrowserSession, SessionEnd

SEEN_EVERY = timedelta(seconds=30)
"""How often a busy session's row is written; its idle end is that much too early at most."""


@dataclass(frozen=True)
class SessionLimits:
    """How long sessions last."""

    idle: timedelta
    absolute: timedelta


def find_session(session: Session, secret: str) -> FoundSession | None:
    """Return the session of a cookie, live or not; None when there never was one."""
    if len(secret) not in LENGTHS:
        return None
    return repository.find_session_by_hash(session, token_hash(secret))


def open_session(
    session: Session,
    principal_id: UUID,
    limits: SessionLimits,
    at: datetime,
    *,
    methods: list[str],
    context: str | None,
) -> tuple[UUID, str]:
    """Open a session and return its id and its secret; needs the platform's scope."""
    secret = new_secret()
    row = BrowserSession(
        id=new_id(),
        secret_hash=token_hash(secret),
        principal_id=principal_id,
        created_at=at,
        seen_at=at,
        idle_ends_at=min(at + limits.idle, at + limits.absolute),
        ends_at=at + limits.absolute,
        methods=methods,
        context=context,
    )
    session.add(row)
    session.flush()
    return row.id, secret


def keep_alive(session: Session, found: FoundSession, limits: SessionLimits, at: datetime) -> None:
    """Put the idle end off, since the person did something; needs the platform's scope."""
    if at - found.seen_at < SEEN_EVERY:
        return
    session.execute(
        update(BrowserSession)
        .where(BrowserSession.id == found.id, BrowserSession.ended_at.is_(None))
        .values(seen_at=at, idle_ends_at=min(at + limits.idle, found.ends_at))
    )


def end_session(
    session: Session, request_id: str, found: FoundSession, reason: SessionEnd, at: datetime
) -> bool:
    """End a session once, with its event; return False when it had ended before."""
    ended = session.execute(
        update(BrowserSession)
        .where(BrowserSession.id == found.id, BrowserSession.ended_at.is_(None))
        .values(ended_at=at, end_reason=reason)
        .returning(BrowserSession.id)
    ).one_or_none()
    if ended is None:
        return False
    audit.append(
        session,
        OpContext(found.actor, request_id, found.scope()),
        "sign-out" if reason is SessionEnd.SIGN_OUT else "session.ended",
        target=f"session/{found.id}",
        detail={"reason": reason.value},
    )
    return True


@dataclass(frozen=True)
class SessionOver:
    """An open session that cannot go on, and whose chain its end is written to."""

    id: UUID
    principal_id: UUID
    scope: Scope
    reason: str


def list_over(session: Session, at: datetime, most: int) -> list[SessionOver]:
    """Return open sessions whose time is over and about which nobody has asked since."""
    rows = session.execute(
        text("SELECT * FROM sessions_over(:moment, :most)"), {"moment": at, "most": most}
    )
    return [
        SessionOver(
            r.id, r.principal_id, Scope(r.organization_id, None, is_platform=True), r.reason
        )
        for r in rows
    ]


def end_over(session: Session, over: SessionOver, at: datetime) -> bool:
    """End a session whose time is over, with its event; return False when it had ended before."""
    ended = session.execute(
        update(BrowserSession)
        .where(BrowserSession.id == over.id, BrowserSession.ended_at.is_(None))
        .values(ended_at=at, end_reason=over.reason)
        .returning(BrowserSession.id)
        .execution_options(synchronize_session=False)
    ).one_or_none()
    if ended is None:
        return False
    audit.append(
        session,
        OpContext(system_actor("scheduler"), f"session/{over.id}", over.scope),
        "session.ended",
        target=f"session/{over.id}",
        detail={"reason": over.reason, "principal": str(over.principal_id)},
    )
    return True


def forget_ended(session: Session, before: datetime, most: int) -> int:
    """Delete sessions that ended before a moment; return how many. Their events stay."""
    wanted = (
        select(BrowserSession.id)
        .where(BrowserSession.ended_at < before)
        .order_by(BrowserSession.ended_at)
        .limit(most)
    )
    gone = session.execute(
        delete(BrowserSession)
        .where(BrowserSession.id.in_(wanted))
        .returning(BrowserSession.id)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())
