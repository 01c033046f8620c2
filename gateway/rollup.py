"""Roll raw events up by hour inside the boundary, serve the result, delete what is old.

Run by `main` as a loop; read by the internal API. Separate from `ledger` because only this output
may leave the boundary. Every hour is computed anew from its events, so repeating it is harmless; a
row gets a new sequence number only when its content changed.
"""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow, dict_row

from gateway.database import Pool
from wire.usage import HISTOGRAM_BOUNDS_S, RollupPush, UsageRollup

OPEN_FOR = timedelta(hours=72)
"""An hour is final this long after it ended."""
_ROLLUP_LOCK = 0x524F4C4C
_HOURS_PER_PASS = 24


def _buckets(column: str) -> str:
    """Return SQL for a histogram array; bounds are inclusive, a null is not counted."""
    bounds = [f"{bound * 1000:g}" for bound in HISTOGRAM_BOUNDS_S]
    ranges = [
        f"{column} <= {bounds[0]}",
        *(f"{column} > {a} AND {column} <= {b}" for a, b in itertools.pairwise(bounds)),
        f"{column} > {bounds[-1]}",
    ]
    counts = ", ".join(f"count(*) FILTER (WHERE {each})" for each in ranges)
    return f"ARRAY[{counts}]::bigint[]"


_AGGREGATE = f"""
WITH event AS (
    SELECT *, coalesce(adapter_id, '') AS adapter FROM usage_event
    WHERE occurred_at >= %(hour)s AND occurred_at < %(hour)s + interval '1 hour'
),
error AS (
    SELECT boundary_id, group_id, model_version, adapter, feature,
           jsonb_object_agg(error_type, n) AS errors
    FROM (
        SELECT boundary_id, group_id, model_version, adapter, feature, error_type, count(*) AS n
        FROM event WHERE error_type <> 'none' GROUP BY 1, 2, 3, 4, 5, 6
    ) AS counted GROUP BY 1, 2, 3, 4, 5
),
total AS (
    SELECT boundary_id, group_id, model_version, adapter, feature, count(*) AS requests,
           sum(gen_ai_usage_input_tokens)::bigint AS input_tokens,
           sum(gen_ai_usage_output_tokens)::bigint AS output_tokens,
           {_buckets("ttft_ms")} AS ttft_buckets,
           {_buckets("duration_ms")} AS duration_buckets,
           coalesce(sum(ttft_ms), 0) AS ttft_sum_ms,
           sum(duration_ms) AS duration_sum_ms
    FROM event GROUP BY 1, 2, 3, 4, 5
)
INSERT INTO usage_hourly AS old
SELECT boundary_id, %(hour)s, group_id, model_version, adapter, feature,
       nextval('usage_rollup_sequence'), requests, input_tokens, output_tokens,
       coalesce(errors, '{{}}'), ttft_buckets, duration_buckets, ttft_sum_ms, duration_sum_ms,
       now(), %(final)s
FROM total LEFT JOIN error USING (boundary_id, group_id, model_version, adapter, feature)
ORDER BY 1, 3, 4, 5, 6
ON CONFLICT (boundary_id, hour_start, group_id, model_version, adapter_id, feature) DO UPDATE SET
    sequence = excluded.sequence, requests = excluded.requests,
    input_tokens = excluded.input_tokens, output_tokens = excluded.output_tokens,
    errors = excluded.errors, ttft_buckets = excluded.ttft_buckets,
    duration_buckets = excluded.duration_buckets, ttft_sum_ms = excluded.ttft_sum_ms,
    duration_sum_ms = excluded.duration_sum_ms, as_of = excluded.as_of,
    is_final = excluded.is_final
WHERE (old.requests, old.input_tokens, old.output_tokens, old.errors, old.duration_buckets,
       old.is_final)
   IS DISTINCT FROM (excluded.requests, excluded.input_tokens, excluded.output_tokens,
       excluded.errors, excluded.duration_buckets, excluded.is_final)
"""  # noqa: S608 - only constants of this module are interpolated


async def roll_up(pool: Pool, now: datetime, retention_days: int) -> int:
    """Recompute hours with new events and hours that became final; return how many.

    One transaction under an advisory lock: sequence numbers commit in their own order, so a reader
    that asks for what is after N misses nothing.
    """
    oldest = _midnight(now) - timedelta(days=retention_days)
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ROLLUP_LOCK])
        # Hours whose raw events are gone are never recomputed: that would lose counts.
        await connection.execute("DELETE FROM usage_dirty_hour WHERE hour_start < %s", [oldest])
        await connection.execute(
            "INSERT INTO usage_dirty_hour SELECT DISTINCT hour_start, now() FROM usage_hourly"
            " WHERE NOT is_final AND hour_start + interval '1 hour' <= %s AND hour_start >= %s"
            " ORDER BY 1 ON CONFLICT DO NOTHING",
            [now - OPEN_FOR, oldest],
        )
        rows = await connection.execute(
            "DELETE FROM usage_dirty_hour WHERE hour_start IN"
            " (SELECT hour_start FROM usage_dirty_hour ORDER BY hour_start LIMIT %s)"
            " RETURNING hour_start",
            [_HOURS_PER_PASS],
        )
        hours = sorted(row[0] for row in await rows.fetchall())
        for hour in hours:
            final = hour + timedelta(hours=1) <= now - OPEN_FOR
            await connection.execute(_AGGREGATE, {"hour": hour, "final": final})
    return len(hours)


async def list_rollups(pool: Pool, boundary_id: str, after: int, limit: int) -> RollupPush:
    """Return the rows changed after a sequence number, oldest change first."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT * FROM usage_hourly WHERE boundary_id = %s AND sequence > %s"
            " ORDER BY sequence LIMIT %s",
            [boundary_id, after, limit],
        )
        rows = await cursor.fetchall()
    rollups = tuple(
        UsageRollup.model_validate({**row, "adapter_id": row["adapter_id"] or None}) for row in rows
    )
    hours = tuple(cell.to_hour() for cell in rollups)
    return RollupPush(hours=hours, sequence=rollups[-1].sequence if rollups else after)


async def _partitions(connection: AsyncConnection[TupleRow]) -> list[str]:
    rows = await connection.execute(
        "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
        " WHERE i.inhparent = 'usage_event'::regclass"
    )
    return [str(row[0]) for row in await rows.fetchall()]


async def delete_old(pool: Pool, now: datetime, retention_days: int) -> int:
    """Drop the days of raw events past retention; return how many. Roll-ups stay."""
    oldest = _midnight(now) - timedelta(days=retention_days)
    dropped = 0
    async with pool.connection() as connection:
        await connection.execute("SET LOCAL lock_timeout = '5s'")
        for name in await _partitions(connection):
            if name < f"usage_event_{oldest:%Y%m%d}":
                await connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
                dropped += 1
    return dropped


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
