"""What the run routes say and take. Answers have no defaults: every field is always there."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from controlplane.domains.runs.plan_view import PlanViewOut
from wire.run_event import RunState, StepState


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class StepOut(_Model):
    """One step; seconds are those of the clock, `elapsed_seconds` is None before it starts."""

    key: str
    title: str
    phase: str
    after: list[str]
    state: StepState
    summary: str
    """What the step did, in a few words; empty until it has succeeded."""
    attempt: int
    budget_seconds: float
    estimate_seconds: float
    elapsed_seconds: float | None
    over_budget: bool
    skippable: bool
    """A second person may let the run go on without it."""
    on_critical_path: bool
    started_at: datetime | None
    finished_at: datetime | None
    error_code: str | None
    error_message: str | None


class PlanSummary(_Model):
    """The plan in one line: its digest, and how many resources each operation has per stack."""

    digest: str
    counts: dict[str, dict[str, int]]
    approved: bool


class CriticalPathOut(_Model):
    """The steps that decide the run's length: measured where finished, else estimated."""

    keys: list[str]
    seconds: float
    remaining_seconds: float


class FailureOut(_Model):
    """What stops a run, and what is safe to do about it."""

    step: str | None
    resource: str | None
    """The last resource of the step that failed, by its URN."""
    code: str | None
    message: str
    cause: str
    """The likely cause; empty when none is known."""
    next_action: str


class RunOut(_Model):
    """A run with its steps."""

    id: UUID
    boundary_id: UUID
    install_id: UUID | None
    kind: str
    state: RunState
    outcome: str | None
    at_fault: str | None
    error_code: str | None
    error_message: str | None
    parked_reason: str | None
    resume_at: datetime | None
    """When a paused run goes on by itself."""
    pause_requested: bool
    """A pause was asked for and begins when the steps under way have ended."""
    failure: FailureOut | None
    requested_by: UUID
    requested_by_name: str
    approved_by: UUID | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    last_seq: int
    plan: PlanSummary | None
    critical_path: CriticalPathOut
    steps: list[StepOut]
    can: list[str]
    """What may be asked of the run now: approve, deny, pause, resume, cancel, retry, skip."""


class PlanOut(_Model):
    """The whole plan and the digest to approve it by."""

    run_id: UUID
    digest: str
    approved_digest: str | None
    approved_by: UUID | None
    document: dict[str, Any]
    """What the digest is over, and what was noted when it was made."""
    view: PlanViewOut
    """The same for people: what, why, what changes, how long, what it costs."""


class ApproveIn(_Model):
    """Approve exactly the plan of this digest."""

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    reason: str = Field(default="", max_length=500)


class DenyIn(_Model):
    """Refuse the plan, with the reason that the requester reads."""

    reason: str = Field(min_length=3, max_length=500)


class CancelIn(_Model):
    """What becomes of what the run has made."""

    keep: bool = False
    """Leave it as it is: the install is then partial, and a later run goes on from there."""


class PauseIn(_Model):
    """Why the run is to wait; shown while it does."""

    reason: str = Field(min_length=3, max_length=500)


class RetryIn(_Model):
    """Which failed step is tried again; all of them without a name."""

    step: str | None = Field(default=None, min_length=1, max_length=63)


class SkipIn(_Model):
    """Which step the run goes on without, and why; kept with the run and in its certificate."""

    step: str = Field(min_length=1, max_length=63)
    reason: str = Field(min_length=3, max_length=500)
