"""A worker of the light world: the product's `serve`, with taps, and a known bug when asked.

Runs in a process that the nursery forked. The taps tell the harness where the engine stands; they
change nothing, and a bug is switched on here only, by name, so that none can reach the product.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy.orm import Session

from controlplane.core import clock
from controlplane.core.logging import configure
from controlplane.core.outbox_relay import RelaySettings
from controlplane.core.run_engine import executor
from controlplane.core.run_engine.changes import Change
from controlplane.core.run_engine.executor import EngineSettings
from controlplane.core.run_engine.facts import RunFacts
from controlplane.core.run_engine.store import Recorded, RunStore
from controlplane.worker_loop import WorkerParts, serve
from tests.faults.light.bugs import BUGS
from tests.faults.light.clocks import stand_still
from tests.faults.light.cloud import Line, NoAnswerError
from tests.faults.light.saga import Definitions


@dataclass(frozen=True)
class WorkerConfig:
    """What one worker process is told. Units: seconds."""

    database_url: str
    redis_url: str
    cloud_port: int
    name: str
    lease: float
    poll: float
    resend: float
    slots: int
    bug: str | None
    still_file: str | None
    """File with the time that this process's monotonic clock stood still."""
    wall_skew: float
    """How far its wall clock is off."""


def work(config: WorkerConfig) -> None:
    """Serve until a signal says stop."""
    configure(config.name)
    line = Line(config.cloud_port, config.name)
    if config.still_file is not None:
        stand_still(config.still_file)
    if config.wall_skew:
        clock._offset = ContextVar("skew", default=timedelta(seconds=config.wall_skew))
    install_taps(line)
    if config.bug is not None:
        BUGS[config.bug].switch_on()
    serve(
        WorkerParts(
            database_url=config.database_url,
            redis_url=config.redis_url,
            definitions=Definitions(),
            ports=line,
            engine=EngineSettings(
                lease_seconds=config.lease,
                retry_base_seconds=0.05,
                retry_cap_seconds=0.2,
                drain_seconds=2.0,
            ),
            relay=RelaySettings(poll_seconds=0.3, resend_seconds=config.resend),
            run_slots=config.slots,
            task_threads=2,
            poll_seconds=config.poll,
        )
    )


def install_taps(line: Line) -> None:
    """Tell the harness before, inside and after every write of the engine.

    Each change is a boundary at which a worker may die, also where several share a transaction. The
    statement stands in a transaction of its own here, so that there is a moment before its commit.
    """
    plain = RunStore.record
    current: ContextVar[tuple[Change, ...]] = ContextVar("made", default=())

    def tap(when: str, self: RunStore, made: Sequence[Change]) -> None:
        for change in made:
            line.tap(f"{when}:{change.name}", str(self.claim.run_id), _key(change))

    @contextmanager
    def one_statement(self: RunStore) -> Iterator[Session]:
        with self.announced() as session:
            yield session
            tap("inside", self, current.get())

    def record(self: RunStore, facts: RunFacts, made: Sequence[Change], **more: Any) -> Recorded:
        tap("before", self, made)
        token = current.set(tuple(made))
        try:
            recorded = plain(self, facts, made, **more)
        finally:
            current.reset(token)
        tap("after", self, made)
        return recorded

    RunStore._one_statement = one_statement  # type: ignore[method-assign]  # a tap
    RunStore.record = record  # type: ignore[method-assign]  # a tap
    _tap_executor(line)


def _key(change: Change) -> str:
    return change.step or "" if "step" in change.name or "undo" in change.name else ""


def _tap_executor(line: Line) -> None:
    plain_run = executor.RunExecutor.run

    def run(self: executor.RunExecutor[Any]) -> None:
        claim = self._store.claim
        line.tap("claimed", str(claim.run_id), str(claim.fence))
        try:
            plain_run(self)
        finally:
            try:
                line.tap("left", str(claim.run_id), str(claim.fence))
            except NoAnswerError:
                os._exit(1)  # the harness is gone

    executor.RunExecutor.run = run  # type: ignore[method-assign]  # a tap
