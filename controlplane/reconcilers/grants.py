"""Grants end when they must: by their time, and as soon as the customer has ended them.

Activated by the scheduler. It holds no cloud credentials: where the account has to be asked, it
enqueues a job (`grant.watch`, `grant.close-parked`) that the worker does (`access_end`).
Source: decisions 5 and 6; the customer's kill switch is seen within a minute.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from controlplane.core import outbox
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.core.outbox import Outbox
from controlplane.core.run_engine.decide import CLAIMABLE
from controlplane.core.run_engine.tables import Run
from controlplane.domains.grants import service as grants
from controlplane.tables.access import GrantState

WATCH = "grant.watch"
CLOSE_PARKED = "grant.close-parked"


class GrantWatch:
    """Expires grants whose time has passed, and has open ones probed."""

    name = "grants"

    def __init__(self, db: Database) -> None:
        self._db = db

    def activate(self) -> dict[str, Any]:
        """Do one round."""
        expired, watched = [], []
        for row in self._open_grants():
            scope = Scope.boundary(row.organization_id, row.boundary_id)
            with self._db.transaction(scope) as session:
                if row.over and row.state in (GrantState.APPROVED, GrantState.ACTIVE):
                    context = OpContext(system_actor("scheduler"), f"grant/{row.grant_id}", scope)
                    grants.end(session, context, row.grant_id, GrantState.EXPIRED)
                    expired.append(str(row.grant_id))
                elif (
                    row.state != GrantState.APPROVED
                    and not _run_at_work(session)
                    and enqueue_once(session, WATCH, row, grant_id=row.grant_id)
                ):
                    watched.append(str(row.grant_id))
        return {"expired": expired, "watched": watched}

    def _open_grants(self) -> list[Any]:
        with self._db.transaction(Scope.platform()) as session:
            return list(
                session.execute(text("SELECT *, grant_until <= now() AS over FROM open_grants()"))
            )


class ParkedAccess:
    """A run that waits for people does not keep the customer's role open (decision 6)."""

    name = "parked-access"

    def __init__(self, db: Database, after_seconds: float) -> None:
        self._db = db
        self._after = after_seconds

    def activate(self) -> dict[str, Any]:
        """Do one round."""
        with self._db.transaction(Scope.platform()) as session:
            parked = list(
                session.execute(text("SELECT * FROM parked_runs(:after)"), {"after": self._after})
            )
            still_open = {
                row.boundary_id
                for row in session.execute(text("SELECT * FROM open_grants()"))
                if row.state == GrantState.ACTIVE
            }
        closing = []
        for row in parked:
            if row.boundary_id not in still_open:
                continue
            with self._db.transaction(
                Scope.boundary(row.organization_id, row.boundary_id)
            ) as session:
                if enqueue_once(session, CLOSE_PARKED, row, run_id=row.run_id):
                    closing.append(str(row.run_id))
        return {"closing": closing}


def enqueue_once(session: Session, task: str, row: Any, **ids: UUID) -> bool:
    """Enqueue a job about one thing unless the last one is not done yet; say whether it was."""
    place = {"organization_id": row.organization_id, "boundary_id": row.boundary_id}
    # An organization's chain has no boundary, and the platform's neither.
    args = {key: str(value) for key, value in {**place, **ids}.items() if value is not None}
    open_job = session.execute(
        select(Outbox.id).where(
            Outbox.task == task, Outbox.done_at.is_(None), Outbox.args.contains(args)
        )
    ).first()
    if open_job is not None:
        return False
    outbox.enqueue(session, task, **{key: UUID(value) for key, value in args.items()})
    return True


def _run_at_work(session: Session) -> bool:
    """Say whether a worker holds, or will soon hold, a run of the boundary: that one probes."""
    found = session.execute(select(Run.id).where(Run.state.in_(CLAIMABLE)).limit(1)).first()
    return found is not None
