"""Every run goes on: those of silent workers are freed, those whose wait is over resumed.

Activated every five seconds by the scheduler.
"""

from __future__ import annotations

from typing import Any

from controlplane.core.db import Database
from controlplane.core.run_engine.fence import reap_runs, resume_due_runs


class LeaseReaper:
    """Frees runs whose lease has run out, and resumes paused ones whose time has come."""

    name = "leases"

    def __init__(self, db: Database) -> None:
        self._db = db

    def activate(self) -> dict[str, Any]:
        """Do one round."""
        return {
            "freed": [str(run_id) for run_id in reap_runs(self._db)],
            "resumed": [str(run_id) for run_id in resume_due_runs(self._db)],
        }
