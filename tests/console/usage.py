"""A week of usage of boundary payments, as its agent would push it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from wire.usage import (
    ChangeRow,
    DayBucket,
    Feature,
    HourBucket,
    Ide,
    Language,
    PeopleRow,
    RequestRow,
    RollupPush,
)

CELL: dict[str, Any] = {
    "group_id": "payments-engineers",
    "model_version": "tiny-coder",
    "adapter_id": "payments-style",
    "feature": Feature.CODE_COMPLETION,
    "language": Language.PYTHON,
    "ide": Ide.VSCODE,
}


def week(boundary_id: str) -> RollupPush:
    """Return the push of the last seven days, the working days busier than the others."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    days = [today - timedelta(days=n) for n in range(6, -1, -1)]
    busy = (420, 610, 90, 60, 540, 700, 350)
    return RollupPush(
        sequence=20,
        hours=tuple(
            _hour(boundary_id, at, number, i + 1)
            for i, (at, number) in enumerate(zip(days, busy, strict=True))
        ),
        days=tuple(
            _day(boundary_id, at, number, i + 11)
            for i, (at, number) in enumerate(zip(days, busy, strict=True))
        ),
    )


def _hour(boundary_id: str, at: datetime, number: int, sequence: int) -> HourBucket:
    buckets = (0, 0, number, *([0] * 12))
    row = RequestRow(
        **CELL,
        requests=number,
        requests_expected=number,
        requests_decided=number // 2,
        input_tokens=180 * number,
        output_tokens=41 * number,
        errors={"upstream_error": number // 60} if number >= 60 else {},
        ttft_buckets=buckets,
        duration_buckets=buckets,
        ttft_sum_ms=38.0 * number,
        duration_sum_ms=400.0 * number,
        synthetic=True,
    )
    return HourBucket(
        boundary_id=boundary_id,
        sequence=sequence,
        as_of=at + timedelta(minutes=5),
        is_final=False,
        hour_start=at,
        rows=(row,),
    )


def _day(boundary_id: str, at: datetime, number: int, sequence: int) -> DayBucket:
    names = set(ChangeRow.model_fields) - set(CELL) - {"synthetic"}
    shown = number // 3
    counts = {
        **dict.fromkeys(names, 0),
        "changes_shown": shown,
        "changes_decided": shown,
        "changes_offered": shown,
        "changes_accepted": shown * 2 // 5,
        "lines_suggested": shown * 4,
        "lines_accepted": shown,
        "changes_reviewed": shown * 3 // 4,
        "not_applied_rejected": shown // 5,
        "not_applied_dismissed": shown // 10,
        "lines_applied_user": shown * 2,
        "lines_applied_autonomous": shown // 2,
        "lines_undone": shown // 12,
    }
    return DayBucket(
        boundary_id=boundary_id,
        sequence=sequence,
        as_of=at + timedelta(minutes=5),
        is_final=False,
        day=at.date(),
        shown_ms=750,
        events_rejected=0,
        rows=(ChangeRow(**CELL, **counts, synthetic=True),),
        people=(PeopleRow(group_id=None, window_days=1, active=9, with_requests=8, with_events=6),),
    )
