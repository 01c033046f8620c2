"""Days of raw events: made when they are first needed, dropped as a whole when they are old.

Used by the two writers and by retention. Separate because both tables of raw events are divided in
the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Final

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

TABLES: Final = ("usage_event", "change_event")
_LOCK = 0x50415254


def midnight(moment: datetime) -> datetime:
    """Return the start of a moment's day, UTC."""
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


async def ensure_partitions(
    connection: AsyncConnection[TupleRow], table: str, moments: Iterable[datetime]
) -> None:
    """Make the partitions that events of these moments need."""
    for day in sorted({midnight(moment) for moment in moments}):
        name = f"{table}_{day:%Y%m%d}"
        # Asked first, because creating locks the whole table even when there is nothing to do.
        rows = await connection.execute("SELECT to_regclass(%s)", [name])
        if (row := await rows.fetchone()) is not None and row[0] is not None:
            continue
        # Two writers that need the same day at once would both make it, and one would fail.
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        await connection.execute(
            sql.SQL(
                "CREATE TABLE IF NOT EXISTS {} PARTITION OF {} FOR VALUES FROM ({}) TO ({})"
            ).format(
                sql.Identifier(name),
                sql.Identifier(table),
                sql.Literal(day.isoformat()),
                sql.Literal((day + timedelta(days=1)).isoformat()),
            )
        )


async def drop_partitions(connection: AsyncConnection[TupleRow], oldest: datetime) -> int:
    """Drop the days before `oldest`; return how many."""
    dropped = 0
    for table in TABLES:
        rows = await connection.execute(
            "SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = %s::regclass",
            [table],
        )
        for (name,) in await rows.fetchall():
            if str(name) < f"{table}_{oldest:%Y%m%d}":
                await connection.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(name)))
                dropped += 1
    return dropped
