"""What a worker does: claim runs, execute their steps, and do the short jobs of the outbox.

`serve` runs until SIGTERM or SIGINT; then the steps are asked to stop, the runs are given back, and
another worker goes on. After SIGKILL the leases run out and the same happens a little later. Called
by `worker` with the product's parts, and by tests with sagas of their own; it knows no saga.
"""

from __future__ import annotations

import os
import secrets
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from celery import Celery
from celery.worker import WorkController, state

from controlplane.core.broker import make_celery, make_send, register_jobs
from controlplane.core.db import Database
from controlplane.core.jobs import Job
from controlplane.core.logging import get
from controlplane.core.outbox_relay import Relay, RelaySettings
from controlplane.core.run_engine import ADVANCE
from controlplane.core.run_engine.definition import Definition, QuickGate
from controlplane.core.run_engine.dispatcher import Dispatcher
from controlplane.core.run_engine.executor import EngineSettings
from controlplane.domains.windows import service as windows

log = get(__name__)
MOST_CONNECTIONS = 32
"""Connections of one worker, however many runs it has: a run mostly waits, its transactions take
milliseconds, and a server has a few hundred connections for all processes."""
CONSUMER_STOP_SECONDS = 3.0
CONSUMER_CHECK_SECONDS = 1.0
"""How long a consumer that gave up goes unnoticed; also the pause between two of them."""


@dataclass(frozen=True)
class WorkerParts:
    """What a worker is made of."""

    database_url: str
    redis_url: str
    definitions: Mapping[str, Definition]
    ports: Any
    jobs: Callable[[Database], Mapping[str, Job]] = field(default=lambda _: {})
    """Makes the short jobs on the worker's database."""
    engine: EngineSettings = field(default_factory=EngineSettings)
    relay: RelaySettings = field(default_factory=RelaySettings)
    run_slots: int = 4
    task_threads: int = 4
    poll_seconds: float = 2.0


def worker_name() -> str:
    """Return a name that no other process ever had: host, process, random."""
    return f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"


def serve(parts: WorkerParts) -> None:
    """Work until a signal says stop."""
    db = Database.connect(
        parts.database_url,
        pool_size=min(4 + 2 * parts.run_slots, MOST_CONNECTIONS // 2),
        # Shorter than a lease, or the locks of a frozen worker would outlast it.
        stalled_seconds=parts.engine.lease_seconds / 2,
    )
    dispatcher = Dispatcher(
        db,
        parts.definitions,
        parts.ports,
        parts.engine,
        worker=worker_name(),
        slots=parts.run_slots,
        poll_seconds=parts.poll_seconds,
        gate=QuickGate(windows.gate),
    )
    celery = make_celery(parts.redis_url)

    def hear(task: str) -> None:
        # A message reaches one worker, and that one may be full: every worker with a slot looks.
        if task == ADVANCE:
            dispatcher.nudge()

    relay = Relay(db, make_send(celery), parts.relay, on_news=hear)
    # The hint says which run; the dispatcher claims whatever has waited longest, which is fairer.
    jobs: dict[str, Job] = {**parts.jobs(db), ADVANCE: lambda run_id: dispatcher.nudge()}
    register_jobs(celery, db, jobs)
    dispatcher.start()
    relay.start()
    log.info(
        "worker.started",
        kinds=sorted(parts.definitions),
        slots=parts.run_slots,
        cpu_seconds=round(time.process_time(), 2),
    )
    try:
        _consume(celery, parts.task_threads)
    finally:
        relay.stop()
        dispatcher.stop()
        db.close()
        log.info("worker.stopped", cpu_seconds=round(time.process_time(), 2))


def _consume(celery: Celery, threads: int) -> None:
    """Run Celery's consumer in a thread until a signal says stop; a new one when it gave up.

    The library's controller and not its command: that installs signal handlers of its own and waits
    for a broker that may be down. A task it is doing is sent again, since its row stays open. One
    message that is no JSON ends the controller ("Unrecoverable error"), and with it every job of a
    worker that goes on living; the message itself is off the queue by then.
    """
    stopping = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stopping.set())
    celery.finalize()
    thread = _start_consumer(celery, threads)
    while not stopping.wait(CONSUMER_CHECK_SECONDS):
        if not thread.is_alive():
            log.error("worker.consumer-gave-up")
            thread = _start_consumer(celery, threads)
    state.should_stop = 0
    thread.join(timeout=CONSUMER_STOP_SECONDS)


def _start_consumer(celery: Celery, threads: int) -> threading.Thread:
    consumer = WorkController(
        app=celery,
        pool="threads",
        concurrency=threads,
        hostname=f"worker@{socket.gethostname()}-{os.getpid()}",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
    )
    thread = threading.Thread(target=consumer.start, name="celery", daemon=True)
    thread.start()
    return thread
