"""What signing in leaves behind is counted and cleared away in time.

Activated by the scheduler. The audit keeps what happened; these rows only serve the moment.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from sqlalchemy import delete, select

from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.domains.identity import sessions
from controlplane.domains.identity.sign_in_refusals import WINDOW, write_number
from controlplane.tables.sign_in import SignInAttempt, SignInRefusal

LATE = timedelta(seconds=30)
"""How long after a window's end a process may still count in it; later ones make a second number.
"""
KEPT = timedelta(days=1)
"""How long what is over stays, so that a replay is told from an invention."""
BATCH = 500
"""Rows that one round looks at; the next one follows within seconds."""


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


class SignInClearing:
    """Ends sessions whose time is over, and deletes sessions and attempts that ended long ago."""

    name = "sign-in-clearing"

    def __init__(self, db: Database) -> None:
        self._db = db

    def activate(self) -> dict[str, Any]:
        """Do one round."""
        at = now()
        with self._db.transaction(Scope.platform()) as session:
            over = sessions.list_over(session, at, BATCH)
        ended = 0
        for one in over:
            with self._db.transaction(one.scope) as session:
                ended += sessions.end_over(session, one, at)
        with self._db.transaction(Scope.platform()) as session:
            forgotten = sessions.forget_ended(session, at - KEPT, BATCH)
        with self._db.transaction(Scope.platform()) as session:
            wanted = (
                select(SignInAttempt.id)
                .where(SignInAttempt.expires_at < at - KEPT)
                .order_by(SignInAttempt.expires_at)
                .limit(BATCH)
            )
            gone = session.execute(
                delete(SignInAttempt)
                .where(SignInAttempt.id.in_(wanted))
                .returning(SignInAttempt.id)
                .execution_options(synchronize_session=False)
            )
            attempts = len(gone.all())
        return {"ended": ended, "sessions": forgotten, "attempts": attempts}
