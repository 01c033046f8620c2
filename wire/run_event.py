"""Events of a run as they are stored and streamed (SSE); the id is `(run, seq)`.

Written by the run engine, read by the API's stream, the command line and the console.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from wire.version import Message

RunState = Literal[
    "queued",
    "planning",
    "awaiting-approval",
    "waiting-for-grant",
    "running",
    "paused",
    "needs-attention",
    "succeeded",
    "failed",
    "unwinding",
    "unwound",
    "stuck",
    "closing",
    "cancelled",
]
StepState = Literal[
    "pending", "running", "succeeded", "failed", "skipped", "not-attempted", "unwinding", "unwound"
]


class RunEvent(Message):
    """One thing that happened in a run."""

    SCHEMA: ClassVar[str] = "ringfence.run-event"

    run_id: UUID
    seq: int = Field(ge=1)
    at: datetime
    kind: Literal["run.state", "step.state", "step.progress", "resource", "log"]
    step: str | None = None
    state: str | None = None
    detail: dict[str, Any] = Field(default_factory=dict)
    """Shape by kind; documented in docs/reference/run-events.md. Never a secret."""
