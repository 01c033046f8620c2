"""Measure how long a run waits until a worker claims it, among many installs in flight.

`python -m bench.run_engine --installs 50,100,200,400` measures through this module. The workers are
the product's (`worker_loop.serve`: dispatcher, relay, Celery) as processes of their own on a Redis
and a durable PostgreSQL of the bench's own, with as many slots as installs together; only the
engine is stubbed: an install holds its one step until all are in flight. Each install belongs to a
boundary of twenty and has a run of its own; a few more warm the workers up.

The figure is `claim`: from the moment the request's transaction began to the one in which the
worker wrote the run's steps, both by the database's clock, so it holds a little more than the claim
itself. `python -m bench.run_claims --worker` is one worker; its settings come on its input.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from pydantic import BaseModel

from controlplane.core.db import Database
from controlplane.core.ids import new_id
from controlplane.core.logging import configure
from controlplane.core.run_engine import create_run
from controlplane.core.run_engine.definition import Definition, Done, Step, StepContext, StepResult
from controlplane.worker_loop import WorkerParts, serve
from tests.postgres import DatabaseUrls
from tests.redis_server import RedisServer
from tests.sagas.bench import Tenant, seed_tenant

BOUNDARIES = 20
WORKERS = 4
WARM_UP = 16
KIND = "bench.held"
PATIENCE_SECONDS = 180.0


class Held(BaseModel):
    """Where the word comes from that ends the installs."""

    go: str


def hold(context: StepContext[Held, None]) -> StepResult:
    """Stay in flight until told, as an install does while the cloud works."""
    while not Path(context.params.go).exists():
        context.wait(1.0)
    return Done()


SAGA = Definition(KIND, Held, (Step("apply", "Apply", hold, None, budget=3600),))


def measure(urls: DatabaseUrls, installs: int) -> dict[str, Any]:
    """Return how the claims went with so many installs in flight, and what the workers used."""
    tenants = [seed_tenant(urls, f"claims-{installs}-{n}") for n in range(BOUNDARIES)]
    chosen = [tenants[number % BOUNDARIES] for number in range(WARM_UP + installs)]
    places = [(tenant, _add_install(urls, tenant)) for tenant in chosen]
    api, redis = Database.connect(urls.api), RedisServer()
    redis.start()
    with tempfile.TemporaryDirectory(prefix="rf-claims-") as folder:
        go = Path(folder) / "go"
        try:
            with _workers(urls, redis.url, -(-installs // WORKERS)) as processes:
                for tenant, install in places[:WARM_UP]:
                    _request(api, tenant, install, Path("/"))
                _wait_for(urls, "state = 'succeeded'", WARM_UP)
                _set_aside(urls, f"{KIND}.warm")
                spent = sum(map(_cpu_seconds, processes))
                began = time.perf_counter()
                for tenant, install in places[WARM_UP:]:
                    _request(api, tenant, install, go)
                requested = time.perf_counter() - began
                _wait_for(urls, "started_at IS NOT NULL", installs)
                spent = sum(map(_cpu_seconds, processes)) - spent
                go.touch()
                _wait_for(urls, "state = 'succeeded'", installs)
        finally:
            redis.stop()
            api.close()
    return {
        "installs_in_flight": installs,
        "workers": WORKERS,
        "requests_per_second": round(installs / requested, 1),
        "claim_ms": shape(_waits(urls)),
        "worker_cpu_ms_per_install": round(1000 * spent / installs, 1),
    }


def shape(seconds: list[float]) -> dict[str, float]:
    """Return the percentiles of some times, in milliseconds."""
    ordered = sorted(value * 1000 for value in seconds)
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99}
    found = {name: round(ordered[int(share * (len(ordered) - 1))], 1) for name, share in at.items()}
    return {**found, "max": round(ordered[-1], 1), "n": len(ordered)}


def _add_install(urls: DatabaseUrls, tenant: Tenant) -> UUID:
    install = new_id()
    with psycopg.connect(urls.admin) as connection:
        connection.execute(
            "INSERT INTO install (organization_id, boundary_id, id, name, lifecycle, health,"
            " drift, access, created_by) SELECT organization_id, boundary_id, %s, %s, 'requested',"
            " 'unknown', 'unknown', 'unknown', created_by FROM install WHERE id = %s",
            (install, f"install-{install.hex[-8:]}", tenant.install_id),
        )
    return install


def _request(api: Database, tenant: Tenant, install: UUID, go: Path) -> None:
    with api.transaction(tenant.scope) as session:
        create_run(
            session,
            tenant.requester,
            organization_id=tenant.organization_id,
            boundary_id=tenant.boundary_id,
            install_id=install,
            kind=KIND,
            params={"go": str(go)},
        )


@contextmanager
def _workers(urls: DatabaseUrls, redis_url: str, slots: int) -> Iterator[list[int]]:
    """Run the workers until the block ends; yields their process ids once all listen."""
    order = json.dumps({"database": urls.worker, "redis": redis_url, "slots": slots})
    argv = [sys.executable, "-m", "bench.run_claims", "--worker"]
    started = [
        subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(WORKERS)
    ]
    try:
        for process in started:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(order + "\n")
            process.stdin.close()
            process.stdout.readline()
        yield [process.pid for process in started]
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(timeout=30)


def _wait_for(urls: DatabaseUrls, condition: str, wanted: int) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    query = f"SELECT count(*) FROM run WHERE kind = '{KIND}' AND {condition}"  # noqa: S608 - ours
    with psycopg.connect(urls.admin, autocommit=True) as connection:
        before = 0
        while before < wanted:
            row = connection.execute(query).fetchone()
            before = row[0] if row is not None else 0
            if time.monotonic() > deadline:
                raise TimeoutError(f"{before} of {wanted} runs after {PATIENCE_SECONDS} s")
            time.sleep(0.1)


def _waits(urls: DatabaseUrls) -> list[float]:
    with psycopg.connect(urls.admin) as connection:
        rows = connection.execute(
            "SELECT extract(epoch FROM started_at - created_at)::float FROM run WHERE kind = %s",
            (KIND,),
        ).fetchall()
    _set_aside(urls, f"{KIND}.measured")
    return [float(seconds) for (seconds,) in rows]


def _set_aside(urls: DatabaseUrls, kind: str) -> None:
    """Rename runs, so that the next count does not find them."""
    with psycopg.connect(urls.admin) as connection:
        connection.execute("UPDATE run SET kind = %s WHERE kind = %s", (kind, KIND))


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work() -> None:
    """Be one worker until told to stop."""
    configure("bench-worker", 40)
    order = json.loads(sys.stdin.readline())
    print("up", flush=True)
    serve(
        WorkerParts(
            database_url=order["database"],
            redis_url=order["redis"],
            definitions={KIND: SAGA},
            ports=None,
            run_slots=order["slots"],
        )
    )


if __name__ == "__main__":
    work()
