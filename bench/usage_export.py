"""Measure what `export: events` costs: storing, handing pages out, and taking them in outside.

`python -m bench.usage_export --json build/bench/export.json` starts a PostgreSQL of its own and
ends it. Batches are stored with no period open and with one, in turns, so that a busy machine slows
both alike: the ratio is what carries over. Pages are then handed out until none is left, while a
ticker on the same event loop notes the longest time that it was held up; last, the same pages are
taken in by the control plane's own statement, in one transaction each.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import sys
import tempfile
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil  # type: ignore[import-untyped] # its stubs are not among our dependencies
import psycopg

from bench.usage_ingest import batch
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.domains.usage.events import record_events
from controlplane.tables.agents import Agent
from gateway.changes import insert_changes
from gateway.database import Pool, migrate, open_pool
from gateway.export import body_of, next_page
from gateway.periods import follow_policy
from tests.gateway.reports import parsed
from tests.postgres import DatabaseUrls, ServerProcess, migrated
from wire.usage import MAX_PAGE, EventPush, Export, Origin

SIZE = 500


async def measure_storing(pool: Pool, rounds: int) -> dict[str, float]:
    """Store batches under both words, in turns; return events per second and the ratio."""
    who = Origin(boundary_id="b-payments", group_id="payments-engineers", subject="f" * 64)
    seconds = {Export.AGGREGATE: 0.0, Export.EVENTS: 0.0}
    for _ in range(rounds):
        for word in seconds:
            # What one word left waiting is not the other's to carry.
            await follow_policy(pool, word, datetime.now(UTC))
            events = [parsed(*batch(SIZE)) for _ in range(10)]
            started = time.perf_counter()
            for each in events:
                await insert_changes(pool, who, each, Counter())
            seconds[word] += time.perf_counter() - started
    rates = {word.value: 10 * SIZE * rounds / spent for word, spent in seconds.items()}
    ratio = rates["events"] / rates["aggregate"]
    return {**{name: round(rate) for name, rate in rates.items()}, "ratio": round(ratio, 2)}


async def measure_pages(pool: Pool, events: int) -> tuple[dict[str, float], list[EventPush]]:
    """Hand out that many events; return the figures and the pages."""
    who = Origin(boundary_id="b-payments", group_id="payments-engineers", subject="e" * 64)
    await follow_policy(pool, Export.AGGREGATE, datetime.now(UTC))
    await follow_policy(pool, Export.EVENTS, datetime.now(UTC))
    for _ in range(events // SIZE):
        await insert_changes(pool, who, parsed(*batch(SIZE)), Counter())
    gaps: list[float] = []

    async def tick() -> None:
        while True:
            before = time.perf_counter()
            await asyncio.sleep(0.001)
            gaps.append(time.perf_counter() - before - 0.001)

    ticker = asyncio.create_task(tick())
    pages: list[EventPush] = []
    cursor, sizes, started = "", [], time.perf_counter()
    while True:
        page = await next_page(pool, "b-payments", cursor, MAX_PAGE, print)
        if page is None or not page.events:
            break
        sizes.append(len(await asyncio.to_thread(body_of, page)))
        pages.append(page)
        cursor = page.cursor
    seconds = time.perf_counter() - started
    ticker.cancel()
    gaps.sort()
    return {
        "events_per_second": round(sum(len(page.events) for page in pages) / seconds),
        "largest_page_bytes": max(sizes),
        "held_up_ms_p99": round(gaps[int(0.99 * (len(gaps) - 1))] * 1000, 1),
        "held_up_ms_longest": round(gaps[-1] * 1000, 1),
    }, pages


def measure_intake(urls: DatabaseUrls, pages: list[EventPush]) -> dict[str, float]:
    """Take pages in at the control plane, one transaction each."""
    organization, boundary = uuid4(), uuid4()
    with psycopg.connect(urls.admin) as connection:
        connection.execute(
            "INSERT INTO organization (id, name, display_name, document, document_digest)"
            " VALUES (%s, 'acme', '', '{}', '')",
            [organization],
        )
        connection.execute(
            "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
            " blueprint_version, inputs) VALUES (%s, %s, 'payments', '', '{}', '', '', '{}')",
            [organization, boundary],
        )
    texts = [json.dumps(p.to_wire()).replace("b-payments", str(boundary)) for p in pages]
    scope = Scope.boundary(organization, boundary)
    context = OpContext(system_actor("agent"), "bench", scope)
    agent = Agent(organization_id=organization, boundary_id=boundary, id=uuid4())
    database = Database.connect(urls.api, pool_size=1)
    stored, started = 0, time.perf_counter()
    for text in texts:
        push = EventPush.from_wire(json.loads(text))
        with database.transaction(scope) as session:
            stored += record_events(session, context, agent, push)
    seconds = time.perf_counter() - started
    database.close()
    with psycopg.connect(urls.admin) as connection:
        size = connection.execute("SELECT pg_total_relation_size('usage_event')").fetchone()
    assert size is not None
    return {
        "events_per_second": round(stored / seconds),
        "bytes_per_event_with_indexes": round(size[0] / stored),
    }


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start the database, measure, end it."""
    server = ServerProcess()
    with tempfile.TemporaryDirectory(prefix="rf-bench-") as name:
        try:
            postgres = server.start()
            file = Path(name) / "database-url"
            file.write_text(postgres.url("postgres", postgres.create_database("postgres")))

            async def inside() -> tuple[Any, Any, list[EventPush]]:
                async with open_pool(file) as pool:
                    await migrate(pool)
                    storing = await measure_storing(pool, options.rounds)
                    return (storing, *await measure_pages(pool, options.events))

            storing, handing_out, pages = asyncio.run(inside())
            intake = measure_intake(migrated(postgres), pages)
        finally:
            server.stop()
    machine = {"python": platform.python_version(), "cores": psutil.cpu_count()}
    machine["load_average"] = [round(load, 2) for load in psutil.getloadavg()]
    return {
        "benchmark": "usage_export",
        "machine": machine,
        "storing_events_per_second": storing,
        "handing_out": handing_out,
        "control_plane": intake,
    }


def main() -> int:
    """Parse the options, measure and print or write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage_export", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="turns under each word")
    parser.add_argument("--events", type=int, default=30_000, help="events to hand out")
    parser.add_argument("--json", type=Path, help="write the result to this file too")
    options = parser.parse_args()
    text = json.dumps(run(options), indent=2)
    if options.json is not None:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
