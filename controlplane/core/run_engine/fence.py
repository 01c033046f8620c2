"""Leases and fences: how a worker takes a run, keeps it, and is kept out once it lost it.

Used by the dispatcher (claim), the executor (heartbeat, every write) and the scheduler (reaper).
A claim raises `run.fence` by one. Every transaction of a worker announces its fence in the setting
`ringfence.fence`; triggers on run, step and run_event refuse a lower one, and refuse a worker that
announces none. The only lease clock is the database's `now()`; this process keeps a second, more
careful clock of its own (`Lease.held`), because a frozen process cannot ask.
Source: install-engine.md 1.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.orm import Session

from controlplane.core import clock
from controlplane.core.db import Database, Scope
from controlplane.core.logging import get
from controlplane.core.run_engine.definition import LeaseLostError

log = get(__name__)

LANES = ("write", "read")
FENCE_SQLSTATE = "RF001"
"""Raised by the triggers; see the migration."""


@dataclass(frozen=True)
class Claim:
    """A run that this worker holds under `fence`."""

    run_id: UUID
    organization_id: UUID
    boundary_id: UUID
    kind: str
    fence: int
    lane: str = "write"

    @property
    def scope(self) -> Scope:
        """Return the scope of the run's boundary."""
        return Scope.boundary(self.organization_id, self.boundary_id)


def claim_run(
    db: Database,
    worker: str,
    lease_seconds: float,
    run_id: UUID | None = None,
    lanes: Collection[str] = LANES,
) -> Claim | None:
    """Take `run_id`, or the run that has waited longest, or return None when there is none.

    A writing run comes before every reading one, however long that has waited.
    """
    with db.statements() as connection:
        row = connection.execute(
            text("SELECT * FROM claim_run(:worker, :lease, :run, :lanes)"),
            {"worker": worker, "lease": lease_seconds, "run": run_id, "lanes": list(lanes)},
        ).one_or_none()
    if row is None:
        return None
    return Claim(row.run_id, row.organization_id, row.boundary_id, row.kind, row.fence, row.lane)


def reap_runs(db: Database) -> list[UUID]:
    """Put every run whose lease has run out back into the queue; return their ids."""
    with db.transaction(Scope.platform()) as session:
        rows = session.execute(text("SELECT run_id FROM reap_runs()")).scalars().all()
    return list(rows)


def resume_due_runs(db: Database) -> list[UUID]:
    """Let every paused run go on whose time has come; return their ids."""
    with db.transaction(Scope.platform()) as session:
        rows = session.execute(text("SELECT run_id FROM resume_due_runs()")).scalars().all()
    return list(rows)


def hold(session: Session, claim: Claim) -> None:
    """Lock the run and check the fence for the rest of the transaction. Raises: LeaseLostError.

    The transaction has announced the fence (`Database.transaction`). No claim can happen before it
    ends, so what it writes, audit included, belongs to the fence.
    """
    current = session.execute(
        text("SELECT fence FROM run WHERE boundary_id = :b AND id = :id FOR UPDATE"),
        {"b": claim.boundary_id, "id": claim.run_id},
    ).scalar_one_or_none()
    if current != claim.fence:
        raise LeaseLostError(
            f"run {claim.run_id} is held under fence {current}, not {claim.fence} any more"
        )


def is_fence_refusal(error: DBAPIError) -> bool:
    """Say whether the database refused a write because of its fence."""
    return getattr(error.orig, "sqlstate", None) == FENCE_SQLSTATE


class Lease:
    """Keeps one claim alive from a thread of its own, and knows when it may be lost.

    `held()` is true only while less than the lease's length has passed on this machine's
    sleepless clock since the *start* of the last renewal that succeeded: a process that was
    frozen, cut off or asleep stops before the database would give its run away.
    """

    def __init__(
        self,
        db: Database,
        claim: Claim,
        seconds: float,
        on_lost: Callable[[], None],
        on_cancel: Callable[[], None],
        claimed_at: float,
    ) -> None:
        self._db = db
        self._claim = claim
        self._seconds = seconds
        self._on_lost = on_lost
        self._on_cancel = on_cancel
        self._good_until = claimed_at + seconds
        self._lost = False
        self._closed = threading.Event()
        self._thread = threading.Thread(
            target=self._beat, name=f"lease-{claim.run_id}", daemon=True
        )

    def held(self) -> bool:
        """Say whether this worker may still act for the run."""
        return not self._lost and clock.elapsed() < self._good_until

    def start(self) -> None:
        """Begin to renew."""
        self._thread.start()

    def stop(self) -> None:
        """Stop renewing and wait for the thread; the lease itself stays until it runs out."""
        self._closed.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._closed.wait(self._seconds / 3):
            started = clock.elapsed()
            try:
                cancelled = self._renew()
            except LeaseLostError:
                self._lose()
                return
            except SQLAlchemyError as error:
                log.warning(
                    "lease.renewal-failed",
                    run_id=str(self._claim.run_id),
                    error=type(error).__name__,
                )
                if not self.held():
                    self._lose()
                    return
                continue
            if cancelled is None:
                return
            self._good_until = started + self._seconds
            if cancelled:
                self._on_cancel()

    def _renew(self) -> bool | None:
        """Extend the lease; return whether a person asked to cancel. Raises: LeaseLostError.

        Returns None for a lease that was given back or reaped: a beat may come after the end of
        its run, and must not hold what is free.
        """
        with self._db.transaction(self._claim.scope, self._claim.fence) as session:
            row = session.execute(
                text(
                    "UPDATE run SET lease_until = now() + make_interval(secs => :seconds)"
                    " WHERE boundary_id = :b AND id = :id AND fence = :fence"
                    " AND lease_until IS NOT NULL"
                    " RETURNING cancel_requested_at IS NOT NULL AND outcome IS NULL AS cancelled"
                ),
                {
                    "seconds": self._seconds,
                    "b": self._claim.boundary_id,
                    "id": self._claim.run_id,
                    "fence": self._claim.fence,
                },
            ).one_or_none()
            if row is None:
                hold(session, self._claim)
                return None
        return bool(row.cancelled)

    def _lose(self) -> None:
        self._lost = True
        log.warning("lease.lost", run_id=str(self._claim.run_id), fence=self._claim.fence)
        self._on_lost()
