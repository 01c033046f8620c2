"""No event of a person is kept longer than promised, nor when its customer took the word back.

Activated by the scheduler every ten minutes. Separate from the domain, which sees one boundary at a
time: what is old is deleted over all of them, in small parts.
"""

from __future__ import annotations

from typing import Any, Final

from sqlalchemy import text

from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.domains.usage.events import KEEP

PART: Final = 10_000
"""Events deleted in one transaction, of each kind."""


class UsageEventKeeper:
    """Deletes events past their time and those of boundaries that let none out any more."""

    name = "usage-events"

    def __init__(self, db: Database, part: int = PART) -> None:
        self._db = db
        self._part = part

    def activate(self) -> dict[str, Any]:
        """Do one round, until nothing is left to delete."""
        deleted = 0
        limits = {"before": now() - KEEP, "most": self._part}
        while True:
            with self._db.transaction(Scope.platform()) as session:
                gone = session.execute(
                    text("SELECT forget_usage_events(:before, :most)"), limits
                ).scalar_one()
            deleted += gone
            if gone == 0:
                return {"deleted": deleted}
