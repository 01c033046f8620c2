"""Roll raw events up inside the boundary, keep what may leave as snapshots, delete what is old.

Run by `main` as a loop; the snapshots are read by the internal API. Separate from the writers,
because only this output may leave the boundary. What is marked is computed anew from its events, so
repeating it is harmless; a snapshot gets a new sequence number only when its content changed.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from gateway.database import Pool
from gateway.days import roll_up_day
from gateway.hours import hour_is_final, roll_up_hour
from gateway.partitions import drop_partitions, midnight
from wire.usage import DayBucket, Export, HourBucket, RollupPush

OPEN_FOR: Final = timedelta(hours=72)
"""An hour or a day is final this long after it ended."""
KEEP_PEOPLE_DAYS: Final = 90
_ROLLUP_LOCK = 0x524F4C4C
_HOURS_PER_PASS = 24
_DAYS_PER_PASS = 4
_ROWS_PER_PUSH = 4000
"""Rows after which a push ends, so that it stays a few megabytes."""


async def _mark_finished(
    connection: AsyncConnection[TupleRow], now: datetime, oldest: datetime
) -> None:
    """Mark what became final, and today when people of earlier days count in its windows."""
    for table in ("usage_dirty_hour", "usage_dirty_day"):
        column = "hour_start" if table == "usage_dirty_hour" else "day"
        # Hours and days whose raw events are gone are never recomputed: that would lose counts.
        await connection.execute(f"DELETE FROM {table} WHERE {column} < %s", [oldest])  # noqa: S608 - constants
    await connection.execute(
        "INSERT INTO usage_dirty_hour SELECT starts_at, now() FROM usage_bucket"
        " WHERE grain = 'hour' AND NOT is_final AND starts_at >= %s"
        " AND starts_at + interval '1 hour' <= %s",
        [oldest, now - OPEN_FOR],
    )
    await connection.execute(
        "INSERT INTO usage_dirty_day SELECT (starts_at AT TIME ZONE 'UTC')::date, now()"
        " FROM usage_bucket WHERE grain = 'day' AND NOT is_final AND starts_at >= %s"
        " AND starts_at + interval '1 day' <= %s",
        [oldest, now - OPEN_FOR],
    )
    await connection.execute(
        "INSERT INTO usage_dirty_day SELECT %(today)s, now()"
        " WHERE NOT EXISTS (SELECT FROM usage_bucket WHERE grain = 'day' AND starts_at = %(start)s)"
        " AND EXISTS (SELECT FROM user_daily WHERE day > %(today)s - 28)",
        {"today": now.astimezone(UTC).date(), "start": midnight(now)},
    )


async def _take(
    connection: AsyncConnection[TupleRow], table: str, column: str, limit: int
) -> list[Any]:
    """Take the oldest marks that are visible; a mark of a writer still at work stays."""
    rows = await connection.execute(
        f"DELETE FROM {table} WHERE {column} IN"  # noqa: S608 - constants
        f" (SELECT DISTINCT {column} FROM {table} ORDER BY {column} LIMIT %s) RETURNING {column}",
        [limit],
    )
    return sorted({row[0] for row in await rows.fetchall()})


async def _keep(
    connection: AsyncConnection[TupleRow],
    grain: str,
    starts_at: datetime,
    document: dict[str, Any],
    *,
    final: bool,
) -> None:
    """Store a snapshot; only a changed one gets a new sequence number."""
    rows = len(document["rows"]) + len(document.get("people", ()))
    await connection.execute(
        "INSERT INTO usage_bucket AS old"
        " VALUES (%s, %s, nextval('usage_rollup_sequence'), %s, %s, now(), %s)"
        " ON CONFLICT (grain, starts_at) DO UPDATE SET sequence = excluded.sequence,"
        " row_count = excluded.row_count, document = excluded.document, as_of = excluded.as_of,"
        " is_final = excluded.is_final"
        " WHERE (old.document, old.is_final) IS DISTINCT FROM"
        " (excluded.document, excluded.is_final)",
        [grain, starts_at, rows, Jsonb(document), final],
    )


async def plan_for_many(connection: AsyncConnection[TupleRow]) -> None:
    """Keep the planner from nested loops in this transaction.

    A partition of today has no statistics yet, so the planner expects one row where there are a
    hundred thousand; the joins by change would then take quadratic time.
    """
    await connection.execute("SET LOCAL enable_nestloop = off")


async def roll_up(
    pool: Pool, boundary_id: str, now: datetime, retention_days: int, shown_ms: int
) -> int:
    """Recompute what is marked or became final; return how many hours and days.

    One transaction under an advisory lock: sequence numbers commit in their own order, so a reader
    that asks for what is after N misses nothing.
    """
    oldest = midnight(now) - timedelta(days=retention_days)
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_ROLLUP_LOCK])
        await plan_for_many(connection)
        await _mark_finished(connection, now, oldest)
        hours = await _take(connection, "usage_dirty_hour", "hour_start", _HOURS_PER_PASS)
        for hour in hours:
            final = hour_is_final(hour, now, OPEN_FOR)
            document = await roll_up_hour(connection, boundary_id, hour, final=final)
            await _keep(connection, "hour", hour, document, final=final)
        days: list[date] = await _take(connection, "usage_dirty_day", "day", _DAYS_PER_PASS)
        for day in days:
            start = datetime.combine(day, time(), UTC)
            document = await roll_up_day(connection, day, shown_ms)
            final = start + timedelta(days=1) <= now - OPEN_FOR
            await _keep(connection, "day", start, document, final=final)
    return len(hours) + len(days)


async def list_buckets(pool: Pool, boundary_id: str, after: int, limit: int) -> RollupPush:
    """Return the snapshots changed after a sequence number, oldest change first."""
    async with pool.connection() as connection, connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT * FROM (SELECT *, sum(row_count) OVER (ORDER BY sequence) - row_count AS before"
            " FROM usage_bucket WHERE sequence > %s ORDER BY sequence LIMIT %s) AS changed"
            " WHERE before < %s ORDER BY sequence",
            [after, limit, _ROWS_PER_PUSH],
        )
        rows = await cursor.fetchall()
    hours: list[HourBucket] = []
    days: list[DayBucket] = []
    for row in rows:
        shared = {name: row[name] for name in ("sequence", "as_of", "is_final")}
        document = {"boundary_id": boundary_id, **shared, **row["document"]}
        if row["grain"] == "hour":
            hours.append(HourBucket.model_validate(document))
        else:
            days.append(DayBucket.model_validate(document))
    return RollupPush(
        export=Export.AGGREGATE,
        hours=tuple(hours),
        days=tuple(days),
        sequence=rows[-1]["sequence"] if rows else after,
    )


async def delete_old(pool: Pool, now: datetime, retention_days: int) -> int:
    """Drop the days of raw events past retention; return how many. Roll-ups stay.

    Rows per person and day go after 90 days.
    """
    async with pool.connection() as connection:
        await connection.execute("SET LOCAL lock_timeout = '5s'")
        await connection.execute(
            "DELETE FROM user_daily WHERE day < %s",
            [(midnight(now) - timedelta(days=KEEP_PEOPLE_DAYS)).date()],
        )
        return await drop_partitions(connection, midnight(now) - timedelta(days=retention_days))
