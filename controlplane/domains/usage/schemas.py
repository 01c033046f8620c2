"""Usage as the API shows it."""

from __future__ import annotations

from datetime import date, datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, Field


class UsageRow(BaseModel):
    """One hour of one cell of requests."""

    hour: datetime
    group_id: str
    model_version: str
    adapter_id: str | None
    feature: str
    language: str
    ide: str
    synthetic: bool
    requests: int
    input_tokens: int
    output_tokens: int
    as_of: datetime
    is_final: bool


class UsageOut(BaseModel):
    """Rows, newest hour first."""

    items: list[UsageRow]


class By(StrEnum):
    """What a summary is split by."""

    NONE = "none"
    DAY = "day"
    GROUP = "group"
    MODEL_VERSION = "model_version"
    FEATURE = "feature"
    LANGUAGE = "language"


class Figure(BaseModel):
    """One metric of the whole window."""

    key: str
    label: str
    unit: str
    """share, count, lines, people, tokens or s."""
    value: float | None
    """Null when there is nothing to compute it from, or it is withheld."""
    numerator: float | None
    denominator: float | None
    formula: str
    """In words, as it was computed."""


class SplitRow(BaseModel):
    """The metrics of one value of the split."""

    by: str
    """The value; `unknown` and `(suppressed)` stand like any other."""
    metrics: dict[str, float | None]
    numerators: dict[str, float | None]
    denominators: dict[str, float | None]
    as_of: datetime | None
    is_final: bool
    synthetic: bool


class UsageSummaryOut(BaseModel):
    """What a boundary let out about its use in a window of days."""

    as_of: datetime | None
    """When the newest of the counts was computed inside the boundary; null without any."""
    is_final: bool
    """Whether every hour and day of the window is final."""
    from_: date = Field(serialization_alias="from")
    """First day, UTC."""
    to: date
    """Last day, included."""
    export: str
    """What the boundary lets out: `none`, `aggregate`, `events`, or `unknown` before it said."""
    synthetic: bool
    """Whether made-up use is in the figures."""
    smallest_cell: int
    """People below which a value is shown as `(suppressed)` or withheld."""
    shown_ms: list[int]
    """How long a change had to be visible to count as shown, as set on the days of the window."""
    events_rejected: int
    """Reported events that the gateway refused."""
    metrics: list[Figure]
    rows: list[SplitRow]
    """Empty with `by=none`."""


class StoredEventOut(BaseModel):
    """One event as it left its boundary."""

    position: int
    """Place in the order of arrival."""
    received_at: datetime
    event: dict[str, Any]
    """CloudEvents 1.0; see the reference of usage events. The subject is a pseudonym."""


class UsageEventsOut(BaseModel):
    """A page of single events; empty where the boundary lets none out."""

    export: str
    """What the boundary lets out: `none`, `aggregate`, `events`, or `unknown` before it said."""
    since: datetime | None
    """From when on events leave; null when none do."""
    kept_days: int
    """Age at which an event is deleted."""
    events: list[StoredEventOut]
    """In the order of arrival."""
    next_after: int
    """Ask `after` this for what comes next; nothing that arrives later is behind it."""
    more: bool
    """Whether there is more already."""
