"""What leaves a boundary: counts of hours and days over cells of at least five people.

Written by the gateway's roll-up, carried by the agent, taken in by the control plane. A bucket (one
hour or one day) is a snapshot of all its cells: a later one replaces the whole, because which cells
are large enough changes as people come in. Hours hold measures of requests, days those of changes
and people: no measure stands in both, so that no difference of two figures isolates a small cell.

Version 1 sent single cells of an hour (`UsageRollup`); `RollupPush.upgrade` keeps them readable.
"""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from wire.resources.base import ModelName
from wire.usage.enumerations import ErrorType, Export, Feature, Ide, Language
from wire.usage.values import BoundaryId, Buckets, Count, GroupName, HourStart, Strict
from wire.version import Message

SMALLEST_CELL: Final = 5
"""People that a cell needs to be shown on its own."""
SUPPRESSED: Final = "(suppressed)"
"""Stands for the values of a dimension whose cells were too small, together."""

Suppressed = Literal["(suppressed)"]
Sequence = Annotated[int, Field(ge=1, le=2**53)]
Milliseconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Cell(Strict):
    """The dimensions of a row; each may be suppressed."""

    group_id: GroupName | Suppressed
    """Group of the keys."""
    model_version: ModelName | Suppressed
    """Name of the base artifact, else `unknown`."""
    adapter_id: ModelName | Suppressed | None
    """Name of the adapter artifact; null for the base model."""
    feature: Feature | Suppressed
    """What people were doing."""
    language: Language | Suppressed
    """Programming language."""
    ide: Ide | Suppressed
    """Editor."""
    synthetic: bool = False
    """Made-up use; never in one row with real use."""


class RequestRow(Cell):
    """Requests of one cell in one hour."""

    requests: Count
    """Requests that were accepted in the hour."""
    requests_expected: Count
    """Of those, answered ones of completion and chat blocks: a change should follow."""
    requests_decided: Count
    """Of those, the ones whose change was decided."""
    input_tokens: Count
    """Sum over the requests."""
    output_tokens: Count
    """Sum over the requests."""
    errors: dict[ErrorType, Count]
    """Requests by error type; `none` never appears, absent means zero."""
    ttft_buckets: Buckets
    """Histogram of the time to first byte; requests without one are not in it."""
    duration_buckets: Buckets
    """Histogram of the duration; every request is in it."""
    ttft_sum_ms: Milliseconds
    """Sum of the times to first byte."""
    duration_sum_ms: Milliseconds
    """Sum of the durations."""

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        _check_counts(self.requests, self.errors, self.duration_buckets, self.ttft_buckets)
        if not self.requests_decided <= self.requests_expected <= self.requests:
            raise ValueError("requests_decided <= requests_expected <= requests must hold")
        return self


class ChangeRow(Cell):
    """Changes of one cell in one day; a change counts on the day it was shown."""

    changes_shown: Count
    """S: distinct changes that were visible for at least `shown_ms` of the bucket."""
    changes_decided: Count
    """Of S, with any decision."""
    changes_offered: Count
    """Of S, completions and chat blocks: what a person can accept; never agent edits."""
    changes_accepted: Count
    """Of the offered, decided `accepted` or `partial`."""
    lines_suggested: Count
    """Lines that the offered changes would add."""
    lines_accepted: Count
    """Of those, the lines of accepted changes; for `partial` the lines taken."""
    changes_reviewed: Count
    """Of S, decided by an act, opened, or visible long enough to be read."""
    not_applied_rejected: Count
    """Of the reviewed, not applied within 24 h: rejected."""
    not_applied_dismissed: Count
    """As before: dismissed."""
    not_applied_lapsed: Count
    """As before: superseded or expired."""
    lines_applied_user: Count
    """Lines added and deleted by changes that a person applied on this day."""
    lines_applied_auto_approved: Count
    """As before, applied under a standing approval."""
    lines_applied_autonomous: Count
    """As before, applied by an agent on its own."""
    lines_undone: Count
    """Of the applied lines, taken back within 10 min."""

    @model_validator(mode="after")
    def _parts_are_not_larger_than_the_whole(self) -> Self:
        if not self.changes_accepted <= self.changes_offered <= self.changes_shown:
            raise ValueError("changes_accepted <= changes_offered <= changes_shown must hold")
        if self.changes_decided > self.changes_shown:
            raise ValueError("changes_decided: more than were shown")
        lost = self.not_applied_rejected + self.not_applied_dismissed + self.not_applied_lapsed
        if not lost <= self.changes_reviewed <= self.changes_shown:
            raise ValueError("not applied <= changes_reviewed <= changes_shown must hold")
        if self.lines_accepted > self.lines_suggested:
            raise ValueError("lines_accepted: more than were suggested")
        return self


class PeopleRow(Strict):
    """Distinct people over a window of days that ends with this day; cannot be added up."""

    group_id: GroupName | None
    """The group, or null for the whole boundary (people of two groups count once)."""
    window_days: Literal[1, 7, 28]
    """Length of the window."""
    synthetic: bool = False
    """Made-up people."""
    active: Count
    """People with a request or a reported event."""
    with_requests: Count | None
    """People with a request; null when they are one to four."""
    with_events: Count | None
    """Of those, people whose client also reported an event; null when they are one to four."""


class Bucket(Strict):
    """What an hour and a day have in common."""

    boundary_id: BoundaryId
    """The boundary."""
    sequence: Sequence
    """Number of the change that wrote this snapshot; grows over the whole boundary."""
    as_of: AwareDatetime
    """When it was computed."""
    is_final: bool
    """True once late events are no longer taken (72 h)."""


class HourBucket(Bucket):
    """The requests of one hour."""

    hour_start: HourStart
    """Start of the hour, UTC."""
    whole: bool = True
    """False only for a cell of version 1: it replaces its own row, not the hour."""
    rows: Annotated[tuple[RequestRow, ...], Field(max_length=10_000)]
    """All cells of the hour."""


class DayBucket(Bucket):
    """The changes and people of one day."""

    day: date
    """The day, UTC."""
    shown_ms: Annotated[int, Field(ge=0, le=60_000)]
    """How long a change had to be visible to count as shown."""
    events_rejected: Count
    """Reported events that were refused on this day."""
    rows: Annotated[tuple[ChangeRow, ...], Field(max_length=10_000)]
    """All cells of the day."""
    people: Annotated[tuple[PeopleRow, ...], Field(max_length=5000)]
    """Distinct people, where there are at least five."""


class UsageRollup(Message):
    """A cell of an hour as version 1 sent it."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    SCHEMA: ClassVar[str] = "ringfence.usage-rollup"

    boundary_id: BoundaryId
    hour_start: HourStart
    group_id: GroupName
    model_version: ModelName
    adapter_id: ModelName | None
    feature: Feature
    sequence: Sequence
    requests: Count
    input_tokens: Count
    output_tokens: Count
    errors: dict[ErrorType, Count]
    ttft_buckets: Buckets
    duration_buckets: Buckets
    ttft_sum_ms: Milliseconds
    duration_sum_ms: Milliseconds
    as_of: AwareDatetime
    is_final: bool

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        _check_counts(self.requests, self.errors, self.duration_buckets, self.ttft_buckets)
        return self

    def to_hour(self) -> HourBucket:
        """Return the cell as a part of an hour; what version 1 did not say is unknown."""
        shared = {"boundary_id", "hour_start", "sequence", "as_of", "is_final"}
        row = self.model_dump(exclude=shared | {"version"})
        return HourBucket(
            **self.model_dump(include=shared),
            whole=False,
            rows=(
                RequestRow(
                    **row,
                    language=Language.UNKNOWN,
                    ide=Ide.UNKNOWN,
                    requests_expected=0,
                    requests_decided=0,
                ),
            ),
        )


class RollupPush(Message):
    """What the gateway hands to the agent and the agent pushes to the control plane."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    SCHEMA: ClassVar[str] = "ringfence.rollup-push"
    VERSION: ClassVar[int] = 2

    export: Export = Export.AGGREGATE
    """Whether counts leave; with `none` everything below is empty. Never `events`: they have a
    message of their own (`EventPush`), beside which counts leave as always."""
    hours: Annotated[tuple[HourBucket, ...], Field(max_length=1000)] = ()
    """Hours that changed, ordered by `sequence`."""
    days: Annotated[tuple[DayBucket, ...], Field(max_length=100)] = ()
    """Days that changed, ordered by `sequence`."""
    sequence: Annotated[int, Field(ge=0, le=2**53)]
    """Ask `?after=` this next; store it with the rows, in one transaction."""

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a push of version 1 as one of version 2: each cell is a part of its hour."""
        rest = {key: value for key, value in raw.items() if key != "rollups"}
        cells = [UsageRollup.from_wire(each) for each in raw.get("rollups", ())]
        return {**rest, "hours": [cell.to_hour().model_dump(mode="json") for cell in cells]}

    @model_validator(mode="after")
    def _none_means_nothing(self) -> Self:
        if self.export is Export.NONE and (self.hours or self.days):
            raise ValueError("export: with `none` no bucket may leave the boundary")
        if self.export is Export.EVENTS:
            raise ValueError("export: roll-ups are counts; say `aggregate`")
        return self


def _check_counts(
    requests: int, errors: dict[ErrorType, int], duration: Buckets, ttft: Buckets
) -> None:
    """Raises: ValueError when the counts of a row contradict each other."""
    if ErrorType.NONE in errors:
        raise ValueError("errors: `none` is not an error; leave it out")
    if sum(errors.values()) > requests:
        raise ValueError("errors: more errors than requests")
    if sum(duration) != requests:
        raise ValueError("duration_buckets: must count every request exactly once")
    if sum(ttft) > requests:
        raise ValueError("ttft_buckets: more first bytes than requests")
