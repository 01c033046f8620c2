"""Roll the changes and people of one day up, and make the snapshot that may leave.

Called by `rollup`. A change belongs to the day on which it was first shown; what was decided,
applied or undone later is joined to it, so the day is computed anew when that comes in. Applied
lines belong to the day on which they were applied.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, time
from typing import Any, Final

from psycopg import AsyncConnection
from psycopg.rows import TupleRow, dict_row

from gateway.hours import OFFERED, exported
from gateway.suppression import DIMENSIONS, Headcount, withhold
from wire.usage import SMALLEST_CELL

WINDOWS: Final = (1, 7, 28)
MEASURES: Final = (
    *("changes_shown", "changes_decided", "changes_offered", "changes_accepted"),
    *("lines_suggested", "lines_accepted", "changes_reviewed", "not_applied_rejected"),
    *("not_applied_dismissed", "not_applied_lapsed", "lines_applied_user"),
    *("lines_applied_auto_approved", "lines_applied_autonomous", "lines_undone"),
)
_CELL: Final = ", ".join((*DIMENSIONS, "synthetic"))

_SHOWN = """
shown AS (
    SELECT DISTINCT ON (s.subject_pseudonym, s.change_id) s.*,
           s.lines_suggested_add + s.lines_suggested_del AS lines
    FROM change_event AS s
    WHERE s.kind = 'shown' AND s.occurred_at >= %(start)s
      AND s.occurred_at < %(start)s + interval '1 day'
      AND NOT EXISTS (
        SELECT FROM change_event AS earlier
        WHERE earlier.change_id = s.change_id AND earlier.kind = 'shown'
          AND earlier.subject_pseudonym = s.subject_pseudonym
          AND earlier.occurred_at >= %(start)s - interval '4 days'
          AND earlier.occurred_at < %(start)s)
    ORDER BY s.subject_pseudonym, s.change_id, s.visible_ms DESC, s.occurred_at
),
decided AS (
    SELECT DISTINCT ON (subject_pseudonym, change_id) subject_pseudonym, change_id, decision,
           lines_accepted, reviewed, diff_opened
    FROM change_event
    WHERE kind = 'decided' AND occurred_at >= %(start)s
      AND occurred_at < %(start)s + interval '4 days'
    ORDER BY subject_pseudonym, change_id, occurred_at DESC, event_id DESC
),
put AS (
    SELECT subject_pseudonym, change_id, min(occurred_at) AS first_at
    FROM change_event
    WHERE kind = 'applied' AND occurred_at >= %(start)s
      AND occurred_at < %(start)s + interval '3 days'
    GROUP BY 1, 2
),
judged AS (
    SELECT s.group_id, s.feature, s.language, s.ide, s.synthetic, s.subject_pseudonym,
           s.change_id, s.lines_suggested_add, d.decision, d.lines_accepted AS taken,
           s.feature = ANY (%(offered)s) AS offered,
           coalesce(d.decision IN ('accepted', 'partial', 'rejected', 'dismissed'), false)
             OR coalesce(d.reviewed OR d.diff_opened, false)
             OR s.visible_ms >= greatest(750, 50 * s.lines) AS looked_at,
           p.first_at IS NULL OR p.first_at > s.occurred_at + interval '24 hours' AS not_put
    FROM shown AS s
    LEFT JOIN decided AS d USING (subject_pseudonym, change_id)
    LEFT JOIN put AS p USING (subject_pseudonym, change_id)
    WHERE s.visible_ms >= %(shown_ms)s
)"""
"""S of the definitions is `judged`; an event's latest decision counts."""

_APPLIED = """
applied AS (
    SELECT subject_pseudonym, change_id, min(event_id::text)::uuid AS one,
           sum(lines_added + lines_deleted) AS lines
    FROM change_event
    WHERE kind = 'applied' AND occurred_at >= %(start)s
      AND occurred_at < %(start)s + interval '1 day'
    GROUP BY 1, 2
),
undone AS (
    SELECT subject_pseudonym, change_id, sum(lines_undone) AS lines
    FROM change_event
    WHERE kind = 'undone' AND after_ms <= 600000 AND occurred_at >= %(start)s
      AND occurred_at < %(start)s + interval '2 days'
    GROUP BY 1, 2
),
put_today AS (
    SELECT e.*, e.lines_added + e.lines_deleted AS lines,
           CASE WHEN e.event_id = a.one THEN least(coalesce(u.lines, 0), a.lines) END AS taken_back
    FROM change_event AS e
    JOIN applied AS a USING (subject_pseudonym, change_id)
    LEFT JOIN undone AS u USING (subject_pseudonym, change_id)
    WHERE e.kind = 'applied' AND e.occurred_at >= %(start)s
      AND e.occurred_at < %(start)s + interval '1 day'
)"""
"""Lines taken back count once per change, and never more than were applied."""

_AGGREGATE = f"""
WITH {_SHOWN},
{_APPLIED},
source AS (
    SELECT DISTINCT ON (subject_pseudonym, change_id) subject_pseudonym, change_id, request_id
    FROM change_event
    WHERE request_id IS NOT NULL AND occurred_at >= %(start)s - interval '4 days'
      AND occurred_at < %(start)s + interval '1 day'
    ORDER BY subject_pseudonym, change_id, occurred_at
),
model AS (
    SELECT s.subject_pseudonym, s.change_id, e.model_version,
           coalesce(e.adapter_id, '') AS adapter_id
    FROM source AS s JOIN usage_event AS e
      ON e.event_id = s.request_id AND e.subject_pseudonym = s.subject_pseudonym
    WHERE e.occurred_at >= %(start)s - interval '8 days'
      AND e.occurred_at < %(start)s + interval '1 day'
),
fact AS (
    SELECT group_id, feature, language, ide, synthetic, subject_pseudonym, change_id,
           1 AS changes_shown,
           (decision IS NOT NULL)::int AS changes_decided,
           offered::int AS changes_offered,
           (offered AND coalesce(decision IN ('accepted', 'partial'), false))::int
             AS changes_accepted,
           CASE WHEN offered THEN lines_suggested_add ELSE 0 END AS lines_suggested,
           CASE WHEN offered AND decision = 'accepted' THEN lines_suggested_add
                WHEN offered AND decision = 'partial' THEN least(taken, lines_suggested_add)
                ELSE 0 END AS lines_accepted,
           looked_at::int AS changes_reviewed,
           coalesce(looked_at AND not_put AND decision = 'rejected', false)::int
             AS not_applied_rejected,
           coalesce(looked_at AND not_put AND decision = 'dismissed', false)::int
             AS not_applied_dismissed,
           coalesce(looked_at AND not_put AND decision IN ('superseded', 'expired'), false)::int
             AS not_applied_lapsed,
           0 AS lines_applied_user, 0 AS lines_applied_auto_approved,
           0 AS lines_applied_autonomous, 0 AS lines_undone
    FROM judged
    UNION ALL
    SELECT group_id, feature, language, ide, synthetic, subject_pseudonym, change_id,
           0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
           CASE WHEN apply_mode = 'user' THEN lines ELSE 0 END,
           CASE WHEN apply_mode = 'auto_approved' THEN lines ELSE 0 END,
           CASE WHEN apply_mode = 'autonomous' THEN lines ELSE 0 END,
           coalesce(taken_back, 0)
    FROM put_today
)
SELECT group_id, coalesce(model_version, 'unknown') AS model_version,
       coalesce(adapter_id, '') AS adapter_id, feature, language, ide, synthetic,
       {", ".join(f"sum({name})::bigint AS {name}" for name in MEASURES)},
       array_agg(DISTINCT subject_pseudonym) AS people
FROM fact LEFT JOIN model USING (subject_pseudonym, change_id)
GROUP BY 1, 2, 3, 4, 5, 6, 7
"""  # noqa: S608 - only constants of this module are interpolated
_INSERT = f"""
INSERT INTO change_daily (day, {_CELL}, {", ".join(MEASURES)})
VALUES (%(day)s, {", ".join(f"%({name})s" for name in (*DIMENSIONS, "synthetic", *MEASURES))})
"""  # noqa: S608 - only constants of this module are interpolated

_PEOPLE = """
INSERT INTO user_daily
SELECT %(day)s, group_id, subject_pseudonym, synthetic, sum(requests), sum(events) FROM (
    SELECT group_id, subject_pseudonym, synthetic, 1 AS requests, 0 AS events FROM usage_event
    WHERE occurred_at >= %(start)s AND occurred_at < %(start)s + interval '1 day'
    UNION ALL
    SELECT group_id, subject_pseudonym, synthetic, 0, 1 FROM change_event
    WHERE occurred_at >= %(start)s AND occurred_at < %(start)s + interval '1 day'
) AS act
GROUP BY group_id, subject_pseudonym, synthetic
"""
_HEADCOUNT = """
SELECT group_id, synthetic, count(*), count(*) FILTER (WHERE requests > 0),
       count(*) FILTER (WHERE requests > 0 AND events > 0)
FROM (
    SELECT subject_pseudonym, synthetic, group_id,
           sum(requests) AS requests, sum(events) AS events
    FROM user_daily WHERE day > %(day)s - %(window)s::int AND day <= %(day)s
    GROUP BY GROUPING SETS
        ((subject_pseudonym, synthetic, group_id), (subject_pseudonym, synthetic))
) AS person
GROUP BY group_id, synthetic
"""
"""The group is null in the rows of the whole boundary, in which a person of two groups is one."""


async def roll_up_day(
    connection: AsyncConnection[TupleRow], day: date, shown_ms: int
) -> dict[str, Any]:
    """Recompute one day and return the snapshot that may leave."""
    start = datetime.combine(day, time(), UTC)
    given = {"day": day, "start": start, "offered": list(OFFERED), "shown_ms": shown_ms}
    async with connection.cursor(row_factory=dict_row) as cursor:
        await cursor.execute(_AGGREGATE, given)
        rows = await cursor.fetchall()
        await cursor.execute("DELETE FROM change_daily WHERE day = %(day)s", given)
        await cursor.executemany(_INSERT, [{**row, "day": day} for row in rows])
        await cursor.execute("DELETE FROM user_daily WHERE day = %(day)s", given)
        await cursor.execute(_PEOPLE, given)
    refused = await connection.execute(
        "SELECT coalesce(sum(events), 0)::bigint FROM usage_rejected WHERE day = %s", [day]
    )
    (rejected,) = await refused.fetchone() or (0,)
    return {
        "day": day.isoformat(),
        "shown_ms": shown_ms,
        "events_rejected": rejected,
        "rows": [
            row
            for synthetic in (False, True)
            for row in exported([r for r in rows if r["synthetic"] is synthetic], MEASURES)
        ],
        "people": [row for window in WINDOWS for row in await _headcounts(connection, day, window)],
    }


async def _headcounts(
    connection: AsyncConnection[TupleRow], day: date, window: int
) -> list[dict[str, Any]]:
    found = await connection.execute(_HEADCOUNT, {"day": day, "window": window})
    counted = await found.fetchall()
    return [
        {
            "group_id": count.group_id,
            "window_days": window,
            "synthetic": synthetic,
            "active": count.active,
            "with_requests": _large_enough(count.with_requests),
            "with_events": _large_enough(count.with_events),
        }
        for synthetic in (False, True)
        for count in withhold(
            [Headcount(g, a, r, e) for g, s, a, r, e in counted if s is synthetic]
        )
    ]


def _large_enough(count: int) -> int | None:
    """Return a part of a headcount, or None when it is about a few."""
    return count if count == 0 or count >= SMALLEST_CELL else None
