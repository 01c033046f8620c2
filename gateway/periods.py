"""When events may leave the boundary, and which: the customer's policy, written down as periods.

Used by the two writers of raw events, by `main` and by `export`. Separate from the pages that are
handed out, because this is the promise: an event may leave if it both happened and was stored in
the period that is still open. What is stored while none is open stands in no list from which it
could leave, and a new period never goes on with an old one.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal
from uuid import UUID, uuid4

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from gateway.database import Pool
from gateway.partitions import midnight
from wire.usage import Export

_LISTS: Final = ("export_waiting", "export_page")


@dataclass(frozen=True)
class Period:
    """A time in which the customer lets events out."""

    id: UUID
    started_at: datetime
    last_number: int


def waiting(kind: Literal["request", "change"]) -> sql.Composed:
    """Return the statement that lists what a writer's statement has just `added`, if it may leave.

    A writer that does not see yet that a period has ended lists its events under that one, from
    which nothing leaves any more.
    """
    return sql.SQL(
        "INSERT INTO export_waiting SELECT period.id, {}, added.event_id, added.subject_pseudonym,"
        " added.occurred_at FROM added, export_period AS period"
        " WHERE period.ended_at IS NULL AND added.occurred_at >= period.started_at"
    ).format(sql.Literal(kind))


async def follow_policy(pool: Pool, export: Export, now: datetime) -> None:
    """Open or end the period as the policy says now; what waited in an ended one is dropped.

    `now` is this process' clock, which also dates the requests.
    """
    async with pool.connection() as connection:
        rows = await connection.execute("SELECT id FROM export_period WHERE ended_at IS NULL")
        is_open = await rows.fetchone() is not None
        if export is Export.EVENTS and not is_open:
            await connection.execute(
                "INSERT INTO export_period (id, started_at) VALUES (%s, %s) ON CONFLICT DO NOTHING",
                [uuid4(), now],
            )
        elif export is not Export.EVENTS and is_open:
            await connection.execute(
                "UPDATE export_period SET ended_at = greatest(%s, started_at)"
                " WHERE ended_at IS NULL",
                [now],
            )
            await _forget_ended(connection)


async def _forget_ended(connection: AsyncConnection[TupleRow]) -> None:
    """Delete what the lists of ended periods hold."""
    for table in _LISTS:
        await connection.execute(
            f"DELETE FROM {table} WHERE period_id NOT IN"  # noqa: S608 - constants
            " (SELECT id FROM export_period WHERE ended_at IS NULL)"
        )


async def delete_old_listings(pool: Pool, now: datetime, retention_days: int) -> None:
    """Delete from the lists what nobody asked for until its events went, and late additions."""
    oldest = midnight(now) - timedelta(days=retention_days)
    async with pool.connection() as connection:
        await _forget_ended(connection)
        for table in _LISTS:
            await connection.execute(f"DELETE FROM {table} WHERE occurred_at < %s", [oldest])  # noqa: S608 - constants
