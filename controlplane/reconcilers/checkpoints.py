"""Every audit chain is signed in time: after so many events, or so many seconds.

Activated by the scheduler. It holds no key: a chain that is due becomes a job
(`audit.checkpoint`) that the worker does (decision 13).
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import text

from controlplane.core.db import Database, Scope
from controlplane.domains.audit.tasks import CHECKPOINT
from controlplane.reconcilers.grants import enqueue_once


class CheckpointsDue:
    """Enqueues a checkpoint for each chain whose newest one is behind by too much."""

    name = "checkpoints"

    def __init__(self, db: Database, after_events: int, after_seconds: float) -> None:
        self._db = db
        self._limits = {"events": after_events, "seconds": after_seconds}

    def activate(self) -> dict[str, Any]:
        """Do one round."""
        asked = []
        with self._db.transaction(Scope.platform()) as session:
            due = session.execute(
                text("SELECT * FROM chains_due_for_checkpoint(:events, :seconds)"), self._limits
            )
            for row in due.all():
                if enqueue_once(session, CHECKPOINT, row, chain_id=row.chain_id):
                    asked.append(str(row.chain_id))
        return {"checkpoints": asked}
