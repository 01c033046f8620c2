"""Measure the run engine: steps per second beside DBOS, and how long runs wait for a worker.

`python -m bench.run_engine --dbos-python <python> --json build/bench/run-engine.json`. DBOS stays
out of our environment: its Python is that of an environment made from `requirements/bench.lock`;
without it only our half is measured. Both use one PostgreSQL of the bench's own, durable as in
production, and take turns (ABAB) in one run, so that a busy machine slows both alike. The figure to
read is the ratio, and its spread over the turns. Both sides: one process, four runs side by side,
ten steps in a row per run, the same empty body. DBOS: as its documentation starts it, its own
defaults for pool, durability and serializer, no admin server, workflows called from four threads.
We: the product's dispatcher with four slots and its maintenance-window gate, runs made beforehand
as the API makes them. What a step costs us and not DBOS: an audit record in a hash chain at its
start and at its end, an event of the live view at each, the gate, and the fence's check in every
transaction. `run_claims` has the other part.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import statistics
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel

from bench import run_claims
from controlplane.core.db import Database
from controlplane.core.logging import configure
from controlplane.core.run_engine import create_run
from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    QuickGate,
    Step,
    StepContext,
    StepResult,
)
from controlplane.core.run_engine.dispatcher import Dispatcher
from controlplane.core.run_engine.executor import EngineSettings
from controlplane.domains.windows import service as windows
from tests.postgres import DatabaseUrls, PostgresServer, ServerProcess, migrated
from tests.sagas.bench import Tenant, seed_tenant

STEPS = 10
SIDE_BY_SIDE = 4


class NoParams(BaseModel):
    """The programs take nothing."""


def empty(context: StepContext[NoParams, None]) -> StepResult:
    """Do nothing, durably."""
    return Done({"number": context.step})


CHAIN = Definition(
    "bench.chain",
    NoParams,
    tuple(
        Step(f"s{n}", f"Step {n}", empty, None, (f"s{n - 1}",) if n else ()) for n in range(STEPS)
    ),
)


def start(db: Database, tenant: Tenant, kind: str) -> UUID:
    """Ask for a run as the API does."""
    with db.transaction(tenant.scope) as session:
        return create_run(
            session,
            tenant.requester,
            organization_id=tenant.organization_id,
            boundary_id=tenant.boundary_id,
            install_id=None,
            kind=kind,
        )


@contextmanager
def dispatching(db: Database, saga: Definition, slots: int, number: int = 1) -> Iterator[Any]:
    """Run the product's dispatchers in this process, as that many workers do."""
    settings = EngineSettings(lease_seconds=30.0, drain_seconds=5.0)
    started = [
        Dispatcher(
            db, {saga.kind: saga}, None, settings, worker=f"bench-{n}", slots=slots,
            poll_seconds=0.2, gate=QuickGate(windows.gate),
        )
        for n in range(number)
    ]  # fmt: skip
    for one in started:
        one.start()
    try:
        yield started
    finally:
        for one in started:
            one.stop()


def wait_for(urls: DatabaseUrls, query: str, wanted: int, seconds: float) -> None:
    """Wait until the count is reached. Raises: TimeoutError."""
    deadline = time.monotonic() + seconds
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        while True:
            row = connection.execute(query).fetchone()
            if row is not None and row[0] >= wanted:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{row} of {wanted} after {seconds} s")
            time.sleep(0.05)


def our_round(urls: DatabaseUrls, api: Database, worker: Database, tenants: list[Tenant],
              runs: int) -> float:  # fmt: skip
    """Return the seconds that our engine takes for the runs, created beforehand."""
    for number in range(runs):
        start(api, tenants[number % len(tenants)], CHAIN.kind)
    done = "SELECT count(*) FROM run WHERE state = 'succeeded'"
    with psycopg.connect(urls.admin) as connection:
        before = connection.execute(done).fetchone()
    began = time.perf_counter()
    with dispatching(worker, CHAIN, SIDE_BY_SIDE):
        wait_for(urls, done, (before[0] if before else 0) + runs, 600)
        return time.perf_counter() - began


class DbosSide:
    """The other engine, in a process and an environment of its own."""

    def __init__(self, python: str, url: str) -> None:
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("dbos_steps.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._ask({"url": url})

    def round(self, workflows: int) -> float:
        """Return the seconds that it takes for the same work."""
        order = {"workflows": workflows, "steps": STEPS, "side_by_side": SIDE_BY_SIDE}
        return float(self._ask(order)["seconds"])

    def close(self) -> None:
        """End it."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=30)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer


def throughput(server: PostgresServer, urls: DatabaseUrls, dbos_python: str | None, runs: int,
               turns: int) -> dict[str, Any]:  # fmt: skip
    """Return steps per second of both, turn by turn."""
    api, worker = Database.connect(urls.api), Database.connect(urls.worker, pool_size=20)
    tenants = [seed_tenant(urls, f"boundary-{n}") for n in range(SIDE_BY_SIDE)]
    other = None
    if dbos_python:
        other = DbosSide(dbos_python, server.url("postgres", server.create_database("postgres")))
    ours: list[float] = []
    theirs: list[float] = []
    our_round(urls, api, worker, tenants, 2)
    for _ in range(turns):
        ours.append(runs * STEPS / our_round(urls, api, worker, tenants, runs))
        if other is not None:
            theirs.append(runs * STEPS / other.round(runs))
    if other is not None:
        other.close()
    api.close()
    worker.close()
    result: dict[str, Any] = {
        "runs": runs,
        "steps_per_run": STEPS,
        "side_by_side": SIDE_BY_SIDE,
        "ours_steps_per_second": [round(rate, 1) for rate in ours],
        "dbos_steps_per_second": [round(rate, 1) for rate in theirs],
    }
    if theirs:
        pairs = [a / b for a, b in zip(ours, theirs, strict=True)]
        result["ours_to_dbos"] = round(statistics.median(pairs), 3)
        result["ours_to_dbos_per_turn"] = [round(pair, 3) for pair in pairs]
    return result


def run(dbos_python: str | None, runs: int, turns: int, installs: list[int]) -> dict[str, Any]:
    """Measure on a server of our own."""
    process = ServerProcess(durable=True)
    try:
        server = process.start()
        urls = migrated(server)
        return {
            "cores": os.cpu_count(),
            "load_before": round(os.getloadavg()[0], 1),
            "claims": [run_claims.measure(urls, number) for number in installs],
            "throughput": throughput(server, urls, dbos_python, runs, turns) if turns else None,
        }
    finally:
        process.stop()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="where to write the result")
    parser.add_argument("--dbos-python", help="Python of an environment with DBOS")
    parser.add_argument("--runs", type=int, default=40, help="runs per turn")
    parser.add_argument("--turns", type=int, default=6, help="turns of each engine; 0 for none")
    parser.add_argument(
        "--installs", default="200", help="installs in flight, e.g. 50,100,200; empty for none"
    )
    arguments = parser.parse_args()
    configure("bench", logging.WARNING)
    installs = [int(number) for number in arguments.installs.split(",") if number]
    measured = run(arguments.dbos_python, arguments.runs, arguments.turns, installs)
    document = json.dumps(measured, indent=2)
    print(document)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(document + "\n")


if __name__ == "__main__":
    main()
