"""Build the usage event of one request, from what the gateway itself knows.

Used by the relay. Separate because it is where a request becomes a record: whatever comes from the
caller is reduced to a closed enumeration here, and nothing else of it goes on.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar
from uuid import UUID

from gateway.routing import Caller, Target
from gateway.sse import Usage
from wire.usage import (
    UNKNOWN,
    Client,
    EgressClass,
    ErrorType,
    Feature,
    Ide,
    Language,
    Operation,
    RequestCompleted,
    UsageEvent,
    UsageSource,
    uuid7,
)

E = TypeVar("E", bound=StrEnum)
_AGENTS = (
    (re.compile(r"^(?:Async)?OpenAI/Python (\d[\d.]{0,19})"), Client.OPENAI_PYTHON),
    (re.compile(r"^(?:Azure)?OpenAI/JS (\d[\d.]{0,19})"), Client.OPENAI_NODE),
    (re.compile(r"^ringfence-cli/(\d[\d.]{0,19})"), Client.RINGFENCE_CLI),
    (re.compile(r"^ringfence-usage/(\d[\d.]{0,19})"), Client.RINGFENCE_PYTHON),
    (re.compile(r"^Continue/(\d[\d.]{0,19})"), Client.CONTINUE),
    (re.compile(r"^curl/(\d[\d.]{0,19})"), Client.CURL),
)
_VERSION = re.compile(r"^\d{1,4}(?:\.\d{1,5}){0,3}$")


def _closed(kind: type[E], text: str | None, default: E) -> E:
    try:
        return kind(text.lower()) if text else default
    except ValueError:
        return default


def _client(agent: str | None) -> tuple[Client, str]:
    if not agent:
        return Client.UNKNOWN, UNKNOWN
    for pattern, client in _AGENTS:
        if found := pattern.match(agent):
            version = found.group(1).rstrip(".")
            return client, version if _VERSION.fullmatch(version) else UNKNOWN
    return Client.OTHER, UNKNOWN


@dataclass
class Meter:
    """One request from acceptance to its end."""

    boundary_id: str
    caller: Caller
    subject: str
    headers: Mapping[str, str]
    operation: Operation
    synthetic: bool = False
    id: UUID = field(default_factory=uuid7)
    accepted_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    target: Target | None = None
    stream: bool = False
    usage: Usage = field(default_factory=Usage)
    ended: bool = False
    """Whether the event was written: a request has exactly one."""
    _accepted: float = field(default_factory=time.perf_counter)
    _dispatched: float | None = None
    _first_byte: float | None = None

    def dispatched(self) -> None:
        """Note that the engine is asked now."""
        self._dispatched = time.perf_counter()

    def first_byte(self) -> None:
        """Note the first byte of the answer; later calls change nothing."""
        if self._first_byte is None:
            self._first_byte = time.perf_counter()

    def _since_accepted(self, moment: float | None) -> float | None:
        return None if moment is None else round((moment - self._accepted) * 1000, 3)

    def event(self, error: ErrorType, *, ended: bool = True) -> UsageEvent:
        """Return the event; `ended=False` is the one to keep in case we die."""
        now = time.perf_counter() if ended else self._accepted
        target, usage = self.target, self.usage
        client, version = _client(self.headers.get("User-Agent"))
        per_token = None
        if self._first_byte is not None and usage.output_tokens > 1 and self.stream:
            per_token = (now - self._first_byte) * 1000 / (usage.output_tokens - 1)
        data = RequestCompleted(
            boundary_id=self.boundary_id,
            group_id=self.caller.group,
            client=client,
            client_version=version,
            ide=_closed(Ide, self.headers.get("X-Ringfence-Ide"), Ide.UNKNOWN),
            language=_closed(Language, self.headers.get("X-Ringfence-Language"), Language.UNKNOWN),
            feature=_closed(Feature, self.headers.get("X-Ringfence-Feature"), Feature.UNKNOWN),
            operation=self.operation,
            provider=target.provider if target else "unknown",
            input_tokens=usage.input_tokens,
            output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens,
            reasoning_tokens=usage.reasoning_tokens,
            usage_source=UsageSource.REPORTED if usage.reported else UsageSource.COUNTED,
            requested_model=target.model if target else UNKNOWN,
            served_model=target.model if target and self._dispatched else None,
            model_version=target.model_version if target else UNKNOWN,
            adapter_id=target.adapter_id if target else None,
            deployment_id=target.deployment_id if target else UNKNOWN,
            egress_class=EgressClass.BOUNDARY if self._dispatched else EgressClass.NONE,
            stream=self.stream,
            ttft_ms=self._since_accepted(self._first_byte),
            tpot_ms=None if per_token is None else round(per_token, 4),
            duration_ms=round((now - self._accepted) * 1000, 3),
            queue_ms=self._since_accepted(self._dispatched) or 0.0,
            error_type=error,
        )
        return UsageEvent(
            id=self.id,
            source=f"/boundaries/{self.boundary_id}/gateway",
            time=self.accepted_at,
            subject=self.subject,
            synthetic=self.synthetic,
            data=data,
        )


Pseudonymize = Callable[[str], str]
