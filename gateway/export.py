"""Hand single events out to the agent, page by page, while the customer lets them out.

Called by the internal API. Separate from `periods`, which decides what may leave: here it is only
put in order, looked up and parsed once more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row
from pydantic import TypeAdapter, ValidationError

from gateway.changes import KINDS
from gateway.database import Pool
from gateway.ledger import RENAMED
from gateway.periods import Period
from wire.usage import (
    EVENT_SCHEMA,
    EventPush,
    Export,
    ExportedEvent,
    RecordedChange,
    RequestCompleted,
    UsageEvent,
)

_EVENT: TypeAdapter[UsageEvent | RecordedChange] = TypeAdapter(ExportedEvent)
_TYPES: Final = {
    kind: f"{'review.suggestion' if kind == 'review' else f'change.{kind}'}.v1"
    for kind in KINDS.values()
}
_DATA: Final = {kind: tuple(data.model_fields) for data, kind in KINDS.items()}
_CHANGE_SCHEMA = "https://schemas.ringfence.dev/usage/{}/1-0-0"


async def next_page(
    pool: Pool, boundary_id: str, after: str, limit: int, log: Callable[[str], None]
) -> EventPush | None:
    """Return the events after a cursor, oldest first; None when no period is open.

    The cursor acknowledges what it names, which is forgotten here. A cursor of another period (or
    of another database) names nothing of this one, so that all of this one is handed out.
    """
    async with pool.connection() as connection:
        period = await _lock_period(connection)
        if period is None:
            return None
        await _acknowledge(connection, period, after)
        period = await _number(connection, period, limit)
        rows = await _read(connection, period, limit)
    # In a thread: making a page takes longer than an answer's first byte may wait.
    return await asyncio.to_thread(_page, period, rows, after, boundary_id, log)


def body_of(push: EventPush) -> bytes:
    """Return a page as JSON, written event by event: one call for all would hold the process up."""
    document = push.model_copy(update={"events": ()}).to_wire()
    written = [orjson.Fragment(event.model_dump_json().encode()) for event in push.events]
    return orjson.dumps({**document, "events": written})


def _page(
    period: Period,
    rows: Sequence[dict[str, Any]],
    after: str,
    boundary_id: str,
    log: Callable[[str], None],
) -> EventPush:
    number = rows[-1]["number"] if rows else _number_in(period, after)
    return EventPush(
        export=Export.EVENTS,
        since=period.started_at,
        events=_events_of(rows, boundary_id, log),
        cursor=f"{period.id}:{number}",
    )


async def _lock_period(connection: AsyncConnection[TupleRow]) -> Period | None:
    rows = await connection.execute(
        "SELECT id, started_at, last_number FROM export_period WHERE ended_at IS NULL FOR UPDATE"
    )
    row = await rows.fetchone()
    return None if row is None else Period(*row)


def _number_in(period: Period, cursor: str) -> int:
    """Return up to which number a cursor acknowledges; never beyond what was handed out."""
    named, _, number = cursor.partition(":")
    return min(int(number), period.last_number) if named == str(period.id) else 0


async def _acknowledge(connection: AsyncConnection[TupleRow], period: Period, cursor: str) -> None:
    await connection.execute(
        "DELETE FROM export_page WHERE period_id = %s AND number <= %s",
        [period.id, _number_in(period, cursor)],
    )


async def _number(connection: AsyncConnection[TupleRow], period: Period, limit: int) -> Period:
    """Give waiting events their numbers, as many as are missing to a page.

    Why a cursor misses nothing while others write: a writer gives no number, it only adds to what
    waits. Numbers are given here, under the lock on the period's row, to what has been committed,
    and each is higher than all before it. An event that commits later still waits, whatever its
    time or id, and gets a higher number in a later page: no lower one can appear behind a cursor.
    """
    rows = await connection.execute(
        "WITH listed AS (SELECT count(*) AS n FROM export_page WHERE period_id = %(period)s),"
        " taken AS (DELETE FROM export_waiting WHERE ctid = ANY (ARRAY("
        "  SELECT ctid FROM export_waiting WHERE period_id = %(period)s ORDER BY occurred_at"
        "  LIMIT greatest(0, %(limit)s - (SELECT n FROM listed)))) RETURNING *),"
        " added AS (INSERT INTO export_page SELECT period_id, %(last)s"
        "  + row_number() OVER (ORDER BY occurred_at, event_id, subject_pseudonym),"
        "  kind, event_id, subject_pseudonym, occurred_at FROM taken RETURNING 1)"
        " UPDATE export_period SET last_number = last_number + (SELECT count(*) FROM added)"
        " WHERE id = %(period)s RETURNING id, started_at, last_number",
        {"period": period.id, "limit": limit, "last": period.last_number},
    )
    row = await rows.fetchone()
    assert row is not None  # locked by this transaction
    return Period(*row)


async def _read(
    connection: AsyncConnection[TupleRow], period: Period, limit: int
) -> list[dict[str, Any]]:
    """Return a page's rows with their events; an event whose day is gone leaves a gap.

    OFFSET 0 keeps each look-up by index, as in `changes`.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(
            "SELECT page.number, request.document AS request, change.document AS change FROM"
            " (SELECT * FROM export_page WHERE period_id = %s ORDER BY number LIMIT %s) AS page"
            " LEFT JOIN LATERAL (SELECT to_jsonb(e)::text AS document FROM usage_event AS e"
            "  WHERE page.kind = 'request' AND e.event_id = page.event_id"
            "  AND e.occurred_at = page.occurred_at OFFSET 0) AS request ON true"
            " LEFT JOIN LATERAL (SELECT to_jsonb(c)::text AS document FROM change_event AS c"
            "  WHERE page.kind = 'change' AND c.event_id = page.event_id"
            "  AND c.subject_pseudonym = page.subject_pseudonym"
            "  AND c.occurred_at = page.occurred_at OFFSET 0) AS change ON true"
            " ORDER BY page.number",
            [period.id, limit],
        )
        return await cursor.fetchall()


def _events_of(
    rows: Sequence[dict[str, Any]], boundary_id: str, log: Callable[[str], None]
) -> tuple[UsageEvent | RecordedChange, ...]:
    """Return the events of rows, parsed once more: nothing leaves but what the schemas know."""
    events = []
    unfit = 0
    for row in rows:
        if row["request"] is None and row["change"] is None:
            continue
        try:
            events.append(_EVENT.validate_python(_document(row, boundary_id)))
        except ValidationError:
            unfit += 1
    if unfit:
        log(f"export: {unfit} events do not fit the schema of this version; they stay")
    return tuple(events)


def _document(row: dict[str, Any], boundary_id: str) -> dict[str, Any]:
    stored = orjson.loads(row["request"] or row["change"])
    envelope = {
        "id": stored["event_id"],
        "source": f"/boundaries/{boundary_id}/gateway",
        "time": stored["occurred_at"],
        "subject": stored["subject_pseudonym"],
        "synthetic": stored["synthetic"],
    }
    if row["request"]:
        fields = {RENAMED.get(name, name): value for name, value in stored.items()}
        data = {name: fields[name] for name in RequestCompleted.model_fields}
        return {**envelope, "type": "usage.request.completed.v1", "dataschema": EVENT_SCHEMA} | {
            "data": data
        }
    kind = stored["kind"]
    name = _TYPES[kind].removesuffix(".v1")
    return {
        **envelope,
        "type": _TYPES[kind],
        "dataschema": _CHANGE_SCHEMA.format(name.replace(".", "-")),
        "boundary_id": stored["boundary_id"],
        "group_id": stored["group_id"],
        "data": {name: stored[name] for name in _DATA[kind]},
    }
