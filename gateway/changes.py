"""Write reported changes into the database: staged, each once, acknowledged after the commit.

Called by `intake`. Separate from the ledger of requests, whose events come from the spool: here the
client keeps its events until we have committed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from gateway.database import Pool
from gateway.partitions import ensure_partitions
from gateway.periods import waiting
from wire.usage import (
    AnyClientEvent,
    Applied,
    Decided,
    Origin,
    RejectReason,
    ReviewSuggestion,
    Shown,
    Survival,
    Undone,
)

KINDS: Final[Mapping[type[Any], str]] = {
    Shown: "shown",
    Decided: "decided",
    Applied: "applied",
    Undone: "undone",
    Survival: "survival",
    ReviewSuggestion: "review",
}
_HEAD = ("event_id", "occurred_at", "kind", "boundary_id", "subject_pseudonym", "group_id")
_DATA = tuple(dict.fromkeys(name for kind in KINDS for name in kind.model_fields))
COLUMNS: Final = (*_HEAD, "synthetic", *_DATA)
_NULL = "\\N"
_MARKS = """
WITH related AS (
    SELECT earlier.occurred_at, earlier.request_id
    FROM (SELECT DISTINCT change_id FROM staged_change WHERE change_id IS NOT NULL) AS staged
    CROSS JOIN LATERAL (
        SELECT occurred_at, request_id FROM change_event AS c
        WHERE c.change_id = staged.change_id
          AND c.occurred_at >= date_trunc('day', now(), 'UTC') - interval '3 days'
        OFFSET 0
    ) AS earlier
    UNION ALL SELECT occurred_at, request_id FROM staged_change
),
days AS (
    INSERT INTO usage_dirty_day
    SELECT DISTINCT day::date, now() FROM (
        SELECT DISTINCT (occurred_at AT TIME ZONE 'UTC')::date AS first FROM related
    ) AS touched, generate_series(first,
        least(first + 27, greatest(first, (now() AT TIME ZONE 'UTC')::date)), '1 day') AS day
)
INSERT INTO usage_dirty_hour
SELECT DISTINCT date_trunc('hour', asked.occurred_at, 'UTC'), now()
FROM (SELECT DISTINCT request_id FROM related WHERE request_id IS NOT NULL) AS named
CROSS JOIN LATERAL (
    SELECT occurred_at FROM usage_event AS e
    WHERE e.event_id = named.request_id AND e.occurred_at >= now() - interval '73 hours'
    OFFSET 0
) AS asked
"""
"""A late decision changes the day on which its change was shown and the hour of its request, unless
these are final. People are counted over windows, so that a day counts in the 27 after it.

OFFSET 0 keeps each look-up by index: as a plain join the planner reads the whole day per batch."""


def _text(value: Any) -> str:
    """Return a value in COPY's text form. None of ours can hold a tab, a newline or a backslash:
    they are numbers, UUIDs, moments and members of closed lists."""
    if value is None:
        return _NULL
    if value is True or value is False:
        return "t" if value else "f"
    return str(value)


def _line(event: AnyClientEvent, head: Mapping[str, str]) -> str:
    data = event.data
    kind = KINDS[type(data)]
    known = type(data).model_fields
    fields = [str(event.id), event.time.isoformat(), kind, head["boundary_id"]]
    fields += [head["subject"], head["group_id"], head["synthetic"]]
    fields += [_text(getattr(data, name)) if name in known else _NULL for name in _DATA]
    return "\t".join(fields)


async def _count_rejected(
    connection: AsyncConnection[TupleRow], today: date, rejected: Counter[RejectReason]
) -> None:
    if not rejected:
        return
    cursor = connection.cursor()
    await cursor.executemany(
        "INSERT INTO usage_rejected AS old VALUES (%s, %s, %s) ON CONFLICT (day, reason)"
        " DO UPDATE SET events = old.events + excluded.events",
        [(today, reason.value, number) for reason, number in sorted(rejected.items())],
    )
    await connection.execute("INSERT INTO usage_dirty_day VALUES (%s, now())", [today])


async def insert_changes(
    pool: Pool, origin: Origin, events: Sequence[AnyClientEvent], rejected: Counter[RejectReason]
) -> int:
    """Insert events of one reporter and count the refused ones; return how many were new."""
    head = {
        **origin.model_dump(include={"boundary_id", "group_id", "subject"}),
        "synthetic": _text(origin.synthetic),
    }
    columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
    async with pool.connection() as connection:
        added = 0
        if events:
            await ensure_partitions(connection, "change_event", (e.time for e in events))
            await connection.execute(
                "CREATE TEMP TABLE IF NOT EXISTS staged_change (LIKE change_event)"
                " ON COMMIT DELETE ROWS"
            )
            lines = "\n".join(_line(event, head) for event in events) + "\n"
            cursor = connection.cursor()
            statement = sql.SQL("COPY staged_change ({}) FROM STDIN").format(columns)
            async with cursor.copy(statement) as copy:
                await copy.write(lines.encode())
            result = await connection.execute(
                sql.SQL(
                    "WITH added AS (INSERT INTO change_event ({columns})"
                    " SELECT {columns} FROM staged_change ORDER BY event_id"
                    " ON CONFLICT DO NOTHING RETURNING event_id, subject_pseudonym, occurred_at),"
                    " waiting AS ({waiting})"
                    " SELECT count(*) FROM added"
                ).format(columns=columns, waiting=waiting("change"))
            )
            row = await result.fetchone()
            added = int(row[0]) if row else 0
            if added:
                await connection.execute(_MARKS)
        await _count_rejected(connection, datetime.now(UTC).date(), rejected)
    return added
