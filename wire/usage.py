"""Usage messages: the event a gateway writes per request and the roll-up that leaves a boundary.

Written by the gateway into the boundary's own database, handed to the agent as roll-ups, taken in
by the control plane. Separate because it is the one schema that decides what may leave a boundary:
no field here can hold code, a prompt, a path, a symbol or a branch. Every string is a closed
enumeration or matches a narrow pattern; unknown fields are refused.

Event versions live in `type` and `dataschema` (CloudEvents 1.0); roll-ups are messages of
`wire.version`: a reader accepts N and N-1.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, ClassVar, Final, Literal, Self
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from wire.resources.base import ModelName
from wire.version import Message

EVENT_TYPE: Final = "usage.request.completed.v1"
EVENT_SCHEMA: Final = "https://schemas.ringfence.dev/usage/request-completed/1-0-0"
UNKNOWN: Final = "unknown"

HISTOGRAM_BOUNDS_S: Final[tuple[float, ...]] = tuple(round(0.01 * 2**n, 2) for n in range(14))
"""Upper bounds in seconds, 0.01 … 81.92, of the OTel GenAI duration metrics; `le` is inclusive."""
BUCKETS: Final = len(HISTOGRAM_BOUNDS_S) + 1
"""One more bucket than bounds: the last counts everything above 81.92 s."""

GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
BoundaryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$")]
Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""HMAC-SHA-256 of the owner under the boundary's key; the key never leaves the boundary."""
ClientVersion = Annotated[str, Field(pattern=r"^(?:unknown|\d{1,4}(?:\.\d{1,5}){0,3})$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
Milliseconds = Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)]


def _whole_hour(value: datetime) -> datetime:
    if value.utcoffset() != timedelta(0):
        raise ValueError("hour_start must be in UTC")
    if value.minute or value.second or value.microsecond:
        raise ValueError("hour_start must be a whole hour")
    return value


HourStart = Annotated[AwareDatetime, AfterValidator(_whole_hour)]


class Feature(StrEnum):
    """What the person was doing: Copilot's buckets, plus `unknown`, which is never dropped."""

    CODE_COMPLETION = "code_completion"
    CHAT_ASK = "chat_ask"
    CHAT_EDIT = "chat_edit"
    CHAT_AGENT = "chat_agent"
    AGENT_EDIT = "agent_edit"
    CHAT_INLINE = "chat_inline"
    CLI = "cli"
    REVIEW = "review"
    UNKNOWN = "unknown"


class Client(StrEnum):
    """The program that called, recognised by its user agent."""

    OPENAI_PYTHON = "openai_python"
    OPENAI_NODE = "openai_node"
    RINGFENCE_CLI = "ringfence_cli"
    CONTINUE = "continue"
    CURL = "curl"
    OTHER = "other"
    UNKNOWN = "unknown"


class Ide(StrEnum):
    """The editor the caller says it runs in."""

    VSCODE = "vscode"
    JETBRAINS = "jetbrains"
    NEOVIM = "neovim"
    VIM = "vim"
    EMACS = "emacs"
    ECLIPSE = "eclipse"
    VISUAL_STUDIO = "visual_studio"
    XCODE = "xcode"
    OTHER = "other"
    UNKNOWN = "unknown"


class Language(StrEnum):
    """The programming language the caller says it works in."""

    C = "c"
    CPP = "cpp"
    CSHARP = "csharp"
    GO = "go"
    JAVA = "java"
    JAVASCRIPT = "javascript"
    KOTLIN = "kotlin"
    PHP = "php"
    PYTHON = "python"
    R = "r"
    RUBY = "ruby"
    RUST = "rust"
    SCALA = "scala"
    SHELL = "shell"
    SQL = "sql"
    SWIFT = "swift"
    TYPESCRIPT = "typescript"
    OTHER = "other"
    UNKNOWN = "unknown"


class EgressClass(StrEnum):
    """Where the answer came from: `boundary` is the only class until provider endpoints exist."""

    BOUNDARY = "boundary"
    NONE = "none"
    """Nothing was dispatched (the request was refused)."""


class UsageSource(StrEnum):
    """Where the token counts come from."""

    REPORTED = "reported"
    """The engine's own final figures."""
    COUNTED = "counted"
    """Chunks counted by the gateway because the stream ended before the engine reported."""


class ErrorType(StrEnum):
    """Why a request did not end well; `none` when it did."""

    NONE = "none"
    MODEL_NOT_FOUND = "model_not_found"
    """Unknown to the boundary or outside the caller's entitlement: the two are not told apart."""
    INVALID_REQUEST = "invalid_request"
    """The gateway or the engine refused the request's shape (4xx)."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    """No connection to the engine."""
    UPSTREAM_ERROR = "upstream_error"
    """The engine answered 5xx, or its stream broke."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    CLIENT_CANCELLED = "client_cancelled"
    """The caller went away before the answer was complete."""
    INTERRUPTED = "interrupted"
    """The gateway itself died while it answered; written at its next start."""


class Operation(StrEnum):
    """`gen_ai.operation.name`."""

    CHAT = "chat"
    TEXT_COMPLETION = "text_completion"


class _Strict(BaseModel):
    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


class RequestCompleted(_Strict):
    """Data of `usage.request.completed.v1`; OTel GenAI names stand verbatim as aliases."""

    boundary_id: BoundaryId
    """The boundary that answered."""
    group_id: GroupName
    """The key's group at the time of the request."""
    client: Client = Client.UNKNOWN
    """Recognised by the user agent."""
    client_version: ClientVersion = UNKNOWN
    """Digits and dots only."""
    ide: Ide = Ide.UNKNOWN
    """From `X-Ringfence-Ide`."""
    language: Language = Language.UNKNOWN
    """From `X-Ringfence-Language`."""
    feature: Feature = Feature.UNKNOWN
    """From `X-Ringfence-Feature`."""

    operation: Operation = Field(alias="gen_ai.operation.name")
    """What was asked for."""
    provider: Literal["llama_cpp", "vllm", "unknown"] = Field(alias="gen_ai.provider.name")
    """Dialect of the engine."""
    input_tokens: Count = Field(alias="gen_ai.usage.input_tokens")
    """Tokens of the prompt."""
    output_tokens: Count = Field(alias="gen_ai.usage.output_tokens")
    """Tokens of the answer, reasoning included."""
    cache_read_tokens: Count = 0
    """Input tokens the engine read from its prompt cache."""
    cache_creation_tokens: Count = 0
    """Input tokens written to a cache; 0 where the engine does not say."""
    reasoning_tokens: Count = 0
    """Output tokens that were reasoning."""
    usage_source: UsageSource
    """`counted` when the stream ended before the engine reported."""

    requested_model: ModelName
    """A name of the boundary's routing table, else `unknown`: never the caller's free text."""
    served_model: ModelName | None
    """The name that answered; null when nothing was dispatched."""
    model_version: ModelName
    """Name of the base artifact, else `unknown`."""
    adapter_id: ModelName | None
    """Name of the adapter artifact; null for the base model."""
    deployment_id: ModelName
    """The ModelInstance, else `unknown`."""
    hop: Annotated[int, Field(ge=0, le=16)] = 0
    """Which target in a row of fallbacks answered; 0 is the first."""
    fallback_reason: Literal["none"] = "none"
    """Fallback does not exist yet; a later version opens the enumeration."""
    egress_class: EgressClass
    """Where the answer came from; `none` when nothing was dispatched."""

    stream: bool
    """Whether the caller asked for a stream."""
    ttft_ms: Milliseconds | None
    """Request accepted to first byte of the answer; null when no byte was sent."""
    tpot_ms: Milliseconds | None
    """Per output token after the first; null below two tokens."""
    duration_ms: Milliseconds
    """Request accepted to end of the answer."""
    queue_ms: Milliseconds
    """Time the request waited in the gateway before dispatch."""
    error_type: ErrorType
    """`none` when the request ended well."""

    cost_micro: Count = 0
    """Millionths of `currency`; 0 until prices exist."""
    currency: Literal["none", "USD", "EUR"] = "none"
    """Currency of the cost."""
    price_version: Literal["none"] = "none"
    """Prices do not exist yet; a later version opens the enumeration."""
    experiment_id: UUID | None = None
    """The experiment the request was part of."""
    arm: Annotated[int, Field(ge=0, le=15)] | None = None
    """Its arm."""


class UsageEvent(_Strict):
    """CloudEvents 1.0 envelope; (`source`, `id`) is the key for de-duplication."""

    specversion: Literal["1.0"] = "1.0"
    """Version of CloudEvents."""
    id: UUID
    """UUIDv7, made when the request is accepted."""
    source: Annotated[str, Field(pattern=r"^/boundaries/[A-Za-z0-9_-]{1,64}/gateway$")]
    """The boundary's gateway."""
    type: Literal["usage.request.completed.v1"] = EVENT_TYPE
    """Kind and version of the data."""
    time: AwareDatetime
    """When the request was accepted."""
    subject: Pseudonym
    """Pseudonym of the key's owner."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Always JSON."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/request-completed/1-0-0"] = (
        EVENT_SCHEMA
    )
    """Versioned name of the schema; nothing is fetched from there."""
    data: RequestCompleted
    """The record itself, below."""


Buckets = Annotated[tuple[Count, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]


class UsageRollup(Message):
    """Counts of one hour of one (group, model version, adapter, feature); no person, no content.

    A row is a snapshot that replaces an earlier one of the same key: take the highest `sequence`.
    """

    model_config = ConfigDict(use_attribute_docstrings=True)

    SCHEMA: ClassVar[str] = "ringfence.usage-rollup"

    boundary_id: BoundaryId
    """The boundary."""
    hour_start: HourStart
    """Start of the hour, UTC."""
    group_id: GroupName
    """Group of the keys."""
    model_version: ModelName
    """Name of the base artifact, else `unknown`."""
    adapter_id: ModelName | None
    """Name of the adapter artifact; null for the base model."""
    feature: Feature
    """What people were doing."""
    sequence: Annotated[int, Field(ge=1, le=2**53)]
    """Number of the change that wrote this snapshot; grows over the whole boundary."""
    requests: Count
    """Requests that were accepted in the hour."""
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
    ttft_sum_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Sum of the times to first byte."""
    duration_sum_ms: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    """Sum of the durations."""
    as_of: AwareDatetime
    """When the row was computed."""
    is_final: bool
    """True once late events are no longer expected for the hour (3 UTC days)."""

    @model_validator(mode="after")
    def _counts_agree(self) -> Self:
        if ErrorType.NONE in self.errors:
            raise ValueError("errors: `none` is not an error; leave it out")
        if sum(self.errors.values()) > self.requests:
            raise ValueError("errors: more errors than requests")
        if sum(self.duration_buckets) != self.requests:
            raise ValueError("duration_buckets: must count every request exactly once")
        if sum(self.ttft_buckets) > self.requests:
            raise ValueError("ttft_buckets: more first bytes than requests")
        return self


class RollupPush(Message):
    """What the gateway hands to the agent and the agent pushes to the control plane."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    SCHEMA: ClassVar[str] = "ringfence.rollup-push"

    rollups: Annotated[tuple[UsageRollup, ...], Field(max_length=1000)]
    """Ordered by `sequence`; may be empty."""
    sequence: Annotated[int, Field(ge=0, le=2**53)]
    """Ask `?after=` this next; store it with the rows, in one transaction."""


def bucket_index(seconds: float) -> int:
    """Return the histogram bucket a duration falls into; bounds are inclusive."""
    for index, bound in enumerate(HISTOGRAM_BOUNDS_S):
        if seconds <= bound:
            return index
    return len(HISTOGRAM_BOUNDS_S)
