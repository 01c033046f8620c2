"""The relay: send outbox rows to the broker, and know when a job is done.

Runs as a thread of the worker and of the scheduler. A message carries the row's id and nothing
else. A row stays open until the task itself marks it done in the database; what is not done in
time is sent again, so a broker that forgets everything costs latency only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, NamedTuple

import psycopg
from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from controlplane.core.db import Database, Scope
from controlplane.core.logging import get
from controlplane.core.outbox import CHANNEL, Outbox

log = get(__name__)

Send = Callable[[str, int], None]
"""Gives (task name, outbox id) to the broker. Raises: BrokerDownError."""


class BrokerDownError(Exception):
    """The broker did not take a message; the row stays and is tried again."""


@dataclass(frozen=True)
class RelaySettings:
    """Units: seconds."""

    poll_seconds: float = 1.0
    """How long a missed notification can delay a message."""
    resend_seconds: float = 120.0
    """When a job that was sent and is not done is sent again; longer than any job takes."""
    keep_seconds: float = 86_400.0
    """How long done rows stay, to be looked at."""
    batch: int = 100
    max_attempts: int = 20
    """A job that never ends well is left alone after this many messages, and logged."""


class Relay:
    """Sends what is due, in a thread of its own."""

    def __init__(
        self,
        db: Database,
        send: Send,
        settings: RelaySettings | None = None,
        *,
        on_news: Callable[[str], object] = lambda task: None,
    ) -> None:
        """`on_news` hears of every job at its commit, by name, in every process with a relay."""
        self._db = db
        self._send = send
        self._on_news = on_news
        self._settings = settings or RelaySettings()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="outbox-relay", daemon=True)

    def start(self) -> None:
        """Begin to relay."""
        self._thread.start()

    def stop(self) -> None:
        """Stop and wait for the thread."""
        self._stopped.set()
        self._thread.join()

    def relay_once(self) -> int:
        """Send every row that is due now; return how many. Raises: BrokerDownError."""
        settings = self._settings
        due = or_(
            Outbox.sent_at.is_(None),
            Outbox.sent_at < func.now() - timedelta(seconds=settings.resend_seconds),
        )
        with self._db.transaction(Scope.platform()) as session:
            rows = session.execute(
                select(Outbox.id, Outbox.task, Outbox.attempts)
                .where(Outbox.done_at.is_(None), due, Outbox.attempts < settings.max_attempts)
                .order_by(Outbox.id)
                .limit(settings.batch)
                .with_for_update(skip_locked=True)
            ).all()
            sent = self._send_all(rows)
            if sent:
                session.execute(
                    update(Outbox)
                    .where(Outbox.id.in_(sent))
                    .values(sent_at=func.now(), attempts=Outbox.attempts + 1)
                    .execution_options(synchronize_session=False)
                )
        return len(sent)

    def _send_all(self, rows: Sequence[Any]) -> list[int]:
        """Send until the broker takes no more; return the ids that went out.

        Raises: BrokerDownError when it took none.
        """
        sent: list[int] = []
        for row in rows:
            try:
                self._send(row.task, row.id)
            except BrokerDownError:
                if not sent:
                    raise
                break
            if row.attempts + 1 == self._settings.max_attempts:
                log.error("outbox.gave-up", task=row.task, outbox_id=row.id)
            sent.append(row.id)
        return sent

    def forget_done(self) -> int:
        """Delete rows that have been done for long; return how many."""
        with self._db.transaction(Scope.platform()) as session:
            done = session.execute(
                delete(Outbox).where(
                    Outbox.done_at < func.now() - timedelta(seconds=self._settings.keep_seconds)
                )
            )
            return int(done.rowcount)  # type: ignore[attr-defined]  # a CursorResult for DELETE

    def _loop(self) -> None:
        while not self._stopped.is_set():
            try:
                with self._listening() as wait:
                    while not self._stopped.is_set():
                        if self.relay_once() == 0:
                            wait()
            except BrokerDownError as error:
                log.warning("outbox.broker-down", error=str(error))
                self._stopped.wait(self._settings.poll_seconds)
            except (SQLAlchemyError, psycopg.Error) as error:
                log.warning("outbox.database-down", error=type(error).__name__)
                self._stopped.wait(self._settings.poll_seconds)

    @contextmanager
    def _listening(self) -> Iterator[Callable[[], Any]]:
        """Listen on a connection of its own; yields a function that waits for a notification."""
        url = self._db.engine.url.set(drivername="postgresql")
        with psycopg.connect(
            url.render_as_string(hide_password=False), autocommit=True
        ) as connection:
            connection.execute(f"LISTEN {CHANNEL}")

            def wait() -> None:
                for news in connection.notifies(timeout=self._settings.poll_seconds, stop_after=1):
                    self._on_news(news.payload)

            yield wait


class OpenJob(NamedTuple):
    """A job that is not done."""

    task: str
    ids: dict[str, Any]
    attempts: int
    """How often it was sent; the message at hand is counted."""


def job_of(db: Database, outbox_id: int) -> OpenJob | None:
    """Return a job, or None when it is done or gone."""
    with db.transaction(Scope.platform()) as session:
        row = session.execute(
            select(Outbox.task, Outbox.args, Outbox.attempts).where(
                Outbox.id == outbox_id, Outbox.done_at.is_(None)
            )
        ).one_or_none()
    return None if row is None else OpenJob(row.task, row.args, row.attempts)


def mark_done(db: Database, outbox_id: int) -> None:
    """Record that a job is over; further messages for it do nothing."""
    with db.transaction(Scope.platform()) as session:
        session.execute(update(Outbox).where(Outbox.id == outbox_id).values(done_at=func.now()))
