"""The graph, the decision and the critical path, by tables."""

from __future__ import annotations

import pytest

from controlplane.core.run_engine.critical_path import (
    StepClock,
    critical_path,
    expected_duration,
    remaining_seconds,
)
from controlplane.core.run_engine.decide import Move, Snapshot, next_move
from controlplane.core.run_engine.graph import GraphError, Node, StepGraph
from wire.run_event import StepState

#        plan -> base -> cluster -> stack -> census -> certificate
#                    \-> weights -/
GRAPH = StepGraph.of(
    [
        Node("plan", planning=True),
        Node("base", ("plan",)),
        Node("cluster", ("base",)),
        Node("weights", ("base",)),
        Node("stack", ("cluster", "weights")),
        Node("census", ("stack",), "close"),
        Node("certificate", ("census",), "close"),
    ]
)
KEYS = GRAPH.order


def states(**given: StepState) -> dict[str, StepState]:
    return {key: given.get(key, "pending") for key in KEYS}


def move(outcome=None, failures=None, **given: StepState) -> Move:
    return next_move(GRAPH, Snapshot(outcome, states(**given), failures or {}))


BUILT = {"plan": "succeeded", "base": "succeeded", "cluster": "succeeded", "weights": "succeeded"}


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, Move("planning", start=("plan",))),
        ({"plan": "succeeded"}, Move("running", start=("base",))),
        (
            {"plan": "succeeded", "base": "succeeded"},
            Move("running", start=("cluster", "weights")),
        ),
        (
            {"plan": "succeeded", "base": "succeeded", "weights": "skipped"},
            Move("running", start=("cluster",)),
        ),
        ({**BUILT, "stack": "succeeded"}, Move("closing", start=("census",))),
        (
            {**BUILT, "stack": "succeeded", "census": "succeeded", "certificate": "succeeded"},
            Move("succeeded"),
        ),
    ],
)
def test_a_run_without_an_outcome_goes_forward(given, expected):
    assert move(**given) == expected


def test_a_step_left_running_by_a_dead_worker_runs_again():
    assert move(plan="succeeded", base="running").start == ("base",)


def test_a_failed_step_runs_again_while_attempts_are_left():
    assert move(failures={"base": 2}, plan="succeeded", base="failed").start == ("base",)


def test_a_step_that_failed_for_good_turns_the_run_around_and_is_undone_itself():
    turned = move(failures={"cluster": 3}, **{**BUILT, "cluster": "failed"})
    assert turned == Move(
        "unwinding", undo=("weights", "cluster"), outcome="failed", at_fault="cluster"
    )


def test_an_unwind_goes_in_reverse_and_waits_for_what_depends_on_a_step():
    given = {**BUILT, "cluster": "unwound", "weights": "succeeded", "stack": "not-attempted"}
    assert move("failed", **given).undo == ("weights",)
    given["weights"] = "unwound"
    assert move("failed", **given).undo == ("base",)


def test_after_the_unwind_the_close_runs_although_the_work_never_succeeded():
    given: dict[str, StepState] = {
        "plan": "unwound",
        "base": "unwound",
        "cluster": "not-attempted",
        "weights": "not-attempted",
        "stack": "not-attempted",
    }
    assert move("failed", **given) == Move("closing", start=("census",), outcome="failed")
    closed = {**given, "census": "succeeded", "certificate": "succeeded"}
    assert move("failed", **closed).state == "unwound"
    assert move("cancelled", **closed).state == "cancelled"
    assert move("denied", **closed).state == "cancelled"


def test_a_run_that_never_did_anything_ends_failed():
    nothing: dict[str, StepState] = dict.fromkeys(KEYS, "not-attempted")
    given = {**nothing, "census": "succeeded", "certificate": "succeeded"}
    assert move("failed", **given).state == "failed"


def test_a_failed_undo_is_stuck_and_names_the_step():
    given: dict[str, StepState] = {"plan": "succeeded", "base": "unwinding"}
    assert move("failed", {"base": 3}, **given) == Move("stuck", outcome="failed", at_fault="base")


def test_a_close_that_fails_for_good_never_unwinds_a_working_install():
    given: dict[str, StepState] = {**BUILT, "stack": "succeeded", "census": "failed"}
    assert move(None, {"census": 3}, **given) == Move("needs-attention", at_fault="census")


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([Node("a"), Node("a")], "defined twice"),
        ([Node("a", ("b",))], "'b', which is not defined"),
        ([Node("a", ("b",)), Node("b", ("a",))], "in a circle: a, b"),
        ([Node("a", phase="close"), Node("b", ("a",))], "may not wait for close step"),
    ],
)
def test_a_faulty_graph_is_refused(nodes, message):
    with pytest.raises(GraphError, match=message):
        StepGraph.of(nodes)


def test_the_critical_path_is_the_longest_chain():
    path = critical_path(GRAPH, {"plan": 2, "base": 3, "cluster": 10, "weights": 4, "stack": 1})
    assert path.keys[:4] == ("plan", "base", "cluster", "stack")
    assert path.seconds == 16


def test_a_late_parallel_step_moves_the_critical_path():
    assert "weights" in critical_path(GRAPH, {"cluster": 3, "weights": 4}).keys


@pytest.mark.parametrize(
    ("clock", "expected"),
    [
        (StepClock(10, None, False), 10),
        (StepClock(10, 4, False), 10),
        (StepClock(10, 14, False), 14),
        (StepClock(10, 4, True), 4),
    ],
)
def test_the_expected_duration_is_measured_once_it_can_be(clock, expected):
    assert expected_duration(clock) == expected


def test_the_remaining_time_counts_only_the_longest_unfinished_chain():
    clocks = {key: StepClock(10, None, False) for key in KEYS}
    clocks["plan"] = StepClock(10, 3, True)
    clocks["base"] = StepClock(10, 4, False)
    assert remaining_seconds(GRAPH, clocks) == 6 + 10 + 10 + 10 + 10
