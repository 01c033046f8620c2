"""What a worker writes of a run, as data: how a row stands then, the event, the audit record. Pure.

Made by the executor, written by `store` in one statement per transaction (`run_record` of the
migrations reads this form). Separate from both, so that several changes, the end of one step and
the start of the next, share one transaction and one round trip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from controlplane.core.run_engine.decide import FINAL, PARKED, Outcome
from controlplane.core.run_engine.facts import RunFacts, StepFacts
from wire.run_event import RunState, StepState


@dataclass(frozen=True)
class Told:
    """An event of the live view."""

    kind: str
    state: str | None
    detail: Mapping[str, Any]


@dataclass(frozen=True)
class Change:
    """One change of a run or of one of its steps."""

    name: str
    """What it is, in the words of the functions below."""
    step: str | None = None
    """The step it is about, also when no row of it changes."""
    row: Mapping[str, Any] | None = None
    """Columns of the step; `started` and `finished` say which times to write."""
    run: Mapping[str, Any] | None = None
    """Columns of the run."""
    event: Told | None = None
    audit: tuple[str, Mapping[str, Any]] | None = None
    """Code and detail."""
    starts: bool = False
    """Begins something: left out when a person asked for a stop or a pause in the meantime."""
    timed: bool = False
    """The event tells how long the step took."""
    stands: StepFacts | None = field(default=None, repr=False)
    """How the step stands then."""

    def seen_in(self, facts: RunFacts) -> RunFacts:
        """Return the facts as they are after this change."""
        if self.step is not None and self.stands is not None:
            facts = replace(facts, steps={**facts.steps, self.step: self.stands})
        if self.run is not None and "outcome" in self.run:
            turned = {key: self.run[key] for key in ("outcome", "at_fault")}
            facts = replace(facts, view=replace(facts.view, **turned))
        return facts


# -- the run --------------------------------------------------------------------------------------


def set_state(state: RunState, *, starts: bool = False, **detail: Any) -> Change:
    """Move the run to `state`; a final or parked state gives the lease back."""
    values: dict[str, Any] = {"state": state}
    if state in FINAL or state in PARKED:
        values["released"] = True
    if state in FINAL:
        values["ended"] = True
    if state in PARKED:
        values |= {"parked": detail.get("reason"), "resume_at": detail.get("resume_at")}
    return Change(
        "set_state",
        run=values,
        event=Told("run.state", state, detail),
        audit=("run.state-changed", {"state": state}),
        starts=starts,
    )


def turn_around(outcome: Outcome, at_fault: str | None, code: str, message: str) -> Change:
    """Record why the run stops going forward; failures count from zero for the undos."""
    shown = {"message": f"the run turns around: {message}", "code": code, "outcome": outcome}
    return Change(
        "turn_around",
        at_fault,
        run={
            "outcome": outcome,
            "at_fault": at_fault,
            "error_code": code,
            "error_message": message,
        },
        event=Told("log", None, shown),
        audit=("run.state-changed", {"outcome": outcome, "at_fault": at_fault}),
    )


def release(retry_in: timedelta) -> Change:
    """Give the lease back and become claimable again after `retry_in`."""
    return Change("release", run={"released": True, "retry_in": retry_in.total_seconds()})


# -- steps ----------------------------------------------------------------------------------------


def step_started(key: str, before: StepFacts, input_hash: str) -> Change:
    """Mark a step as running before its effects, as its next attempt."""
    stands = replace(before, state="running", attempt=before.attempt + 1)
    return Change(
        "step_started",
        key,
        {
            "state": "running",
            "attempt": stands.attempt,
            "input_hash": input_hash,
            "started": "first",
            "finished": "never",
        },
        event=Told("step.state", "running", {"attempt": stands.attempt}),
        audit=("step.started", {"step": key, "attempt": stands.attempt}),
        starts=True,
        stands=stands,
    )


def step_finished(
    key: str,
    before: StepFacts,
    state: StepState,
    *,
    output: dict[str, Any] | None = None,
    **detail: Any,
) -> Change:
    """Write a step's end: succeeded or skipped."""
    return Change(
        "step_finished",
        key,
        {
            "state": state,
            "output": output,
            "failures": 0,
            "error_code": None,
            "finished": "now",
        },
        event=Told("step.state", state, detail),
        audit=("step.finished", {"step": key, "outcome": state}),
        timed=True,
        stands=StepFacts(state, before.attempt, 0, output),
    )


def step_parked(key: str, before: StepFacts) -> Change:
    """Put a step back to pending: it runs again when the run is resumed."""
    return Change(
        "step_parked",
        key,
        {"state": "pending", "started": "never"},
        event=Told("step.state", "pending", {}),
        stands=replace(before, state="pending"),
    )


def step_failed(key: str, before: StepFacts, code: str, message: str, failures: int) -> Change:
    """Write an error of the forward action."""
    return Change(
        "step_failed",
        key,
        {
            "state": "failed",
            "failures": failures,
            "error_code": code,
            "error_message": message,
            "finished": "now",
        },
        event=Told(
            "step.state", "failed", {"code": code, "message": message, "failures": failures}
        ),
        audit=("step.finished", {"step": key, "outcome": "failed", "error_code": code}),
        stands=replace(before, state="failed", failures=failures),
    )


def undo_started(key: str, before: StepFacts) -> Change:
    """Mark a step as being undone; the first time, its failures count from zero."""
    stands = StepFacts(
        "unwinding",
        before.attempt + 1,
        before.failures if before.state == "unwinding" else 0,
        before.output,
    )
    return Change(
        "undo_started",
        key,
        {"state": "unwinding", "attempt": stands.attempt, "failures": stands.failures},
        event=Told("step.state", "unwinding", {}),
        audit=("step.started", {"step": key, "undo": True}),
        starts=True,
        stands=stands,
    )


def undo_finished(key: str, before: StepFacts) -> Change:
    """Mark a step as undone; its time stays that of its forward action."""
    return Change(
        "undo_finished",
        key,
        {"state": "unwound", "failures": 0, "finished": "first"},
        event=Told("step.state", "unwound", {}),
        audit=("step.undone", {"step": key, "outcome": "unwound"}),
        stands=replace(before, state="unwound", failures=0),
    )


def undo_failed(key: str, before: StepFacts, code: str, message: str, failures: int) -> Change:
    """Write an error of the undo; the step stays `unwinding`."""
    detail = {"code": code, "message": message, "failures": failures, "undo": True}
    return Change(
        "undo_failed",
        key,
        {"failures": failures, "error_code": code, "error_message": message},
        event=Told("step.state", "unwinding", detail),
        audit=("step.undone", {"step": key, "outcome": "failed", "error_code": code}),
        stands=replace(before, failures=failures),
    )


def never_reached(key: str, before: StepFacts) -> Change:
    """Mark a step that the run will never reach."""
    return Change(
        "never_reached",
        key,
        {"state": "not-attempted"},
        event=Told("step.state", "not-attempted", {}),
        stands=replace(before, state="not-attempted"),
    )


def cut_off(key: str, before: StepFacts) -> Change:
    """Mark a step that nobody will end any more."""
    cut = {"code": "interrupted", "message": "cut off; what it had made by then stays"}
    return Change(
        "cut_off",
        key,
        {
            "state": "failed",
            "error_code": cut["code"],
            "error_message": cut["message"],
            "finished": "now",
        },
        event=Told("step.state", "failed", cut),
        stands=replace(before, state="failed"),
    )
