"""What happened to changes: the six events that IDEs, agents and scanners report.

Sent by clients to `POST /usage/v1/events`, stored by the gateway. Separate from the gateway's own
event because a client is not trusted: it names neither boundary, group nor person. Those are set
from its key, so the form a client sends (`ClientEvent`) has no fields for them.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, Field, TypeAdapter, model_validator

from wire.usage.enumerations import (
    ApplyMode,
    Client,
    CommentType,
    Decision,
    Feature,
    Horizon,
    Ide,
    Language,
)
from wire.usage.values import (
    UNKNOWN,
    BoundaryId,
    ClientVersion,
    GroupName,
    Milliseconds,
    Pseudonym,
    Strict,
)

MAX_BATCH: Final = 500
"""Events in one request."""
SCHEMA_BASE: Final = "https://schemas.ringfence.dev/usage"


def _version_7(value: UUID) -> UUID:
    if value.version != 7:
        raise ValueError("must be a UUID of version 7")
    return value


EventId = Annotated[UUID, AfterValidator(_version_7)]
Lines = Annotated[int, Field(ge=0, le=1_000_000)]
"""Lines of one change; more than a million is a mistake of the client."""
Files = Annotated[int, Field(ge=0, le=100_000)]


class Dimensions(Strict):
    """What a client may say of itself."""

    client: Client = Client.UNKNOWN
    """The program that reports."""
    client_version: ClientVersion = UNKNOWN
    """Digits and dots only."""
    ide: Ide = Ide.UNKNOWN
    """The editor."""
    language: Language = Language.UNKNOWN
    """The programming language of the change."""
    feature: Feature = Feature.UNKNOWN
    """What the person was doing."""


class Shown(Dimensions):
    """Data of `change.shown.v1`: a change was put before a person."""

    change_id: UUID
    """Made by the client; the later events of the same change carry it too."""
    request_id: UUID | None = None
    """`x-request-id` of the answer it came from; ties the change to a model version."""
    lines_suggested_add: Lines
    """Lines it would add."""
    lines_suggested_del: Lines
    """Lines it would delete."""
    files: Files
    """Files it touches."""
    visible_ms: Milliseconds
    """How long it was on the screen."""


class Decided(Dimensions):
    """Data of `change.decided.v1`: what became of a change."""

    change_id: UUID
    """The change."""
    decision: Decision
    """What was decided."""
    decision_ms: Milliseconds
    """From shown to decided."""
    reviewed: bool
    """Whether the client knows that a person looked at it."""
    diff_opened: bool
    """Whether its difference was opened."""
    lines_accepted: Lines | None = None
    """For `partial` only, and required there: how many of the suggested lines were taken."""

    @model_validator(mode="after")
    def _partial_says_how_much(self) -> Self:
        if (self.decision is Decision.PARTIAL) != (self.lines_accepted is not None):
            raise ValueError("lines_accepted goes with decision `partial`, and only with it")
        return self


class Applied(Dimensions):
    """Data of `change.applied.v1`: a change was written into files."""

    change_id: UUID
    """The change; an autonomous one need not have been shown."""
    request_id: UUID | None = None
    """As in `change.shown.v1`; for changes that were never shown."""
    apply_mode: ApplyMode
    """Who applied it."""
    lines_added: Lines
    """Lines added."""
    lines_deleted: Lines
    """Lines deleted."""
    files: Files
    """Files touched."""


class Undone(Dimensions):
    """Data of `change.undone.v1`: an applied change was taken back."""

    change_id: UUID
    """The change."""
    lines_undone: Lines
    """Lines taken back."""
    after_ms: Milliseconds
    """From applied to undone."""


class Survival(Dimensions):
    """Data of `change.survival.v1`: how many applied lines were still there."""

    horizon: Horizon
    """When it was looked at."""
    original_ai_loc: Lines
    """Lines that had been applied."""
    unchanged_ai_loc: Lines
    """Of those, the ones still there as they were."""
    modified_ai_loc: Lines
    """Of those, the ones still there and edited."""
    deleted_ai_loc: Lines
    """Of those, the ones gone."""

    @model_validator(mode="after")
    def _parts_make_the_whole(self) -> Self:
        parts = self.unchanged_ai_loc + self.modified_ai_loc + self.deleted_ai_loc
        if parts != self.original_ai_loc:
            raise ValueError("unchanged, modified and deleted lines must add up to the original")
        return self


class ReviewSuggestion(Dimensions):
    """Data of `review.suggestion.v1`: suggestions of one review."""

    suggested: Lines
    """Suggestions made."""
    applied: Lines
    """Of those, the ones applied."""
    comment_type: CommentType
    """What they were about."""

    @model_validator(mode="after")
    def _applied_were_suggested(self) -> Self:
        if self.applied > self.suggested:
            raise ValueError("applied: more than were suggested")
        return self


class ClientEvent(Strict):
    """What a client sends: CloudEvents 1.0 without `source` and `subject`, which its key decides.

    The gateway adds `source`, `subject`, `boundary_id`, `group_id` and `synthetic`.
    """

    specversion: Literal["1.0"] = "1.0"
    """Version of CloudEvents."""
    id: EventId
    """UUIDv7; the same id of the same subject at the same time is stored once."""
    time: AwareDatetime
    """When it happened: at most 72 h ago, at most 5 min ahead of the gateway's clock."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Always JSON."""


class ShownEvent(ClientEvent):
    """`change.shown.v1`."""

    type: Literal["change.shown.v1"] = "change.shown.v1"
    """Kind and version of the data."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/change-shown/1-0-0"] = (
        "https://schemas.ringfence.dev/usage/change-shown/1-0-0"
    )
    """Versioned name of the schema; nothing is fetched from there."""
    data: Shown
    """The record itself."""


class DecidedEvent(ClientEvent):
    """`change.decided.v1`."""

    type: Literal["change.decided.v1"] = "change.decided.v1"
    """Kind and version of the data."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/change-decided/1-0-0"] = (
        "https://schemas.ringfence.dev/usage/change-decided/1-0-0"
    )
    """Versioned name of the schema."""
    data: Decided
    """The record itself."""


class AppliedEvent(ClientEvent):
    """`change.applied.v1`."""

    type: Literal["change.applied.v1"] = "change.applied.v1"
    """Kind and version of the data."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/change-applied/1-0-0"] = (
        "https://schemas.ringfence.dev/usage/change-applied/1-0-0"
    )
    """Versioned name of the schema."""
    data: Applied
    """The record itself."""


class UndoneEvent(ClientEvent):
    """`change.undone.v1`."""

    type: Literal["change.undone.v1"] = "change.undone.v1"
    """Kind and version of the data."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/change-undone/1-0-0"] = (
        "https://schemas.ringfence.dev/usage/change-undone/1-0-0"
    )
    """Versioned name of the schema."""
    data: Undone
    """The record itself."""


class SurvivalEvent(ClientEvent):
    """`change.survival.v1`."""

    type: Literal["change.survival.v1"] = "change.survival.v1"
    """Kind and version of the data."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/change-survival/1-0-0"] = (
        "https://schemas.ringfence.dev/usage/change-survival/1-0-0"
    )
    """Versioned name of the schema."""
    data: Survival
    """The record itself."""


class ReviewSuggestionEvent(ClientEvent):
    """`review.suggestion.v1`."""

    type: Literal["review.suggestion.v1"] = "review.suggestion.v1"
    """Kind and version of the data."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/review-suggestion/1-0-0"] = (
        "https://schemas.ringfence.dev/usage/review-suggestion/1-0-0"
    )
    """Versioned name of the schema."""
    data: ReviewSuggestion
    """The record itself."""


AnyClientEvent = Annotated[
    ShownEvent | DecidedEvent | AppliedEvent | UndoneEvent | SurvivalEvent | ReviewSuggestionEvent,
    Field(discriminator="type"),
]
CLIENT_EVENT: Final[TypeAdapter[AnyClientEvent]] = TypeAdapter(AnyClientEvent)


class Origin(Strict):
    """What the gateway knows of a reporter and writes beside each of its events."""

    boundary_id: BoundaryId
    """The boundary."""
    group_id: GroupName
    """The key's group when the event came in."""
    subject: Pseudonym
    """Pseudonym of the key's owner."""
    synthetic: bool = False
    """True for made-up use (a replay)."""
