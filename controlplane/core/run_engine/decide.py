"""What a run does next, decided from its rows alone. Pure.

Called by the executor after every change. Separate from it so that recovery needs no code of its
own: a worker that finds the rows of a dead one asks the same question and gets the same answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from controlplane.core.run_engine.graph import Phase, StepGraph
from wire.run_event import RunState, StepState

Outcome = Literal["failed", "cancelled", "denied", "kept"]
"""Why a run turned around; a run without an outcome still goes forward. `kept`: cancelled, and
what it made stays as it is."""

PARKED: frozenset[RunState] = frozenset(
    {"awaiting-approval", "waiting-for-grant", "paused", "needs-attention", "stuck"}
)
FINAL: frozenset[RunState] = frozenset({"succeeded", "failed", "unwound", "cancelled"})
CLAIMABLE: frozenset[RunState] = frozenset(
    {"queued", "planning", "running", "unwinding", "closing"}
)

_BOTH: frozenset[Phase] = frozenset({"work", "close"})
_CLOSE: frozenset[Phase] = frozenset({"close"})


@dataclass(frozen=True)
class Snapshot:
    """A run as its rows show it.

    `failures` counts the errors of each step's present direction (forward or undo); an
    interruption by the death of a worker is not one.
    """

    outcome: Outcome | None
    states: Mapping[str, StepState]
    failures: Mapping[str, int]


@dataclass(frozen=True)
class Move:
    """What to do now: start these, undo these, or end in `final`, or park in `parked`.

    `state` is what people see while the move is carried out. `at_fault` names the step that
    caused a turn-around or a parked state.
    """

    state: RunState
    start: tuple[str, ...] = ()
    undo: tuple[str, ...] = ()
    not_attempted: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    """Steps that were cut off and will be neither finished nor undone."""
    outcome: Outcome | None = None
    at_fault: str | None = None

    @property
    def is_final(self) -> bool:
        """Say whether the run is over."""
        return self.state in FINAL


def next_move(graph: StepGraph, run: Snapshot) -> Move:
    """Return the next move of a run in which no step is being executed right now.

    Steps that are `running` or `unwinding` belong to a dead worker here: they run again.
    """
    if run.outcome is None:
        return _forward(graph, run)
    return _turn_around(graph, run, run.outcome)


def _startable(graph: StepGraph, run: Snapshot, phases: frozenset[Phase]) -> tuple[str, ...]:
    reset: dict[str, StepState] = {
        key: "pending" if _runs_again(graph, run, key, phases) else state
        for key, state in run.states.items()
    }
    return graph.ready(reset, phases)


def _runs_again(graph: StepGraph, run: Snapshot, key: str, phases: frozenset[Phase]) -> bool:
    """Say whether a step is to be started (again): interrupted, or failed with attempts left."""
    node, state = graph.nodes[key], run.states[key]
    if node.phase not in phases:
        return False
    if state == "running":
        return True
    return state == "failed" and run.failures.get(key, 0) < node.max_attempts


def _exhausted(graph: StepGraph, run: Snapshot, phase: Phase) -> str | None:
    for key in graph.keys(phase):
        if (
            run.states[key] == "failed"
            and run.failures.get(key, 0) >= graph.nodes[key].max_attempts
        ):
            return key
    return None


def _forward(graph: StepGraph, run: Snapshot) -> Move:
    if broken := _exhausted(graph, run, "work"):
        return _turn_around(graph, run, "failed", broken)
    start = _startable(graph, run, _BOTH)
    if start:
        return Move(_shown_state(graph, start), start=start)
    # Only now: what does not depend on the broken step goes on, the more of a close the better.
    if broken := _exhausted(graph, run, "close"):
        return Move("needs-attention", at_fault=broken)
    return Move("succeeded")


def _shown_state(graph: StepGraph, start: tuple[str, ...]) -> RunState:
    nodes = [graph.nodes[key] for key in start]
    if all(node.phase == "close" for node in nodes):
        return "closing"
    return "planning" if all(node.planning for node in nodes) else "running"


def _turn_around(
    graph: StepGraph, run: Snapshot, outcome: Outcome, at_fault: str | None = None
) -> Move:
    undo = () if outcome == "kept" or graph.keeps else graph.undoable(run.states)
    if undo:
        stuck = [k for k in undo if _undo_exhausted(graph, run, k)]
        if stuck:
            return Move("stuck", outcome=outcome, at_fault=stuck[0])
        return Move("unwinding", undo=undo, outcome=outcome, at_fault=at_fault)
    never = tuple(k for k in graph.keys("work") if run.states[k] == "pending")
    cut = tuple(k for k in graph.keys("work") if run.states[k] in ("running", "unwinding"))
    if never or cut:
        return Move(
            "closing", not_attempted=never, interrupted=cut, outcome=outcome, at_fault=at_fault
        )
    if start := _startable(graph, run, _CLOSE):
        return Move("closing", start=start, outcome=outcome, at_fault=at_fault)
    if broken := _exhausted(graph, run, "close"):
        return Move("needs-attention", outcome=outcome, at_fault=broken)
    return Move(_final_state(run, outcome), outcome=outcome)


def _undo_exhausted(graph: StepGraph, run: Snapshot, key: str) -> bool:
    """Say whether the undo of `key` has failed as often as it may.

    NB: failures restart at zero when an undo begins, so only those of `unwinding` count here.
    """
    return (
        run.states[key] == "unwinding" and run.failures.get(key, 0) >= graph.nodes[key].max_attempts
    )


def _final_state(run: Snapshot, outcome: Outcome) -> RunState:
    if outcome in ("cancelled", "denied", "kept"):
        return "cancelled"
    return "unwound" if "unwound" in run.states.values() else "failed"
