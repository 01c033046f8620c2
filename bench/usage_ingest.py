"""Measure the intake of reported changes and the roll-ups: events and rows per second.

`python -m bench.usage_ingest --json build/bench/usage.json` starts a PostgreSQL and a gateway of
its own and ends them. Batches of 1, 50 and 500 events take turns in short rounds, so that a busy
machine slows all alike; the ratio between them is what carries over to another machine. The same
events written without HTTP show the database's own part. The roll-up of one hour of requests and of
one day of changes is timed on the rows of this run, without statistics, as on a running day.
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

import aiohttp
import psutil  # type: ignore[import-untyped] # its stubs are not among our dependencies
import psycopg

from gateway.changes import insert_changes
from gateway.database import Pool, open_pool
from gateway.days import roll_up_day
from gateway.hours import roll_up_hour
from gateway.partitions import ensure_partitions, midnight
from gateway.rollup import plan_for_many
from tests.gateway.api_server import ApiServer
from tests.gateway.parts import Boundary
from tests.gateway.reports import decided, parsed, shown
from tests.postgres import ServerProcess
from wire.usage import Origin, uuid7

SIZES = (1, 50, 500)
CONNECTIONS = 8
REQUEST_ROWS = 200_000
_FILL = """
INSERT INTO usage_event (
    event_id, occurred_at, boundary_id, subject_pseudonym, group_id, client, client_version, ide,
    language, feature, gen_ai_operation_name, gen_ai_provider_name, gen_ai_usage_input_tokens,
    gen_ai_usage_output_tokens, cache_read_tokens, cache_creation_tokens, reasoning_tokens,
    usage_source, requested_model, model_version, deployment_id, hop, fallback_reason, egress_class,
    stream, ttft_ms, duration_ms, queue_ms, error_type, cost_micro, currency, price_version)
SELECT gen_random_uuid(), %(hour)s + n * interval '1 ms', 'b-payments',
       lpad((n %% 500)::text, 64, '0'), 'group-' || n %% 5, 'other', 'unknown',
       (ARRAY['vscode', 'jetbrains', 'neovim'])[1 + n %% 3],
       (ARRAY['python', 'java', 'go', 'typescript'])[1 + n %% 4],
       (ARRAY['code_completion', 'chat_ask', 'chat_edit'])[1 + n %% 3], 'chat', 'vllm', 900, 60,
       0, 0, 0, 'reported', 'coder', 'coder', 'coder', 0, 'none', 'boundary', true, n %% 700,
       n %% 4000, 0, 'none', 0, 'none', 'none'
FROM generate_series(1, %(rows)s) AS n
"""


def batch(size: int) -> list[dict[str, Any]]:
    """Return fresh events: pairs of a change that is shown and decided."""
    events: list[dict[str, Any]] = []
    while len(events) < size:
        change = uuid7()
        events += [shown(change), decided(change, "accepted")]
    return events[:size]


class Round:
    """What was sent with one batch size, over all rounds."""

    def __init__(self, size: int) -> None:
        self.size, self.events, self.seconds = size, 0, 0.0
        self.milliseconds: list[float] = []

    def result(self) -> dict[str, float]:
        """Return the figures."""
        ordered = sorted(self.milliseconds)
        return {
            "events_per_second": round(self.events / self.seconds, 1),
            "requests": len(ordered),
            "p50_ms": round(ordered[len(ordered) // 2], 2),
            "p99_ms": round(ordered[int(0.99 * (len(ordered) - 1))], 2),
        }


async def send_round(session: aiohttp.ClientSession, each: Round, seconds: float) -> None:
    """Send batches of one size over all connections for a while."""
    # Made before the clock starts: the client's work is not the gateway's.
    share = {1: 400, 50: 40, 500: 8}[each.size]
    bodies = [json.dumps(batch(each.size)) for _ in range(share * CONNECTIONS)]
    ends = time.perf_counter() + seconds
    started = time.perf_counter()

    async def loop() -> None:
        while bodies and time.perf_counter() < ends:
            body, begun = bodies.pop(), time.perf_counter()
            async with session.post("/usage/v1/events", data=body) as answer:
                document = await answer.json()
                if document.get("accepted") != each.size:
                    raise RuntimeError(f"{answer.status}: {document}")
            each.milliseconds.append((time.perf_counter() - begun) * 1000)
            each.events += each.size

    await asyncio.gather(*(loop() for _ in range(CONNECTIONS)))
    each.seconds += time.perf_counter() - started


async def measure_intake(boundary: Boundary, options: argparse.Namespace) -> dict[str, Any]:
    """Let the batch sizes take turns."""
    rounds = [Round(size) for size in SIZES]
    headers = {"Authorization": f"Bearer {boundary.key}"}
    async with aiohttp.ClientSession(boundary.url, headers=headers) as session:
        for _ in range(options.rounds):
            for each in rounds:
                await send_round(session, each, options.seconds)
    found: dict[str, Any] = {str(each.size): each.result() for each in rounds}
    one = found["1"]["events_per_second"]
    found["ratio_to_1"] = {
        str(each.size): round(found[str(each.size)]["events_per_second"] / one, 1)
        for each in rounds
    }
    return found


async def measure_database(pool: Pool, batches: int) -> dict[str, float]:
    """Write parsed batches of 500 without HTTP."""
    who = Origin(boundary_id="b-payments", group_id="payments-engineers", subject="f" * 64)
    prepared = [parsed(*batch(500)) for _ in range(batches)]
    started = time.perf_counter()
    for events in prepared:
        await insert_changes(pool, who, events, Counter())
    return {"events_per_second": round(500 * batches / (time.perf_counter() - started), 1)}


async def measure_roll_ups(pool: Pool) -> dict[str, Any]:
    """Time the roll-up of one hour of requests and of today's changes."""
    now = datetime.now(UTC)
    hour = midnight(now)
    async with pool.connection() as connection:
        await ensure_partitions(connection, "usage_event", [hour])
        await connection.execute(_FILL, {"hour": hour, "rows": REQUEST_ROWS})
    async with pool.connection() as connection:
        await plan_for_many(connection)
        started = time.perf_counter()
        document = await roll_up_hour(connection, "b-payments", hour, final=False)
        hours = time.perf_counter() - started
        rows = await connection.execute("SELECT count(*) FROM change_event")
        (changes,) = await rows.fetchone() or (0,)
        started = time.perf_counter()
        await roll_up_day(connection, now.date(), 750)
        days = time.perf_counter() - started
    return {
        "hour": {
            "events": REQUEST_ROWS,
            "cells_out": len(document["rows"]),
            "events_per_second": round(REQUEST_ROWS / hours),
        },
        "day": {"events": changes, "events_per_second": round(changes / days)},
    }


async def measure(boundary: Boundary, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all three, one after the other."""
    result: dict[str, Any] = {"intake": await measure_intake(boundary, options)}
    assert boundary.process is not None
    memory = psutil.Process(boundary.process.pid).memory_info().rss
    result["gateway_resident_mib"] = round(memory / 2**20, 1)
    boundary.stop()
    async with open_pool(boundary.folder / "database-url") as pool:
        result["database_only_500"] = await measure_database(pool, 40)
        result["roll_up"] = await measure_roll_ups(pool)
    with psycopg.connect(boundary.database) as connection:
        row = connection.execute(
            "SELECT sum(pg_total_relation_size(inhrelid)) / (SELECT count(*) FROM change_event)"
            " FROM pg_inherits WHERE inhparent = 'change_event'::regclass"
        ).fetchone()
    result["bytes_per_event_with_indexes"] = round(float(row[0])) if row else None
    return result


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Start the parts, measure, end the parts."""
    with tempfile.TemporaryDirectory(prefix="rf-bench-") as name:
        folder = Path(name)
        server = ServerProcess()
        postgres = server.start()
        database = postgres.url("postgres", postgres.create_database("postgres"))
        boundary = Boundary(folder, ApiServer(folder / "api"), database)
        try:
            boundary.publish("http://127.0.0.1:9")
            boundary.start()
            result = asyncio.run(measure(boundary, options))
        finally:
            boundary.close()
            server.stop()
    machine = {"python": platform.python_version(), "cores": psutil.cpu_count()}
    machine["load_average"] = [round(load, 2) for load in psutil.getloadavg()]
    return {"benchmark": "usage_ingest", "machine": machine, **result}


def main() -> int:
    """Parse the options, measure and print or write the result."""
    parser = argparse.ArgumentParser(prog="python -m bench.usage_ingest", description=__doc__)
    parser.add_argument("--rounds", type=int, default=4, help="turns of each batch size")
    parser.add_argument("--seconds", type=float, default=2, help="longest duration of a turn")
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
