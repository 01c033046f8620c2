"""Refused sign-ins in the audit: the first of a kind as an event, the others as one number.

Called by `sign_in` and `sign_in_limits`; `reconcilers.sign_in` writes the numbers. Anybody can make
refusals, so their count must not decide how long the chain is, and none may be dropped: within a
window each (address, reason) is one event, and each address at most one more with its counts.
Source: ADR-0029.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import delete, func, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import Actor, OpContext, system_actor
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from controlplane.core.logging import get
from controlplane.domains.identity.providers import Provider
from controlplane.tables.sign_in import SignInRefusal

log = get(__name__)
WINDOW = timedelta(minutes=5)
MOST_KINDS = 200
"""Different (address, reason) of one chain and window; what comes beyond is counted as `OTHERS`."""
OTHERS = "others"
FLUSH_SECONDS = 1.0
MOST_WAITING = 1000
"""Kinds that wait to be written; beyond them they wait as `OTHERS`."""
ANYONE = Actor(None, "ringfence", "anyone", "anonymous", None, "anyone")


@dataclass(frozen=True)
class Visit:
    """One request to a sign-in route."""

    request_id: str
    address: str


@dataclass(frozen=True)
class _Kind:
    """Refusals that are counted together."""

    provider: Provider | None
    reason: str
    method: str
    address: str


def scope_of(provider: Provider | None) -> Scope:
    """Return the scope of a sign-in: the platform's tables, and the organization's if any."""
    return Scope(provider.organization_id if provider else None, None, is_platform=True)


class Refusals:
    """Writes refusals, each counted once."""

    def __init__(self, database: Database, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._database = database
        self._timer_seconds = flush_seconds
        self._lock = threading.Lock()
        self._waiting: Counter[_Kind] = Counter()
        self._asked_by: dict[_Kind, str] = {}
        self._timer: threading.Timer | None = None

    def count(self, provider: Provider | None, reason: str, visit: Visit, method: str) -> None:
        """Count one refusal now."""
        kind = _Kind(provider, reason, method, visit.address)
        self._write(kind, 1, visit.request_id)

    def count_later(self, provider: Provider | None, reason: str, visit: Visit) -> None:
        """Count one refusal within a second, together with its like.

        For those over a bound, which must not cost a transaction each. What is counted in the
        second before the process is killed is lost; at an orderly end it is written.
        """
        kind = _Kind(provider, reason, "any", visit.address)
        with self._lock:
            if kind not in self._waiting and len(self._waiting) >= MOST_WAITING:
                kind = _Kind(None, reason, "any", OTHERS)
            self._waiting[kind] += 1
            self._asked_by.setdefault(kind, visit.request_id)
            self._arm()

    def _arm(self) -> None:
        """See to it that what waits is written; under the lock."""
        if self._timer is None and self._waiting:
            self._timer = threading.Timer(self._timer_seconds, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Write what waits; what cannot be written waits on."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            waiting, asked_by = self._waiting, self._asked_by
            self._waiting, self._asked_by = Counter(), {}
        for kind in list(waiting):
            try:
                self._write(kind, waiting[kind], asked_by[kind])
            except SQLAlchemyError as error:
                log.warning("sign-in.refusals-not-written", error=type(error).__name__)
                break
            del waiting[kind]
        with self._lock:
            self._waiting.update(waiting)
            self._asked_by = {**{k: asked_by[k] for k in waiting}, **self._asked_by}
            self._arm()

    def _write(self, kind: _Kind, times: int, request_id: str) -> None:
        scope, at = scope_of(kind.provider), now()
        with self._database.transaction(scope) as session:
            address = _counted_before(session, kind, scope.organization_id, at, times)
            if address is None:
                return
            issuer = kind.provider.pins.issuer if kind.provider is not None else "unknown"
            audit.append(
                session,
                OpContext(ANYONE, request_id, scope),
                "sign-in.refused",
                target=f"issuer/{issuer}",
                detail={"reason": kind.reason, "method": kind.method, "address": address},
            )


def _counted_before(
    session: Session, kind: _Kind, organization_id: UUID | None, at: datetime, times: int
) -> str | None:
    """Count; return None unless this is the first of its kind, else the address it counts under."""
    start = window_start(at)
    in_window = (
        SignInRefusal.organization_id.is_not_distinct_from(organization_id),
        SignInRefusal.window_start == start,
    )
    more: Any = {"refused": SignInRefusal.refused + times, "last_at": at}
    same = (SignInRefusal.address == kind.address, SignInRefusal.reason == kind.reason)
    counted = session.execute(
        update(SignInRefusal).where(*in_window, *same).values(more).returning(SignInRefusal.id)
    ).one_or_none()
    if counted is not None:
        return None
    kinds = session.scalar(select(func.count()).select_from(SignInRefusal).where(*in_window)) or 0
    address = kind.address if kinds < MOST_KINDS else OTHERS
    total = session.execute(
        insert(SignInRefusal)
        .values(
            id=new_id(),
            organization_id=organization_id,
            window_start=start,
            address=address,
            reason=kind.reason,
            refused=times,
            first_at=at,
            last_at=at,
        )
        .on_conflict_do_update(constraint="uq_sign_in_refusal_counted", set_=more)
        .returning(SignInRefusal.refused)
    ).scalar_one()
    return address if total == times else None


def window_start(at: datetime) -> datetime:
    """Return when the window of a moment began."""
    seconds = WINDOW.total_seconds()
    return datetime.fromtimestamp(at.timestamp() // seconds * seconds, UTC)


def write_number(
    session: Session, organization_id: UUID | None, start: datetime, address: str
) -> int:
    """Turn an address's counts of a window into one event; return how many were refused.

    Where each reason was met once there is nothing to add to the events that are there.
    """
    rows = session.execute(
        delete(SignInRefusal)
        .where(
            SignInRefusal.organization_id.is_not_distinct_from(organization_id),
            SignInRefusal.window_start == start,
            SignInRefusal.address == address,
        )
        .returning(
            SignInRefusal.reason,
            SignInRefusal.refused,
            SignInRefusal.first_at,
            SignInRefusal.last_at,
        )
    ).all()
    refused: int = sum(row.refused for row in rows)
    if refused > len(rows):
        scope = Scope(organization_id, None, is_platform=True)
        audit.append(
            session,
            OpContext(system_actor("scheduler"), f"refusals/{start.isoformat()}", scope),
            "sign-in.refusals-counted",
            target=f"address/{address}",
            detail={
                "address": address,
                "from": min(row.first_at for row in rows).isoformat(),
                "until": max(row.last_at for row in rows).isoformat(),
                "refused": refused,
                "reasons": {row.reason: row.refused for row in rows},
            },
        )
    return refused
