"""Roll the requests of one hour up: counts and histograms per cell, and what may leave of them.

Called by `rollup`. Every hour is computed anew from its events, so repeating it is harmless.
"""

from __future__ import annotations

import itertools
from datetime import datetime, timedelta
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row
from psycopg.types.json import Jsonb

from gateway.suppression import DIMENSIONS, PeopleCell, suppress
from wire.usage import HISTOGRAM_BOUNDS_S

OFFERED: Final = ("code_completion", "chat_ask", "chat_edit", "chat_inline")
"""Completions and chat blocks: a person is offered a change and decides; never agent edits."""
_CELL: Final = ", ".join((*DIMENSIONS, "synthetic"))
MEASURES: Final = (
    *("requests", "requests_expected", "requests_decided", "input_tokens", "output_tokens"),
    *("errors", "ttft_buckets", "duration_buckets", "ttft_sum_ms", "duration_sum_ms"),
)


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
WITH decided AS (
    SELECT DISTINCT s.request_id FROM change_event AS s
    JOIN change_event AS d USING (change_id, subject_pseudonym)
    WHERE s.request_id IS NOT NULL AND d.kind = 'decided'
      AND s.occurred_at >= %(hour)s AND s.occurred_at < %(hour)s + interval '4 days'
      AND d.occurred_at >= %(hour)s AND d.occurred_at < %(hour)s + interval '8 days'
),
event AS (
    SELECT group_id, model_version, coalesce(adapter_id, '') AS adapter_id, feature, language, ide,
           synthetic, error_type, ttft_ms, duration_ms, subject_pseudonym,
           gen_ai_usage_input_tokens, gen_ai_usage_output_tokens,
           error_type = 'none' AND feature = ANY (%(offered)s) AS expected,
           decided.request_id IS NOT NULL AS decided
    FROM usage_event LEFT JOIN decided ON decided.request_id = event_id
    WHERE occurred_at >= %(hour)s AND occurred_at < %(hour)s + interval '1 hour'
),
error AS (
    SELECT {_CELL}, jsonb_object_agg(error_type, n) AS errors
    FROM (
        SELECT {_CELL}, error_type, count(*) AS n
        FROM event WHERE error_type <> 'none' GROUP BY {_CELL}, error_type
    ) AS counted GROUP BY {_CELL}
),
total AS (
    SELECT {_CELL}, count(*) AS requests,
           count(*) FILTER (WHERE expected) AS requests_expected,
           count(*) FILTER (WHERE expected AND decided) AS requests_decided,
           sum(gen_ai_usage_input_tokens)::bigint AS input_tokens,
           sum(gen_ai_usage_output_tokens)::bigint AS output_tokens,
           {_buckets("ttft_ms")} AS ttft_buckets,
           {_buckets("duration_ms")} AS duration_buckets,
           coalesce(sum(ttft_ms), 0) AS ttft_sum_ms,
           sum(duration_ms) AS duration_sum_ms,
           array_agg(DISTINCT subject_pseudonym) AS people
    FROM event GROUP BY {_CELL}
)
SELECT total.*, coalesce(errors, '{{}}') AS errors FROM total LEFT JOIN error USING ({_CELL})
"""  # noqa: S608 - only constants of this module are interpolated
_INSERT = f"""
INSERT INTO usage_hourly (boundary_id, hour_start, as_of, is_final, {_CELL}, {", ".join(MEASURES)})
VALUES (%(boundary_id)s, %(hour)s, now(), %(final)s,
        {", ".join(f"%({name})s" for name in (*DIMENSIONS, "synthetic", *MEASURES))})
"""  # noqa: S608 - only constants of this module are interpolated


async def roll_up_hour(
    connection: AsyncConnection[TupleRow], boundary_id: str, hour: datetime, *, final: bool
) -> dict[str, Any]:
    """Recompute one hour and return the snapshot that may leave."""
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_AGGREGATE, {"hour": hour, "offered": list(OFFERED)})
        rows = await cursor.fetchall()
        await cursor.execute("DELETE FROM usage_hourly WHERE hour_start = %s", [hour])
        shared = {"boundary_id": boundary_id, "hour": hour, "final": final}
        await cursor.executemany(_INSERT, [{**row, **shared, **_json(row)} for row in rows])
    return {
        "hour_start": hour.isoformat(),
        "rows": [
            row
            for synthetic in (False, True)
            for row in exported([r for r in rows if r["synthetic"] is synthetic], MEASURES)
        ],
    }


def _json(row: dict[str, Any]) -> dict[str, Any]:
    return {"errors": Jsonb(row["errors"])}


def exported(rows: list[dict[str, Any]], measures: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the rows that may leave; all are either made up or real."""
    cells = [
        PeopleCell(
            tuple(row[name] for name in DIMENSIONS),
            frozenset(row["people"]),
            {name: row[name] for name in measures},
        )
        for row in rows
    ]
    return [
        {
            **dict(zip(DIMENSIONS, cell.key, strict=True)),
            "adapter_id": cell.key[DIMENSIONS.index("adapter_id")] or None,
            "synthetic": rows[0]["synthetic"],
            **cell.measures,
        }
        for cell in suppress(cells)
    ]


def hour_is_final(hour: datetime, now: datetime, open_for: timedelta) -> bool:
    """Return whether late events are no longer taken for an hour."""
    return hour + timedelta(hours=1) <= now - open_for
