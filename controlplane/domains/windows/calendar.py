"""When weekly windows are open, over changes of the clock. Pure.

Used by the gate of runs and by what people are shown. A window opens at a local time of day and
lasts real minutes: one that begins at 02:30 on the day when clocks go from 02:00 to 03:00 opens at
03:30, and an hour stays an hour on every day.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True)
class Weekly:
    """A window of every week."""

    days: frozenset[str]
    starts: time
    length: timedelta
    zone: ZoneInfo


@dataclass(frozen=True)
class Standing:
    """Whether windows are open at a moment; `until` is when that ends, None when it never does."""

    is_open: bool
    until: datetime | None


def standing(windows: Iterable[Weekly], at: datetime) -> Standing:
    """Return how things stand at `at`; no windows at all means always open."""
    every = list(windows)
    if not every:
        return Standing(True, None)
    spans = _merged(span for window in every for span in _spans(window, at))
    for opens, closes in spans:
        if opens <= at < closes:
            return Standing(True, closes)
        if opens > at:
            return Standing(False, opens)
    raise AssertionError("a weekly window opens within nine days")


def _spans(window: Weekly, at: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Yield the openings from before the longest window could have begun to a week ahead."""
    today = at.astimezone(window.zone).date()
    for offset in range(-8, 9):
        day = today + timedelta(days=offset)
        if DAYS[day.weekday()] in window.days:
            opens = _moment(day, window.starts, window.zone)
            yield opens, opens + window.length


def _moment(day: date, at: time, zone: ZoneInfo) -> datetime:
    # A local time that a change of the clock leaves out is read with the offset from before it.
    return datetime.combine(day, at, zone).astimezone(UTC)


def _merged(spans: Iterable[tuple[datetime, datetime]]) -> list[tuple[datetime, datetime]]:
    """Return spans in order, those that touch as one."""
    merged: list[tuple[datetime, datetime]] = []
    for opens, closes in sorted(spans):
        if merged and opens <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], closes))
        else:
            merged.append((opens, closes))
    return merged
