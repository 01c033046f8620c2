"""Summaries of a boundary's use: rows of a window, added up and put through the formulae.

Called by `GET /v1/boundaries/{b}/usage/summary`. Separate from the intake, which knows no formula.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.errors import InvalidRequestError
from controlplane.domains.usage import repository
from controlplane.domains.usage.metrics import METRICS, Measures, Metric, People
from controlplane.domains.usage.repository import CHANGE_SUMS, REQUEST_SUMS, Window
from controlplane.domains.usage.schemas import By, Figure, SplitRow, UsageSummaryOut
from controlplane.tables.usage import UsageBucketRow, UsagePeopleRow
from wire.usage import BUCKETS, SMALLEST_CELL

WINDOWS: Final = (1, 7, 28)
"""Lengths in days for which boundaries count distinct people."""
LONGEST_DAYS: Final = 366


def make_window(first: date | None, last: date | None) -> Window:
    """Return the window asked for; without an end it ends today, without a start it has 28 days.

    Raises: InvalidRequestError.
    """
    last = last or now().date()
    first = first or last - timedelta(days=27)
    if first > last:
        raise InvalidRequestError(
            "from is after to", field="from", fix="give two days, the earlier one as `from`"
        )
    window = Window(first, last)
    if window.days > LONGEST_DAYS:
        raise InvalidRequestError(
            f"the window has {window.days} days",
            field="from",
            fix=f"ask for at most {LONGEST_DAYS} days at a time",
        )
    return window


def summarize(session: Session, boundary_id: UUID, window: Window, by: By) -> UsageSummaryOut:
    """Return a window's figures, and the same figures for each value of `by`."""
    total = _collect(session, boundary_id, window, By.NONE)
    rows = {} if by is By.NONE else _collect(session, boundary_id, window, by)
    buckets = repository.list_buckets(session, boundary_id, window)
    whole = total.get("", _Selection())
    return UsageSummaryOut(
        as_of=max((b.as_of for b in buckets), default=None),
        is_final=bool(buckets) and all(b.is_final for b in buckets),
        from_=window.first,
        to=window.last,
        export=repository.word_of(repository.find_export_row(session, boundary_id)),
        synthetic=whole.synthetic,
        smallest_cell=SMALLEST_CELL,
        shown_ms=sorted({b.shown_ms for b in buckets if b.shown_ms is not None}),
        events_rejected=sum(b.events_rejected for b in buckets),
        metrics=[_figure(metric, whole.measures) for metric in METRICS],
        rows=[_row(name, rows[name], buckets, by) for name in sorted(rows)],
    )


class _Selection:
    """The counts of one value of a split while they are put together."""

    def __init__(self) -> None:
        self.measures = Measures()
        self.synthetic = False

    def add(self, **fields: Any) -> None:
        self.measures = replace(self.measures, **fields)


def _collect(session: Session, boundary_id: UUID, window: Window, by: By) -> dict[str, _Selection]:
    found: dict[str, _Selection] = {}
    for row in repository.sum_requests(session, boundary_id, window, by):
        selection = found.setdefault(row.split, _Selection())
        selection.add(failed=int(row.failed), **_sums(row, REQUEST_SUMS), **_histograms(row))
        selection.synthetic |= row.synthetic
    for row in repository.sum_changes(session, boundary_id, window, by):
        selection = found.setdefault(row.split, _Selection())
        selection.add(**_sums(row, CHANGE_SUMS))
        selection.synthetic |= row.synthetic
    for name, people in _people(session, boundary_id, window, by).items():
        found.setdefault(name, _Selection()).add(people=people)
    return found


def _sums(row: Row[Any], names: Iterable[str]) -> dict[str, int]:
    return {name: int(row._mapping[name]) for name in names}


def _histograms(row: Row[Any]) -> dict[str, tuple[int, ...]]:
    return {
        name: tuple(int(row._mapping[f"{name}_{i}"]) for i in range(BUCKETS))
        for name in ("ttft_buckets", "duration_buckets")
    }


def _people(session: Session, boundary_id: UUID, window: Window, by: By) -> Mapping[str, People]:
    """Return distinct people where the boundary counted them: per day, per group, in all.

    Real and made-up people are different people by construction, so the two may be added.
    """
    if by is By.DAY:
        rows = repository.list_people(session, boundary_id, window, 1)
        return _add_up((r.day.isoformat(), r) for r in rows if not r.group_name)
    if by not in {By.NONE, By.GROUP} or window.days not in WINDOWS:
        return {}
    ending = Window(window.last, window.last)
    rows = repository.list_people(session, boundary_id, ending, window.days)
    if by is By.GROUP:
        return _add_up((r.group_name, r) for r in rows if r.group_name)
    return _add_up(("", r) for r in rows if not r.group_name)


def _add_up(named: Iterable[tuple[str, UsagePeopleRow]]) -> dict[str, People]:
    found: dict[str, People] = {}
    for name, row in named:
        old = found.get(name, People(0, 0, 0))
        found[name] = People(
            old.active + row.active,
            _known_sum(old.with_requests, row.with_requests),
            _known_sum(old.with_events, row.with_events),
        )
    return found


def _known_sum(left: int | None, right: int | None) -> int | None:
    return None if left is None or right is None else left + right


def _figure(metric: Metric, measures: Measures) -> Figure:
    value, numerator, denominator = metric.compute(measures)
    return Figure(
        key=metric.key,
        label=metric.label,
        unit=metric.unit,
        value=value,
        numerator=numerator,
        denominator=denominator,
        formula=metric.formula,
    )


def _row(name: str, selection: _Selection, buckets: list[UsageBucketRow], by: By) -> SplitRow:
    triples = {metric.key: metric.compute(selection.measures) for metric in METRICS}
    of_it = buckets
    if by is By.DAY:
        of_it = [b for b in buckets if f"{b.starts_at:%Y-%m-%d}" == name]
    freshest: datetime | None = max((b.as_of for b in of_it), default=None)
    return SplitRow(
        by=name,
        metrics={key: triple[0] for key, triple in triples.items()},
        numerators={key: triple[1] for key, triple in triples.items()},
        denominators={key: triple[2] for key, triple in triples.items()},
        as_of=freshest,
        is_final=bool(of_it) and all(b.is_final for b in of_it),
        synthetic=selection.synthetic,
    )
