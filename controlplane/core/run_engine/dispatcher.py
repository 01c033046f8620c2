"""The worker's run slots: claim runs and give each a thread.

Started by the worker. A Celery message or a NOTIFY only calls `nudge`; the loop also looks by
itself every few seconds, so that losing every message changes only latency. Runs live in threads
of this process and not in Celery tasks: a task that lasted as long as an install would outlive the
broker's visibility timeout and be delivered a second time while the first still runs.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from sqlalchemy.exc import SQLAlchemyError

from controlplane.core import clock
from controlplane.core.db import Database
from controlplane.core.logging import get
from controlplane.core.run_engine.definition import Definition, Gate, always_open
from controlplane.core.run_engine.executor import EngineSettings, RunExecutor
from controlplane.core.run_engine.fence import LANES, Claim, claim_run

log = get(__name__)


class Dispatcher:
    """Claims runs while slots are free."""

    def __init__(
        self,
        db: Database,
        definitions: Mapping[str, Definition],
        ports: Any,
        settings: EngineSettings,
        *,
        worker: str,
        slots: int,
        gate: Gate = always_open,
        poll_seconds: float = 2.0,
    ) -> None:
        self._db = db
        self._definitions = definitions
        self._ports = ports
        self._settings = settings
        self._worker = worker
        self._slots = slots
        self._gate = gate
        self._poll_seconds = poll_seconds
        self._wake = threading.Event()
        self._draining = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[UUID, threading.Thread] = {}
        self._reading: set[UUID] = set()
        self._thread = threading.Thread(target=self._loop, name="dispatcher", daemon=True)

    def start(self) -> None:
        """Begin to claim."""
        self._thread.start()

    def nudge(self) -> None:
        """Look for work now instead of at the next round."""
        self._wake.set()

    def stop(self) -> None:
        """Claim nothing more, let the runs drain, wait for them as long as the settings say."""
        self._draining.set()
        self._wake.set()
        self._thread.join()
        deadline = time.monotonic() + self._settings.drain_seconds + 2
        for thread in list(self._running.values()):
            thread.join(max(deadline - time.monotonic(), 0.0))

    def running(self) -> int:
        """Return how many runs this worker executes now."""
        with self._lock:
            return len(self._running)

    def _loop(self) -> None:
        while not self._draining.is_set():
            try:
                claimed = self.running() < self._slots and self._claim_one()
            except SQLAlchemyError as error:
                log.warning("dispatcher.claim-failed", error=type(error).__name__)
                claimed = False
            if not claimed:
                self._wake.wait(self._poll_seconds)
                self._wake.clear()

    def _claim_one(self) -> bool:
        claimed_at = clock.elapsed()
        claim = claim_run(self._db, self._worker, self._settings.lease_seconds, lanes=self._lanes())
        if claim is None:
            return False
        thread = threading.Thread(
            target=self._execute, args=(claim, claimed_at), name=f"run-{claim.run_id}", daemon=True
        )
        with self._lock:
            self._running[claim.run_id] = thread
            if claim.lane == "read":
                self._reading.add(claim.run_id)
        thread.start()
        return True

    def _lanes(self) -> tuple[str, ...]:
        """Return what to claim: reading runs never take the last slot from a writing one."""
        with self._lock:
            free_for_reading = max(self._slots - 1, 1) - len(self._reading)
        return LANES if free_for_reading > 0 else ("write",)

    def _execute(self, claim: Claim, claimed_at: float) -> None:
        log.info("run.claimed", run_id=str(claim.run_id), kind=claim.kind, fence=claim.fence)
        try:
            RunExecutor(
                self._db,
                self._definitions[claim.kind],
                claim,
                self._ports,
                self._settings,
                self._draining,
                claimed_at,
                self._gate,
            ).run()
        except Exception as error:  # edge: a run; its lease runs out and the next claim goes on
            log.error("run.crashed", run_id=str(claim.run_id), exc_info=error)
        finally:
            with self._lock:
                self._running.pop(claim.run_id, None)
                self._reading.discard(claim.run_id)
            self._wake.set()
