"""What people may ask of a run: pause, resume, keep, retry a step, skip one; lanes and windows."""

from __future__ import annotations

import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from sqlalchemy.orm import Session

from controlplane.core.errors import ConflictError, InvalidRequestError
from controlplane.core.run_engine import (
    create_run,
    request_cancel,
    request_pause,
    resume,
    retry,
    skip_step,
    wake_paused,
)
from controlplane.core.run_engine.definition import Definition, Hold, Park, Step, StepContext
from controlplane.core.run_engine.dispatcher import Dispatcher
from controlplane.core.run_engine.fence import claim_run, resume_due_runs
from tests.sagas.bench import QUICK, Bench, wait_until
from tests.sagas.test_engine import SAGA, NoParams, World, step, undo

OPTIONAL = Definition(
    "test.optional",
    NoParams,
    (step("base"), step("check", "base", skippable=True), step("seal", "check", phase="close")),
)


class Gate:
    """Holds until it is opened; counts how often it was asked."""

    def __init__(self, hold: Hold | None) -> None:
        self.hold = hold
        self.asked = 0

    def __call__(self, session: Session, boundary_id: UUID) -> Hold | None:
        self.asked += 1
        return self.hold


def in_the_background(bench: Bench, run_id: UUID, world: World) -> threading.Thread:
    thread = threading.Thread(target=bench.execute, args=(run_id, SAGA, world))
    thread.start()
    return thread


def test_a_paused_run_ends_the_step_under_way_and_begins_no_other(bench: Bench) -> None:
    world = World(gates={"base": threading.Event()})
    run_id = bench.start(SAGA)
    thread = in_the_background(bench, run_id, world)
    wait_until(lambda: "base" in world.things, "base is being made")
    bench.ask(request_pause, run_id, "the customer's freeze")
    assert bench.run(run_id)["state"] == "running"
    world.gates["base"].set()
    thread.join(10)
    run = bench.run(run_id)
    assert (run["state"], run["lease_until"]) == ("paused", None)
    assert run["parked_reason"].endswith(": the customer's freeze")
    assert bench.states(run_id)["base"] == "succeeded"
    assert set(bench.states(run_id).values()) == {"succeeded", "pending"}
    assert bench.claim(run_id) is None
    bench.ask(resume, run_id)
    assert bench.execute(run_id, SAGA, world) == "succeeded"
    assert world.log == ["base", *sorted(world.log[1:3]), "top", "seal"]


def test_a_pause_that_has_not_begun_is_taken_back(bench: Bench) -> None:
    run_id = bench.start(SAGA)
    bench.ask(request_pause, run_id, "wait")
    bench.ask(resume, run_id)
    assert bench.execute(run_id, SAGA, World()) == "succeeded"


def test_what_is_over_or_turned_around_is_not_paused(bench: Bench) -> None:
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, World()) == "succeeded"
    with pytest.raises(ConflictError, match="succeeded") as refused:
        bench.ask(request_pause, run_id, "too late")
    assert refused.value.fix == "it is over"
    with pytest.raises(ConflictError, match="only a paused run"):
        bench.ask(resume, run_id)


def test_a_paused_run_can_be_cancelled(bench: Bench) -> None:
    world = World()
    run_id = bench.start(SAGA)
    gate = Gate(Hold("closed"))
    assert bench.execute(run_id, SAGA, world, gate) == "paused"
    bench.ask(request_cancel, run_id)
    assert bench.execute(run_id, SAGA, world, gate) == "cancelled"


def test_outside_a_window_a_run_waits_for_the_next_one(bench: Bench) -> None:
    world = World()
    run_id = bench.start(SAGA)
    opens = datetime.now(UTC) + timedelta(hours=5)
    gate = Gate(Hold("outside the windows", opens))
    assert bench.execute(run_id, SAGA, world, gate) == "paused"
    run = bench.run(run_id)
    assert (run["parked_reason"], run["resume_at"]) == ("outside the windows", opens)
    assert world.log == []
    assert resume_due_runs(bench.scheduler) == []
    bench.change("UPDATE run SET resume_at = now() WHERE id = %s", run_id)
    assert resume_due_runs(bench.scheduler) == [run_id]
    assert bench.run(run_id)["resume_at"] is None
    gate.hold = None
    assert bench.execute(run_id, SAGA, world, gate) == "succeeded"


def test_a_window_that_ends_holds_the_next_effect_back(bench: Bench) -> None:
    world, gate = World(), Gate(None)

    def closing(context: StepContext[NoParams, World]) -> object:
        gate.hold = Hold("the window is over")
        return forward(context)

    base = SAGA.step("base")
    forward = base.forward
    saga = replace(SAGA, steps=(replace(base, forward=closing), *SAGA.steps[1:]))
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, world, gate) == "paused"
    assert world.log == ["base"]


def test_neither_planning_nor_the_close_waits_for_a_window(bench: Bench) -> None:
    saga = Definition(
        "test.reading",
        NoParams,
        (step("look", planning=True), step("seal", "look", phase="close")),
    )
    gate = Gate(Hold("closed"))
    assert bench.execute(bench.start(saga), saga, World(), gate) == "succeeded"
    assert gate.asked == 0


def test_a_run_that_found_nothing_to_change_waits_for_no_window(bench: Bench) -> None:
    steps = (step("look", planning=True), step("work", "look"), step("seal", "work", phase="close"))
    idle = Definition("test.idle", NoParams, steps, idle=lambda outputs: "look" in outputs)
    busy = replace(idle, kind="test.busy", idle=lambda outputs: "look" not in outputs)
    gate = Gate(Hold("closed"))
    assert bench.execute(bench.start(idle), idle, World(), gate) == "succeeded"
    assert gate.asked == 0
    assert bench.execute(bench.start(busy), busy, World(), gate) == "paused"


def test_an_unwind_does_not_wait_for_a_window(bench: Bench) -> None:
    gate = Gate(None)
    world = World(fail={"left": [InvalidRequestError("no", code="no")]})
    run_id = bench.start(SAGA)

    def closing(context: StepContext[NoParams, World]) -> None:
        gate.hold = Hold("closed")
        undo(context)

    saga = replace(SAGA, steps=tuple(replace(s, undo=closing) for s in SAGA.steps))
    assert bench.execute(run_id, saga, world, gate) == "unwound"
    assert world.things == {"seal"}


def test_changed_windows_wake_the_runs_that_wait_for_them(bench: Bench) -> None:
    run_id, other = bench.start(SAGA), bench.start(SAGA)
    gate = Gate(Hold("outside", datetime.now(UTC) + timedelta(hours=5)))
    bench.execute(run_id, SAGA, World(), gate)
    bench.ask(request_pause, other, "by a person")
    bench.execute(other, SAGA, World())
    with bench.api.transaction(bench.tenant.scope) as session:
        wake_paused(session, bench.tenant.boundary_id)
    assert resume_due_runs(bench.scheduler) == [run_id]
    assert bench.run(other)["state"] == "paused"


def test_a_cancelled_run_keeps_what_exists_and_still_closes(bench: Bench) -> None:
    world = World(gates={"left": threading.Event()})
    run_id = bench.start(SAGA)
    thread = in_the_background(bench, run_id, world)
    wait_until(lambda: bench.states(run_id).get("right") == "succeeded", "right is made")
    wait_until(lambda: "left" in world.things, "left is being made")
    bench.ask(lambda session, ctx: request_cancel(session, ctx, run_id, keep=True))
    thread.join(20)
    run = bench.run(run_id)
    assert (run["state"], run["outcome"]) == ("cancelled", "kept")
    assert bench.states(run_id) == {
        "base": "succeeded",
        "left": "failed",
        "right": "succeeded",
        "top": "not-attempted",
        "seal": "succeeded",
    }
    assert world.things == {"base", "left", "right", "seal"}
    assert not any(line.startswith("undo") for line in world.log)


def test_a_step_of_a_dead_worker_is_not_left_running_when_its_run_is_kept(bench: Bench) -> None:
    run_id = bench.start(SAGA)
    world = World()
    gate = Gate(Hold("stop here"))
    assert bench.execute(run_id, SAGA, world, gate) == "paused"
    bench.change("UPDATE step SET state = 'running' WHERE run_id = %s AND key = 'base'", run_id)
    bench.ask(lambda session, ctx: request_cancel(session, ctx, run_id, keep=True))
    assert bench.execute(run_id, SAGA, world) == "cancelled"
    base = bench.steps(run_id)["base"]
    assert (base["state"], base["error_code"]) == ("failed", "interrupted")
    assert world.log == ["seal"]


def test_only_the_step_named_is_tried_again(bench: Bench) -> None:
    broken = InvalidRequestError("no", code="no")
    saga = replace(
        SAGA,
        steps=(
            step("base"),
            step("seal", "base", phase="close"),
            step("lock", "base", phase="close"),
        ),
    )
    world = World(fail={"seal": [broken], "lock": [broken]})
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, world) == "needs-attention"
    with pytest.raises(InvalidRequestError, match="'base' of the run has not failed") as refused:
        bench.ask(retry, run_id, "base")
    assert refused.value.fix == "name one of seal, lock"
    bench.ask(retry, run_id, "seal")
    assert bench.execute(run_id, saga, world) == "needs-attention"
    assert bench.states(run_id) == {"base": "succeeded", "seal": "succeeded", "lock": "failed"}
    bench.ask(retry, run_id)
    assert bench.execute(run_id, saga, world) == "succeeded"


def test_a_waiting_run_goes_on_without_a_step_that_it_can_do_without(bench: Bench) -> None:
    world, gate = World(), Gate(Hold("wait"))
    run_id = bench.start(OPTIONAL)
    assert bench.execute(run_id, OPTIONAL, world, gate) == "paused"
    with pytest.raises(InvalidRequestError, match="cannot do without it") as refused:
        bench.ask(skip_step, run_id, "base", "why not", ctx=bench.tenant.approver)
    assert refused.value.fix == "name one of check"
    bench.ask(skip_step, run_id, "check", "checked by hand", ctx=bench.tenant.approver)
    bench.ask(resume, run_id)
    assert bench.execute(run_id, OPTIONAL, world) == "succeeded"
    assert bench.states(run_id)["check"] == "skipped"
    assert world.log == ["base", "seal"]
    with pytest.raises(ConflictError, match="succeeded"):
        bench.ask(skip_step, run_id, "check", "again", ctx=bench.tenant.approver)


def start_on_the_install(bench: Bench, lane: str) -> UUID:
    with bench.api.transaction(bench.tenant.scope) as session:
        return create_run(
            session,
            bench.tenant.requester,
            organization_id=bench.tenant.organization_id,
            boundary_id=bench.tenant.boundary_id,
            install_id=bench.tenant.install_id,
            kind=SAGA.kind,
            lane=lane,  # type: ignore[arg-type]  # one of the two
        )


def test_one_run_at_a_time_changes_an_install(bench: Bench) -> None:
    first = start_on_the_install(bench, "write")
    start_on_the_install(bench, "read")
    with pytest.raises(ConflictError, match=str(first)):
        start_on_the_install(bench, "write")
    assert bench.execute(first, SAGA, World()) == "succeeded"
    start_on_the_install(bench, "write")


def test_a_reading_run_gives_way_to_every_writing_one(bench: Bench) -> None:
    reading = [start_on_the_install(bench, "read") for _ in range(3)]
    bench.change("UPDATE run SET next_run_at = now() - interval '1 hour'")
    writing = start_on_the_install(bench, "write")
    claims = [claim_run(bench.worker, "w", 30) for _ in range(4)]
    first, *others = [claim.run_id for claim in claims if claim]
    # The three wait equally long: which of them comes first is nobody's promise.
    assert (first, sorted(others)) == (writing, sorted(reading))
    assert claim_run(bench.worker, "w", 30, lanes=("write",)) is None


def test_reading_runs_leave_the_last_slot_to_a_writing_one(bench: Bench) -> None:
    release = threading.Event()

    def waiting(context: StepContext[NoParams, World]) -> Park:
        while not release.is_set():
            context.wait(0.02)
        return Park("paused", "done for the test")

    saga = replace(SAGA, steps=(Step("look", "Look", waiting, None),))
    for _ in range(4):
        start_on_the_install(bench, "read")
    worker = Dispatcher(
        bench.worker, {SAGA.kind: saga}, World(), QUICK, worker="w", slots=3, poll_seconds=0.02
    )
    worker.start()
    try:
        wait_until(lambda: worker.running() == 2, "two of three slots read")
        writing = start_on_the_install(bench, "write")
        wait_until(lambda: bench.run(writing)["fence"] == 1, "the writing run is claimed")
        taken = bench.rows("SELECT lane, count(*) AS n FROM run WHERE fence > 0 GROUP BY lane")
        assert {row["lane"]: row["n"] for row in taken} == {"read": 2, "write": 1}
    finally:
        release.set()
        worker.stop()


def test_a_claim_reads_an_index_however_many_runs_have_ended(bench: Bench) -> None:
    run_id = bench.start(SAGA)
    bench.change(
        "INSERT INTO run (organization_id, boundary_id, id, kind, state, params, requested_by,"
        " actor, request_id) SELECT organization_id, boundary_id, gen_random_uuid(), kind,"
        " 'succeeded', params, requested_by, actor, request_id FROM run, generate_series(1, 3000)"
        " WHERE id = %s",
        run_id,
    )
    bench.change("ANALYZE run")
    plan = bench.rows(
        "EXPLAIN SELECT id FROM run WHERE state IN ('queued', 'planning', 'running', 'unwinding',"
        " 'closing') AND next_run_at <= now() AND lane = ANY ('{write,read}')"
        " AND (lease_until IS NULL OR lease_until < now()) ORDER BY lane DESC, next_run_at LIMIT 1"
    )
    assert any("ix_run_claimable" in line["QUERY PLAN"] for line in plan), plan
