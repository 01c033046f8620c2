"""A worker of the light world: the product's `serve`, with taps, and a known bug when asked.

Runs in a process that the nursery forked. The taps tell the harness where the engine stands; they
change nothing, and a bug is switched on here only, by name, so that none can reach the product.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any

from sqlalchemy.orm import Session

from controlplane.core import clock
from controlplane.core.logging import configure
from controlplane.core.outbox_relay import RelaySettings
from controlplane.core.run_engine import executor
from controlplane.core.run_engine.executor import EngineSettings
from controlplane.core.run_engine.store import RunStore
from controlplane.worker_loop import WorkerParts, serve
from tests.faults.light.bugs import BUGS
from tests.faults.light.clocks import stand_still
from tests.faults.light.cloud import Line, NoAnswerError
from tests.faults.light.saga import Definitions

TAPPED = (
    "step_started", "step_finished", "step_failed", "step_parked", "undo_started",
    "undo_finished", "undo_failed", "turn_around", "set_state", "release", "give_up",
)  # fmt: skip
"""The engine's writes; each is a boundary at which a worker may die."""


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
    """Tell the harness before, inside and after every write of the engine."""
    current: ContextVar[str | None] = ContextVar("write", default=None)
    plain_transaction = RunStore.transaction

    @contextmanager
    def transaction(self: RunStore) -> Iterator[Session]:
        with plain_transaction(self) as session:
            yield session
            name = current.get()
            if name is not None:
                line.tap(f"inside:{name}", str(self.claim.run_id), _key.get())

    _key: ContextVar[str] = ContextVar("key", default="")
    RunStore.transaction = transaction  # type: ignore[method-assign]  # a tap
    for name in TAPPED:
        setattr(RunStore, name, _tapped(line, name, getattr(RunStore, name), current, _key))
    _tap_executor(line)


def _tapped(
    line: Line,
    name: str,
    write: Any,
    current: ContextVar[str | None],
    step: ContextVar[str],
) -> Any:
    @wraps(write)
    def tapped(self: RunStore, *args: Any, **more: Any) -> Any:
        run = str(self.claim.run_id)
        key = (
            next((a for a in args if isinstance(a, str)), "")
            if "step" in name or "undo" in name
            else ""
        )
        line.tap(f"before:{name}", run, key)
        tokens = current.set(name), step.set(key)
        try:
            result = write(self, *args, **more)
        finally:
            current.reset(tokens[0])
            step.reset(tokens[1])
        line.tap(f"after:{name}", run, key)
        return result

    return tapped


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
