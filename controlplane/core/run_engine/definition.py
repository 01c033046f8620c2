"""How a saga is written down: steps with undo, and what a step sees and may answer.

Used by `sagas/` to define and by the executor to run. A step function takes one `StepContext`,
runs at least once, and is therefore idempotent. The undo of a step runs whenever its forward
action was ever started, also when that failed half-way: so no separate undo-only step is needed
before a call that may half succeed, but every undo must cope with finding nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Literal, Protocol, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.core.run_engine.graph import Node, Phase, StepGraph
from wire.run_event import RunState

ParkState = Literal[
    "awaiting-approval", "waiting-for-grant", "paused", "needs-attention", "closing"
]
PortsT = TypeVar("PortsT")
ParamsT = TypeVar("ParamsT", bound=BaseModel)


@dataclass(frozen=True)
class Done:
    """The step succeeded; `output` is JSON, visible to later steps and to people: no secret."""

    output: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Skip:
    """There was nothing to do, for the reason given."""

    reason: str


@dataclass(frozen=True)
class Park:
    """The run must wait. The step runs again when somebody resumes it, or after `retry_in`."""

    state: ParkState
    reason: str
    retry_in: timedelta | None = None


StepResult = Done | Skip | Park


@dataclass(frozen=True)
class Hold:
    """The run must not begin a new effect now; it pauses, until `resume_at` or a person."""

    reason: str
    resume_at: datetime | None = None


class Gate(Protocol):
    """Says before each step with an effect whether it may begin, for example by a window."""

    def __call__(self, session: Session, boundary_id: UUID) -> Hold | None:
        """Return what forbids it now. Called in the run's own transaction scope."""


@dataclass(frozen=True)
class QuickGate:
    """A gate that holds nothing back where the database's `run_gate` says so by itself."""

    ask: Gate

    def __call__(self, session: Session, boundary_id: UUID) -> Hold | None:
        """Return what forbids it now."""
        return self.ask(session, boundary_id)


def always_open(session: Session, boundary_id: UUID) -> Hold | None:
    """Forbid nothing."""
    return None


class StepStop(Exception):  # noqa: N818 - a request to stop, not an error
    """Raised out of a step by `StepContext.check` when it must stop now; steps let it pass."""


class ParkedError(StepStop):
    """The step cannot go on without somebody: the run parks, the step or undo runs again later."""

    def __init__(self, park: Park) -> None:
        super().__init__(park.reason)
        self.park = park


class LeaseLostError(StepStop):
    """Another worker owns the run, or may soon: nothing may be written or called any more."""


class RunStoppingError(StepStop):
    """The run turns around (another step failed, or a person cancelled): stop, undo comes next."""


class WorkerDrainingError(StepStop):
    """The worker is shutting down; the next one runs this step again."""


@dataclass(frozen=True)
class RunView:
    """The facts of a run that a step may need."""

    id: UUID
    organization_id: UUID
    boundary_id: UUID
    install_id: UUID | None
    kind: str
    fence: int
    outcome: str | None
    """None while the run goes forward; `failed`, `cancelled`, `denied` or `kept` once it turned
    around."""
    at_fault: str | None
    plan_digest: str | None
    approved_digest: str | None
    requested_by: UUID

    @property
    def is_unwound(self) -> bool:
        """Say whether the run took back what it made before its close."""
        return self.outcome not in (None, "kept")


class Journal(Protocol):
    """What a step context needs of the store; every method is fenced."""

    def transaction(self) -> AbstractContextManager[Session]:
        """Open a transaction that holds the run's lock and commits only under its fence."""

    def progress(self, step: str, kind: str, state: str | None, detail: dict[str, Any]) -> None:
        """Append an event."""

    def save_plan(self, document: dict[str, Any], digest: str) -> None:
        """Store the plan that a person is to approve."""


@dataclass(frozen=True)
class StepContext(Generic[ParamsT, PortsT]):
    """All that a step may use. `ctx` carries the person on whose behalf the run acts."""

    ctx: OpContext
    run: RunView
    step: str
    attempt: int
    params: ParamsT
    outputs: Mapping[str, Mapping[str, Any]]
    """Output of every step that has succeeded, by key; its own, too, when it is undone."""
    ports: PortsT
    journal: Journal
    budget_seconds: float
    """What this step may take; it is stopped at twice that."""
    lease_held: Callable[[], bool]
    stop: StopFlag

    @property
    def fence(self) -> int:
        """Return the fence under which this worker holds the run."""
        return self.run.fence

    def check(self) -> None:
        """Return when the step may go on. Raises: a StepStop when it must not.

        Long waits call it on every round; so do adapters before each outside call.
        """
        if not self.lease_held():
            raise LeaseLostError(f"run {self.run.id}: the lease of fence {self.fence} is gone")
        self.stop.check()

    def wait(self, seconds: float) -> None:
        """Wait, but wake at once when the step must stop. Raises: as `check`."""
        self.stop.wait(seconds)
        self.check()

    def progress(self, **detail: Any) -> None:
        """Append a `step.progress` event; `detail` is shown to people."""
        self.journal.progress(self.step, "step.progress", None, detail)

    def resource(self, state: str, **detail: Any) -> None:
        """Append a `resource` event: one cloud or cluster object changed its state."""
        self.journal.progress(self.step, "resource", state, detail)

    def log(self, **detail: Any) -> None:
        """Append a `log` event: one line for the curious."""
        self.journal.progress(self.step, "log", None, detail)

    def transaction(self) -> AbstractContextManager[Session]:
        """Open a transaction scoped to the run's boundary and guarded by the fence."""
        return self.journal.transaction()


class StopFlag:
    """Says to the steps of one executor that they must stop, and why; set once, never cleared."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._reason: StepStop | None = None

    def set(self, reason: StepStop) -> None:
        """Ask every step to stop; the first reason wins."""
        if self._reason is None:
            self._reason = reason
        self._event.set()

    def is_set(self) -> bool:
        """Say whether steps must stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait until set or until the time is over; return whether it is set."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise the reason once set."""
        if self._event.is_set() and self._reason is not None:
            raise type(self._reason)(str(self._reason))


Forward = Callable[[StepContext[Any, Any]], StepResult]
Undo = Callable[[StepContext[Any, Any]], None]
Seconds = float | Callable[[BaseModel], float]


@dataclass(frozen=True)
class Step:
    """One step of a saga. Units: seconds, for the account as it is (already time-scaled)."""

    key: str
    title: str
    forward: Forward
    undo: Undo | None
    """None only when the forward action changes nothing outside the run's own rows."""
    after: tuple[str, ...] = ()
    phase: Phase = "work"
    planning: bool = False
    budget: Seconds = 60.0
    """What the step may take; beyond it the live view warns, beyond twice it the step fails."""
    estimate: Seconds = 1.0
    max_attempts: int = 3
    skippable: bool = False
    """A second person may say that the run goes on without it: later steps cope without its
    output."""

    @property
    def has_effect(self) -> bool:
        """Say whether it may change the install: such a step starts only inside a window."""
        return self.phase == "work" and not self.planning

    def node(self) -> Node:
        """Return the step as the graph sees it."""
        return Node(self.key, self.after, self.phase, self.max_attempts, self.planning)


@dataclass(frozen=True)
class Definition:
    """A saga: its kind, the class of its parameters, its steps."""

    kind: str
    params: type[BaseModel]
    steps: tuple[Step, ...]
    lane: Literal["read", "write"] = "write"
    """`read` for a saga that changes nothing: it gives way to every writing run."""
    keeps: bool = False
    """A failed or cancelled run undoes nothing and goes straight to its close: for a saga that
    destroys, or that stops at a safe point and is done again. Its steps have no undo."""
    complete: Callable[[Session, RunView, dict[str, Any], Any], BaseModel] | None = None
    """Called once, on the first claim, with the ports: turn what the request wrote (`run.params`,
    as it stands) into the full parameters, read from rows. They stay fixed for the run."""
    idle: Callable[[Mapping[str, Mapping[str, Any]]], bool] | None = None
    """Says by the steps' outputs that the run found nothing to change, so that its steps do
    nothing and no window has to hold them back."""

    @property
    def graph(self) -> StepGraph:
        """Return the checked graph. Raises: GraphError."""
        return replace(StepGraph.of(step.node() for step in self.steps), keeps=self.keeps)

    def step(self, key: str) -> Step:
        """Return a step by key. Raises: KeyError."""
        for step in self.steps:
            if step.key == key:
                return step
        raise KeyError(f"saga {self.kind} has no step {key!r}")

    def may_change(self, keys: Iterable[str], outputs: Mapping[str, Mapping[str, Any]]) -> bool:
        """Say whether one of these steps, with `outputs` so far, may change the install."""
        is_idle = self.idle is not None and self.idle(outputs)
        return not is_idle and any(self.step(key).has_effect for key in keys)


def seconds(value: Seconds, params: BaseModel) -> float:
    """Return a budget or an estimate for the given parameters."""
    return value(params) if callable(value) else value


__all__ = [
    "Definition",
    "Done",
    "Forward",
    "Gate",
    "Hold",
    "Journal",
    "LeaseLostError",
    "Park",
    "ParkState",
    "ParkedError",
    "QuickGate",
    "RunState",
    "RunStoppingError",
    "RunView",
    "Skip",
    "Step",
    "StepContext",
    "StepResult",
    "StepStop",
    "StopFlag",
    "Undo",
    "WorkerDrainingError",
    "always_open",
    "seconds",
]
