"""What signing in leaves behind is counted and cleared away in time.

Activated by the scheduler. The audit keeps what happened; these rows only serve the moment.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import select

from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.domains.identity.sign_in_refusals import WINDOW, write_number
from controlplane.tables.sign_in import SignInRefusal

LATE = timedelta(seconds=30)
"""How long after a window's end a process may still count in it; later ones make a second number.
"""
BATCH = 500


class RefusalNumbers:
    """Writes how often each address was refused in a window that is over."""

    name = "sign-in-refusals"

    def __init__(self, db: Database) -> None:
        self._db = db

    def activate(self) -> dict[str, Any]:
        """Do one round."""
        refused = 0
        over = SignInRefusal.window_start <= now() - WINDOW - LATE
        columns = (
            SignInRefusal.organization_id,
            SignInRefusal.window_start,
            SignInRefusal.address,
        )
        with self._db.transaction(Scope.platform()) as session:
            found = session.execute(select(*columns).where(over).distinct().limit(BATCH)).all()
        for row in found:
            scope = Scope(row.organization_id, None, is_platform=True)
            with self._db.transaction(scope) as session:
                refused += write_number(session, row.organization_id, row.window_start, row.address)
        return {"refused": refused}
