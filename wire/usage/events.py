"""`usage.request.completed.v1`: the event the gateway writes for each request it answers.

Written by the gateway's spool and ledger. Separate from the changes, which clients report: this one
is authoritative, because the gateway saw the request itself.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal
from uuid import UUID

from pydantic import AwareDatetime, Field

from wire.resources.base import ModelName
from wire.usage.enumerations import (
    Client,
    EgressClass,
    ErrorType,
    Feature,
    Ide,
    Language,
    Operation,
    UsageSource,
)
from wire.usage.values import (
    UNKNOWN,
    BoundaryId,
    ClientVersion,
    Count,
    GroupName,
    Milliseconds,
    Pseudonym,
    Strict,
)

EVENT_TYPE: Final = "usage.request.completed.v1"
EVENT_SCHEMA: Final = "https://schemas.ringfence.dev/usage/request-completed/1-0-0"


class RequestCompleted(Strict):
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


class UsageEvent(Strict):
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
    synthetic: bool = False
    """True for made-up use (a replay); set by the gateway, never mixed with real use."""
    datacontenttype: Literal["application/json"] = "application/json"
    """Always JSON."""
    dataschema: Literal["https://schemas.ringfence.dev/usage/request-completed/1-0-0"] = (
        EVENT_SCHEMA
    )
    """Versioned name of the schema; nothing is fetched from there."""
    data: RequestCompleted
    """The record itself, below."""
