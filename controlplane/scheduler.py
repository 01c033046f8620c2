"""The scheduler: one leader that looks after leases, grants, checkpoints, outbox and old usage.

Composition root: `python -m controlplane.scheduler`. Any number may run; the one that holds a
PostgreSQL advisory lock is the leader, the others stand by and take over when its connection ends.
It makes no call to a cloud: what has to be asked there becomes a job for the worker.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import psycopg
from pydantic import ValidationError

from controlplane.config import SecretFileError
from controlplane.core.broker import make_celery, make_send
from controlplane.core.db import Database
from controlplane.core.logging import configure, get
from controlplane.core.outbox_relay import Relay
from controlplane.reconcilers.checkpoints import CheckpointsDue
from controlplane.reconcilers.grants import GrantWatch, ParkedAccess
from controlplane.reconcilers.leases import LeaseReaper
from controlplane.reconcilers.sign_in import RefusalNumbers, SignInClearing
from controlplane.reconcilers.usage_events import UsageEventKeeper
from controlplane.worker_config import SchedulerSettings, settings_problems

log = get(__name__)
LEADER_LOCK = 727_002
STANDBY_SECONDS = 2.0
FORGET_SECONDS = 3600.0
USAGE_EVENT_SECONDS = 600.0


class Reconciler(Protocol):
    """One loop; see `controlplane.reconcilers`."""

    @property
    def name(self) -> str: ...

    def activate(self) -> dict[str, Any]: ...


@dataclass
class _Timed:
    reconciler: Reconciler
    every: float
    next_at: float = 0.0


class OutboxCleaner:
    """Forgets jobs that were done long ago."""

    name = "outbox"

    def __init__(self, relay: Relay) -> None:
        self._relay = relay

    def activate(self) -> dict[str, Any]:
        """Do one round."""
        return {"forgotten": self._relay.forget_done()}


class Scheduler:
    """Runs reconcilers while it is the leader."""

    def __init__(self, database_url: str, timed: Sequence[tuple[Reconciler, float]]) -> None:
        self._url = database_url
        self._timed = [_Timed(reconciler, every) for reconciler, every in timed]
        self._stopped = threading.Event()

    def stop(self) -> None:
        """Ask `run` to return."""
        self._stopped.set()

    def run(self) -> None:
        """Lead or stand by until stopped."""
        while not self._stopped.is_set():
            try:
                with self._leadership() as connection:
                    if connection is not None:
                        log.info("scheduler.leading")
                        self._lead(connection)
            except psycopg.Error as error:
                log.warning("scheduler.database-down", error=type(error).__name__)
            self._stopped.wait(STANDBY_SECONDS)

    @contextmanager
    def _leadership(self) -> Iterator[psycopg.Connection[Any] | None]:
        """Yield the connection whose lock makes this process the leader, or None."""
        with psycopg.connect(self._url, autocommit=True) as connection:
            row = connection.execute("SELECT pg_try_advisory_lock(%s)", [LEADER_LOCK]).fetchone()
            yield connection if row is not None and row[0] else None

    def _lead(self, connection: psycopg.Connection[Any]) -> None:
        while not self._stopped.is_set():
            # When the connection is gone, so is the lock: somebody else may lead already.
            connection.execute("SELECT 1")
            for timed in self._timed:
                if time.monotonic() >= timed.next_at:
                    timed.next_at = time.monotonic() + timed.every
                    _activate(timed.reconciler)
            soonest = min(timed.next_at for timed in self._timed)
            self._stopped.wait(max(min(soonest - time.monotonic(), 1.0), 0.05))


def _activate(reconciler: Reconciler) -> None:
    """Run one round; the edge of a task, so that one failing loop never stops the others."""
    try:
        done = {key: value for key, value in reconciler.activate().items() if value}
    except Exception as error:  # edge: a loop; the next activation tries again
        log.error("reconciler.failed", reconciler=reconciler.name, exc_info=error)
        return
    if done:
        log.info("reconciler.acted", reconciler=reconciler.name, **done)


def main() -> int:
    """Run from the command line."""
    configure("scheduler")
    try:
        settings = SchedulerSettings()
        url, redis_url = settings.database_url(), settings.redis_url()
    except ValidationError as error:
        print(settings_problems(error), file=sys.stderr)
        return 2
    except SecretFileError as error:
        print(str(error), file=sys.stderr)
        return 2
    db = Database.connect(url, pool_size=4)
    relay = Relay(db, make_send(make_celery(redis_url)))
    scheduler = Scheduler(
        url,
        (
            (LeaseReaper(db), settings.reap_seconds),
            (GrantWatch(db), settings.watch_seconds),
            (ParkedAccess(db, settings.parked_access_seconds), settings.watch_seconds),
            (
                CheckpointsDue(db, settings.checkpoint_events, settings.checkpoint_seconds),
                settings.watch_seconds,
            ),
            (RefusalNumbers(db), settings.watch_seconds),
            (SignInClearing(db), settings.watch_seconds),
            (OutboxCleaner(relay), FORGET_SECONDS),
            (UsageEventKeeper(db), USAGE_EVENT_SECONDS),
        ),
    )
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: scheduler.stop())
    relay.start()
    try:
        scheduler.run()
    finally:
        relay.stop()
        db.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
