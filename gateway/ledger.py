"""Move usage from the spool into the database: batched, exactly once by event id.

Run by `main` as a loop. Separate from the spool, which knows nothing of PostgreSQL. A segment is
deleted only after its events are committed; delivering one twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from psycopg import sql

from gateway.database import Pool
from gateway.partitions import ensure_partitions
from gateway.periods import waiting
from gateway.spool import Spool, read_segment
from wire.usage import UsageEvent

_PLAIN = (
    *("boundary_id", "group_id", "client", "client_version", "ide", "language", "feature"),
    *("cache_read_tokens", "cache_creation_tokens", "reasoning_tokens", "usage_source"),
    *("requested_model", "served_model", "model_version", "adapter_id", "deployment_id", "hop"),
    *("fallback_reason", "egress_class", "stream", "ttft_ms", "tpot_ms", "duration_ms"),
    *("queue_ms", "error_type", "cost_micro", "currency", "price_version", "experiment_id", "arm"),
)
RENAMED = {
    "gen_ai_operation_name": "operation",
    "gen_ai_provider_name": "provider",
    "gen_ai_usage_input_tokens": "input_tokens",
    "gen_ai_usage_output_tokens": "output_tokens",
}
COLUMNS = ("event_id", "occurred_at", "subject_pseudonym", "synthetic", *RENAMED, *_PLAIN)

_MARK_DAYS = """
INSERT INTO usage_dirty_day
SELECT DISTINCT day::date, now() FROM (
    SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date AS first FROM (
        SELECT occurred_at FROM staging
        UNION ALL SELECT told.occurred_at FROM staging AS s CROSS JOIN LATERAL (
            SELECT occurred_at FROM change_event AS c
            WHERE c.request_id = s.event_id AND c.occurred_at >= now() - interval '4 days'
            OFFSET 0
        ) AS told
    ) AS moment
) AS touched, generate_series(first,
    least(first + 27, greatest(first, (now() AT TIME ZONE 'UTC')::date)), '1 day') AS day
"""
"""People are counted over windows, so that a day counts in the 27 after it; and a change that was
reported before its request arrived here learns its model version now."""


def _row(event: UsageEvent) -> Sequence[Any]:
    data = event.data
    fields = [*RENAMED.values(), *_PLAIN]
    return [
        event.id,
        event.time,
        event.subject,
        event.synthetic,
        *(getattr(data, name) for name in fields),
    ]


def events_of(segments: Iterable[Path]) -> list[UsageEvent]:
    """Return the ended requests of segments, each once."""
    ended = {}
    for segment in segments:
        for kind, payload in read_segment(segment):
            if kind == "e":
                event = UsageEvent.model_validate_json(payload)
                ended[event.id] = event
    return list(ended.values())


def recovered_events(segments: Iterable[Path]) -> list[UsageEvent]:
    """Return what a killed process left: its ended requests, and its begun ones as interrupted."""
    begun: dict[Any, UsageEvent] = {}
    segments = list(segments)
    for segment in segments:
        for kind, payload in read_segment(segment):
            if kind == "b":
                event = UsageEvent.model_validate_json(payload)
                begun[event.id] = event
    ended = events_of(segments)
    finished = {event.id for event in ended}
    return [*ended, *(event for event in begun.values() if event.id not in finished)]


async def insert_events(pool: Pool, events: Sequence[UsageEvent]) -> int:
    """Insert events and mark their hours, in one transaction; return how many were new."""
    if not events:
        return 0
    async with pool.connection() as connection:
        await ensure_partitions(connection, "usage_event", (e.time for e in events))
        await connection.execute(
            "CREATE TEMP TABLE IF NOT EXISTS staging (LIKE usage_event) ON COMMIT DELETE ROWS"
        )
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        cursor = connection.cursor()
        async with cursor.copy(sql.SQL("COPY staging ({}) FROM STDIN").format(columns)) as copy:
            for event in events:
                await copy.write_row(_row(event))
        result = await connection.execute(
            sql.SQL(
                "WITH added AS (INSERT INTO usage_event ({columns}) SELECT {columns} FROM staging"
                " ON CONFLICT DO NOTHING RETURNING event_id, subject_pseudonym, occurred_at),"
                " waiting AS ({waiting}),"
                " marked AS (INSERT INTO usage_dirty_hour"
                " SELECT DISTINCT date_trunc('hour', occurred_at, 'UTC'), now()"
                " FROM added)"
                " SELECT count(*) FROM added"
            ).format(columns=columns, waiting=waiting("request"))
        )
        row = await result.fetchone()
        await connection.execute(_MARK_DAYS)
    return int(row[0]) if row else 0


async def recover(pool: Pool, spool: Spool) -> int:
    """Bring in what an earlier process left in the spool; return how many events were new."""
    segments = list(spool.recovered)
    added = await insert_events(pool, recovered_events(segments))
    for segment in segments:
        spool.shipped(segment)
    return added


async def ship(pool: Pool, spool: Spool) -> int:
    """Bring in what has ended since the last call; return how many events were new."""
    segments = spool.seal()
    added = await insert_events(pool, events_of(segments))
    for segment in segments:
        spool.shipped(segment)
    return added
