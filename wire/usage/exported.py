"""Events as they leave a boundary whose customer says `export: events`: pseudonymous, and whole.

Written by the gateway, carried by the agent, kept by the control plane. Separate from the roll-ups,
which say `aggregate` beside it: whoever knows no events still understands those. An event is
exactly what the gateway stored: the fields of its schema, and for a reported change those that the
gateway knows of the reporter (`Origin`). No field can hold content here that could not there.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Final, Self

from pydantic import AwareDatetime, ConfigDict, Field, model_validator

from wire.usage.changes import (
    AppliedEvent,
    DecidedEvent,
    Origin,
    ReviewSuggestionEvent,
    ShownEvent,
    SurvivalEvent,
    UndoneEvent,
)
from wire.usage.enumerations import Export
from wire.usage.events import UsageEvent
from wire.version import Message

MAX_PAGE: Final = 1000
"""Events in one message; each is below 2 kB, so that a message stays below two megabytes."""
FIRST_YEAR: Final = 2000
LAST_YEAR: Final = 9998
"""A moment outside cannot be read back by every reader once it is in UTC."""
_SOURCE = re.compile(r"^/boundaries/(?P<boundary>[A-Za-z0-9_-]{1,64})/gateway$")


class Recorded(Origin):
    """What the gateway writes beside a reported change, in its envelope."""

    source: Annotated[str, Field(pattern=r"^/boundaries/[A-Za-z0-9_-]{1,64}/gateway$")]
    """The boundary's gateway."""


class RecordedShown(ShownEvent, Recorded):
    """`change.shown.v1` with who reported it."""


class RecordedDecided(DecidedEvent, Recorded):
    """`change.decided.v1` with who reported it."""


class RecordedApplied(AppliedEvent, Recorded):
    """`change.applied.v1` with who reported it."""


class RecordedUndone(UndoneEvent, Recorded):
    """`change.undone.v1` with who reported it."""


class RecordedSurvival(SurvivalEvent, Recorded):
    """`change.survival.v1` with who reported it."""


class RecordedReview(ReviewSuggestionEvent, Recorded):
    """`review.suggestion.v1` with who reported it."""


RecordedChange = (
    RecordedShown
    | RecordedDecided
    | RecordedApplied
    | RecordedUndone
    | RecordedSurvival
    | RecordedReview
)
ExportedEvent = Annotated[UsageEvent | RecordedChange, Field(discriminator="type")]


def place_of(event: UsageEvent | RecordedChange) -> tuple[str, str]:
    """Return (boundary, group) of an event, wherever its schema keeps them.

    Raises: ValueError when its source and its boundary are not the same.
    """
    of = event.data if isinstance(event, UsageEvent) else event
    found = _SOURCE.fullmatch(event.source)
    if found is None or found["boundary"] != of.boundary_id:
        raise ValueError("source: is not the gateway of the event's boundary")
    return of.boundary_id, of.group_id


class EventPush(Message):
    """A page of events, oldest first, and what the customer lets out at this moment."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    SCHEMA: ClassVar[str] = "ringfence.usage-event-push"

    export: Export
    """What the customer lets out; without `events` nothing else is in here."""
    since: AwareDatetime | None = None
    """When the gateway learnt that events may leave; an earlier event never does."""
    events: Annotated[tuple[ExportedEvent, ...], Field(max_length=MAX_PAGE)] = ()
    """The events, in the order in which they were stored."""
    cursor: Annotated[str, Field(pattern=r"^(|[0-9a-f-]{36}:\d{1,18})$")] = ""
    """Ask `?after=` this once the events are committed: it acknowledges them."""

    @model_validator(mode="after")
    def _only_what_the_customer_lets_out(self) -> Self:
        if self.export is not Export.EVENTS:
            if self.events or self.since is not None or self.cursor:
                raise ValueError("export: only with `events` may an event leave the boundary")
            return self
        if self.since is None:
            raise ValueError("since: must say from when on events may leave")
        if not FIRST_YEAR <= self.since.year <= LAST_YEAR:
            raise ValueError("since: is no moment of this era")
        for event in self.events:
            place_of(event)
            if event.time.year > LAST_YEAR:
                raise ValueError("events: one is of no moment of this era")
            if event.time < self.since:
                raise ValueError("events: one is older than the customer's choice")
        return self
