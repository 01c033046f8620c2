"""The run engine on a real PostgreSQL: order, parallel steps, failure, parking, fences."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from controlplane.core.audit import AuditEvent, record
from controlplane.core.errors import (
    ConflictError,
    ForbiddenError,
    InvalidRequestError,
    UnavailableError,
)
from controlplane.core.run_engine import approve, changes, deny, request_cancel, retry
from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    LeaseLostError,
    Park,
    ParkedError,
    Skip,
    Step,
    StepContext,
    StepResult,
)
from controlplane.core.run_engine.fence import Lease, claim_run, reap_runs
from controlplane.core.run_engine.store import RunStore
from proof.audit_chain import ChainWalk
from tests.sagas.bench import Bench, wait_until


class NoParams(BaseModel):
    size: int = 1


@dataclass
class World:
    """What the steps of the test saga change, and the faults they are told to have."""

    things: set[str] = field(default_factory=set)
    log: list[str] = field(default_factory=list)
    fail: dict[str, list[Exception]] = field(default_factory=dict)
    fail_undo: dict[str, list[Exception]] = field(default_factory=dict)
    gates: dict[str, threading.Event] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def make(self, key: str) -> None:
        with self.lock:
            self.log.append(key)
            self.things.add(key)
        if self.fail.get(key):
            raise self.fail[key].pop(0)

    def unmake(self, key: str) -> None:
        with self.lock:
            self.log.append(f"undo {key}")
        if self.fail_undo.get(key):
            raise self.fail_undo[key].pop(0)
        self.things.discard(key)


def forward(context: StepContext[NoParams, World]) -> StepResult:
    context.ports.make(context.step)
    gate = context.ports.gates.get(context.step)
    while gate is not None and not gate.is_set():
        context.wait(0.02)
    return Done({"made": context.step})


def undo(context: StepContext[NoParams, World]) -> None:
    context.ports.unmake(context.step)


def step(key: str, *after: str, **kwargs) -> Step:
    return Step(key, f"Make {key}", kwargs.pop("forward", forward), undo, after, **kwargs)


def gate(context: StepContext[NoParams, World]) -> StepResult:
    if context.run.approved_digest and context.run.approved_digest == context.run.plan_digest:
        return Done({"digest": context.run.approved_digest})
    context.journal.save_plan({"resources": 2}, "sha256:plan")
    return Park("awaiting-approval", "the plan needs a second person")


SAGA = Definition(
    "test.build",
    NoParams,
    (
        step("base"),
        step("left", "base"),
        step("right", "base"),
        step("top", "left", "right"),
        step("seal", "top", phase="close"),
    ),
)
GATED = Definition(
    "test.gated",
    NoParams,
    (
        step("approval", forward=gate, planning=True),
        step("base", "approval"),
        step("seal", "base", phase="close"),
    ),
)


def test_a_run_goes_through_its_graph_and_succeeds(bench: Bench):
    world = World()
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "succeeded"
    assert world.log[0] == "base"
    assert set(world.log[1:3]) == {"left", "right"}
    assert world.log[3:] == ["top", "seal"]
    assert bench.steps(run_id)["top"]["output"] == {"made": "top"}
    states = [e["state"] for e in bench.events(run_id) if e["kind"] == "run.state"]
    assert states == ["planning", "running", "closing", "succeeded"]


def test_parallel_steps_really_overlap(bench: Bench):
    meet = threading.Barrier(2, timeout=10)

    def together(context: StepContext[NoParams, World]) -> StepResult:
        meet.wait()
        return Done()

    saga = replace(
        SAGA,
        steps=(
            step("base"),
            step("left", "base", forward=together),
            step("right", "base", forward=together),
        ),
    )
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, World()) == "succeeded"
    steps = bench.steps(run_id)
    assert steps["left"]["started_at"] < steps["right"]["finished_at"]
    assert steps["right"]["started_at"] < steps["left"]["finished_at"]


def test_a_step_may_skip_and_says_why(bench: Bench):
    saga = replace(SAGA, steps=(step("base", forward=lambda context: Skip("it is there")),))
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, World()) == "succeeded"
    event = next(e for e in bench.events(run_id) if e["state"] == "skipped")
    assert event["detail"]["reason"] == "it is there"


def test_a_passing_fault_is_tried_again(bench: Bench):
    world = World(fail={"left": [UnavailableError("throttled"), UnavailableError("throttled")]})
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "succeeded"
    assert bench.steps(run_id)["left"]["attempt"] == 3


def test_a_fault_that_cannot_pass_unwinds_at_once_and_still_closes(bench: Bench):
    world = World(fail={"top": [InvalidRequestError("no such zone")]})
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "unwound"
    assert world.things == {"seal"}
    undone = [entry for entry in world.log if entry.startswith("undo")]
    assert undone[0] == "undo top"
    assert undone[-1] == "undo base"
    assert world.log[-1] == "seal"
    run = bench.run(run_id)
    assert (run["at_fault"], run["outcome"]) == ("top", "failed")
    assert bench.states(run_id)["base"] == "unwound"


def test_the_steps_behind_a_failure_are_marked_as_not_attempted(bench: Bench):
    world = World(fail={"base": [InvalidRequestError("denied")]})
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "unwound"
    states = bench.states(run_id)
    assert {states[key] for key in ("left", "right", "top")} == {"not-attempted"}


def test_a_failing_step_stops_the_one_beside_it(bench: Bench):
    world = World(
        fail={"left": [InvalidRequestError("broken")]}, gates={"right": threading.Event()}
    )
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "unwound"
    assert world.things == {"seal"}


def test_an_internal_fault_shows_its_class_and_no_text(bench: Bench):
    world = World(fail={"base": [RuntimeError("password=hunter2")] * 3})
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "unwound"
    message = bench.steps(run_id)["base"]["error_message"]
    assert "RuntimeError" in message
    assert "hunter2" not in str(bench.events(run_id))


def test_a_failed_undo_is_stuck_and_goes_on_after_a_retry(bench: Bench):
    world = World(
        fail={"top": [InvalidRequestError("no")]},
        fail_undo={"left": [UnavailableError("no answer")] * 3},
    )
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "stuck"
    run = bench.run(run_id)
    assert run["lease_until"] is None
    assert "the undo of left failed" in run["parked_reason"]
    assert "base" in world.things
    bench.ask(retry, run_id)
    assert bench.execute(run_id, SAGA, world) == "unwound"
    assert world.things == {"seal"}


def test_a_close_that_fails_needs_attention_and_unwinds_nothing(bench: Bench):
    world = World(fail={"seal": [UnavailableError("no answer")] * 3})
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "needs-attention"
    assert {"base", "left", "right", "top"} <= world.things
    bench.ask(retry, run_id)
    assert bench.execute(run_id, SAGA, world) == "succeeded"


def test_a_plan_waits_for_a_second_person(bench: Bench):
    world = World()
    run_id = bench.start(GATED)
    assert bench.execute(run_id, GATED, world) == "awaiting-approval"
    assert bench.claim(run_id) is None
    with pytest.raises(ForbiddenError, match="somebody else must decide"):
        bench.ask(approve, run_id, "sha256:plan")
    with pytest.raises(ConflictError, match="the plan's digest is sha256:plan"):
        bench.ask(approve, run_id, "sha256:other", ctx=bench.tenant.approver)
    bench.ask(approve, run_id, "sha256:plan", ctx=bench.tenant.approver)
    assert bench.execute(run_id, GATED, world) == "succeeded"
    assert bench.steps(run_id)["approval"]["output"] == {"digest": "sha256:plan"}
    with pytest.raises(ConflictError, match="no plan to decide on"):
        bench.ask(approve, run_id, "sha256:plan", ctx=bench.tenant.approver)


def test_a_person_with_two_identities_cannot_approve_for_himself(bench: Bench):
    tenant = bench.tenant
    same = replace(tenant.requester, actor=replace(tenant.requester.actor, person_key="4711"))
    tenant.requester = same
    run_id = bench.start(GATED)
    bench.execute(run_id, GATED, World())
    other = replace(tenant.approver, actor=replace(tenant.approver.actor, person_key="4711"))
    with pytest.raises(ForbiddenError):
        bench.ask(approve, run_id, "sha256:plan", ctx=other)


@pytest.mark.parametrize("kind", ["service", "break-glass"])
def test_only_a_person_approves_a_plan(bench: Bench, kind: Any):
    run_id = bench.start(GATED)
    bench.execute(run_id, GATED, World())
    approver = bench.tenant.approver
    robot = replace(approver, actor=replace(approver.actor, kind=kind))
    with pytest.raises(ForbiddenError, match="only a person"):
        bench.ask(approve, run_id, "sha256:plan", ctx=robot)


def test_a_refused_plan_closes_without_having_built(bench: Bench):
    world = World()
    run_id = bench.start(GATED)
    bench.execute(run_id, GATED, world)
    bench.ask(deny, run_id, "too wide", ctx=bench.tenant.approver)
    assert bench.execute(run_id, GATED, world) == "cancelled"
    assert world.things == {"seal"}


def test_a_cancelled_run_unwinds_and_closes(bench: Bench):
    world = World(gates={"left": threading.Event(), "right": threading.Event()})
    bench.settings = replace(bench.settings, lease_seconds=0.6)
    run_id = bench.start(SAGA)
    thread = threading.Thread(target=bench.execute, args=(run_id, SAGA, world))
    thread.start()
    wait_until(lambda: {"left", "right"} <= world.things, "both steps run")
    bench.ask(request_cancel, run_id)
    thread.join(15)
    assert bench.run(run_id)["state"] == "cancelled"
    assert world.things == {"seal"}
    bench.change("UPDATE run SET cancel_requested_at = NULL WHERE id = %s", run_id)
    with pytest.raises(ConflictError, match="nothing left to cancel"):
        bench.ask(request_cancel, run_id)


def test_a_step_far_beyond_its_budget_is_stopped(bench: Bench):
    saga = replace(SAGA, steps=(step("base", budget=0.05), step("seal", "base", phase="close")))
    world = World(gates={"base": threading.Event()})
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, world) == "unwound"
    assert bench.steps(run_id)["base"]["error_code"] == "over-budget"


def test_a_run_has_one_holder_at_a_time(bench: Bench):
    run_id = bench.start(SAGA)
    assert bench.claim(run_id) is not None
    assert bench.claim(run_id) is None


def test_two_workers_never_claim_the_same_run(bench: Bench):
    runs = {bench.start(SAGA) for _ in range(12)}
    claimed: list[object] = []

    def take() -> None:
        while (claim := claim_run(bench.worker, "w", 30)) is not None:
            claimed.append(claim.run_id)

    threads = [threading.Thread(target=take) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, claimed)) == sorted(map(str, runs))


def _expire(bench: Bench, run_id: object) -> None:
    bench.change("UPDATE run SET lease_until = now() - interval '1 second' WHERE id = %s", run_id)


def test_a_heartbeat_after_the_run_was_given_back_does_not_hold_it(bench: Bench):
    run_id = bench.start(SAGA)
    claim = bench.claim_soon(run_id)
    lease = Lease(bench.worker, claim, 60.0, lambda: None, lambda: None, time.monotonic())
    assert lease._renew() is False
    store = RunStore(bench.worker, claim)
    store.record(store.load(), [changes.release(timedelta(0))])
    assert lease._renew() is None
    assert bench.run(run_id)["lease_until"] is None
    assert bench.claim(run_id) is not None
    with pytest.raises(LeaseLostError):
        lease._renew()


def test_the_next_claim_locks_a_silent_worker_out(bench: Bench):
    run_id = bench.start(SAGA)
    old = bench.claim(run_id)
    _expire(bench, run_id)
    new = bench.claim(run_id)
    assert old is not None
    assert new is not None
    assert new.fence == old.fence + 1
    with pytest.raises(LeaseLostError):
        RunStore(bench.worker, old).progress("base", "log", None, {"message": "I am back"})
    RunStore(bench.worker, new).progress("base", "log", None, {"message": "mine"})


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE run SET state = 'succeeded' WHERE id = :run",
        "UPDATE step SET state = 'succeeded' WHERE run_id = :run",
        "INSERT INTO run_event (organization_id, boundary_id, run_id, seq, kind, detail)"
        " SELECT organization_id, boundary_id, id, 999, 'log', '{}' FROM run WHERE id = :run",
    ],
)
@pytest.mark.parametrize(("fence", "reason"), [("1", "may not write"), ("", "must announce")])
def test_the_database_itself_refuses_a_stale_or_missing_fence(
    bench: Bench, statement: str, fence: str, reason: str
):
    run_id = bench.start(SAGA)
    claim = bench.claim(run_id)
    assert claim is not None
    RunStore(bench.worker, claim).add_steps(SAGA, RunStore(bench.worker, claim).load(), None)
    _expire(bench, run_id)
    assert bench.claim(run_id) is not None
    with bench.worker.begin(bench.tenant.scope) as session:
        session.execute(text("SELECT set_config('ringfence.fence', :f, true)"), {"f": fence})
        with pytest.raises(DBAPIError, match=reason):
            session.execute(text(statement), {"run": run_id})


def test_a_fence_never_falls(bench: Bench):
    run_id = bench.start(SAGA)
    assert bench.claim(run_id) is not None
    with (
        pytest.raises(DBAPIError, match="never falls"),
        bench.api.transaction(bench.tenant.scope) as session,
    ):
        session.execute(text("UPDATE run SET fence = 0 WHERE id = :run"), {"run": run_id})


def test_a_worker_that_lost_its_run_stops_its_steps_and_writes_nothing(bench: Bench):
    bench.settings = replace(bench.settings, lease_seconds=0.6)
    world = World(gates={"base": threading.Event()})
    run_id = bench.start(SAGA)
    thread = threading.Thread(target=bench.execute, args=(run_id, SAGA, world))
    thread.start()
    wait_until(lambda: "base" in world.things, "the step runs")
    bench.change("UPDATE run SET fence = fence + 1 WHERE id = %s", run_id)
    before = len(bench.events(run_id))
    thread.join(10)
    assert not thread.is_alive()
    assert len(bench.events(run_id)) == before
    assert bench.states(run_id)["base"] == "running"


def test_the_heartbeat_keeps_a_long_step_alive(bench: Bench):
    bench.settings = replace(bench.settings, lease_seconds=0.6)
    world = World(gates={"base": threading.Event()})
    run_id = bench.start(SAGA)
    thread = threading.Thread(target=bench.execute, args=(run_id, SAGA, world))
    thread.start()
    wait_until(lambda: "base" in world.things, "the step runs")
    began = time.monotonic()
    wait_until(lambda: time.monotonic() - began > 1.5, "two and a half leases pass")
    assert bench.claim(run_id) is None
    world.gates["base"].set()
    thread.join(10)
    assert bench.run(run_id)["state"] == "succeeded"


def test_the_reaper_frees_the_run_of_a_silent_worker_and_says_so(bench: Bench):
    run_id = bench.start(SAGA)
    bench.claim(run_id)
    assert reap_runs(bench.scheduler) == []
    _expire(bench, run_id)
    assert reap_runs(bench.scheduler) == [run_id]
    assert "fell silent" in bench.events(run_id)[-1]["detail"]["message"]
    hints = bench.rows("SELECT args FROM outbox WHERE task = 'run.advance'")
    assert [hint["args"]["run_id"] for hint in hints] == [str(run_id)] * 2
    assert bench.execute(run_id, SAGA, World()) == "succeeded"


def test_a_worker_that_shuts_down_gives_its_run_back_at_once(bench: Bench):
    world = World(gates={"base": threading.Event()})
    run_id = bench.start(SAGA)
    thread = threading.Thread(target=bench.execute, args=(run_id, SAGA, world))
    thread.start()
    wait_until(lambda: "base" in world.things, "the step runs")
    bench.draining.set()
    thread.join(10)
    assert bench.states(run_id)["base"] == "running"
    bench.draining.clear()
    world.gates.clear()
    assert bench.execute(run_id, SAGA, world) == "succeeded"
    assert bench.steps(run_id)["base"]["attempt"] == 2


def test_events_have_no_gaps_under_parallel_writers(bench: Bench):
    run_id = bench.start(SAGA)
    claim = bench.claim(run_id)
    assert claim is not None
    store = RunStore(bench.worker, claim)

    def write(name: str) -> None:
        for number in range(25):
            store.progress("base", "log", None, {"message": f"{name} {number}"})

    threads = [threading.Thread(target=write, args=(f"writer {n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sequence = [event["seq"] for event in bench.events(run_id)]
    assert sequence == list(range(1, 102))


def test_every_step_leaves_an_intent_and_an_outcome_in_the_audit(bench: Bench):
    run_id = bench.start(SAGA)
    bench.execute(run_id, SAGA, World())
    rows = bench.rows(
        "SELECT code, detail FROM audit_event WHERE target = %s ORDER BY seq", f"run/{run_id}"
    )
    started = [row["detail"]["step"] for row in rows if row["code"] == "step.started"]
    finished = [row["detail"]["step"] for row in rows if row["code"] == "step.finished"]
    assert sorted(started) == sorted(finished) == sorted(s.key for s in SAGA.steps)


def test_a_run_whose_parameters_cannot_be_read_waits_for_a_person_and_can_be_cancelled(
    bench: Bench,
):
    def missing(*_: object) -> NoParams:
        raise InvalidRequestError("the install has no revision")

    saga = replace(SAGA, complete=missing)
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, World()) == "needs-attention"
    assert "no revision" in bench.run(run_id)["parked_reason"]
    bench.ask(request_cancel, run_id)
    assert bench.execute(run_id, saga, World()) == "cancelled"


def test_an_undo_that_is_unclear_parks_and_runs_again_when_it_is_resumed(bench: Bench):
    unclear = [True]

    def undo_once_clear(context: StepContext[NoParams, World]) -> None:
        if unclear.pop():
            unclear.append(False)
            raise ParkedError(Park("needs-attention", "is the VPC there?"))
        context.ports.unmake(context.step)

    broken = step("top", "base")
    saga = replace(
        SAGA,
        steps=(
            replace(step("base"), undo=undo_once_clear),
            broken,
            step("seal", "top", phase="close"),
        ),
    )
    world = World(fail={"top": [InvalidRequestError("no")]})
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, world) == "needs-attention"
    assert bench.states(run_id)["base"] == "unwinding"
    bench.ask(retry, run_id)
    assert bench.execute(run_id, saga, world) == "unwound"
    assert world.things == {"seal"}


def test_a_step_that_parked_after_an_effect_is_still_undone(bench: Bench):
    def half_done(context: StepContext[NoParams, World]) -> StepResult:
        context.ports.make(context.step)
        return Park("needs-attention", "the plan differs")

    saga = replace(
        SAGA, steps=(step("base", forward=half_done), step("seal", "base", phase="close"))
    )
    world = World()
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, world) == "needs-attention"
    bench.ask(request_cancel, run_id)
    assert bench.execute(run_id, saga, world) == "cancelled"
    assert world.things == {"seal"}


def test_a_run_that_waits_outside_is_claimed_again_only_when_it_is_due(bench: Bench):
    def wait_outside(context: StepContext[NoParams, World]) -> StepResult:
        return Park("closing", "the customer deletes the role", timedelta(minutes=10))

    saga = replace(
        SAGA, steps=(step("base"), step("seal", "base", phase="close", forward=wait_outside))
    )
    run_id = bench.start(saga)
    assert bench.execute(run_id, saga, World()) == "closing"
    assert bench.claim(run_id) is None
    bench.change("UPDATE run SET next_run_at = now() WHERE id = %s", run_id)
    assert bench.execute(run_id, saga, World()) == "closing"


def test_a_step_does_not_begin_after_a_cancel_that_nobody_has_told_the_worker_of(bench: Bench):
    world = World(gates={"base": threading.Event()})
    run_id = bench.start(SAGA)
    thread = threading.Thread(target=bench.execute, args=(run_id, SAGA, world))
    thread.start()
    wait_until(lambda: "base" in world.things, "the first step runs")
    # Sooner than the heartbeat that would tell it: the write of the step's end finds the request.
    bench.ask(request_cancel, run_id)
    world.gates["base"].set()
    thread.join(15)
    assert bench.run(run_id)["state"] == "cancelled"
    assert not {"left", "right", "top"} & set(world.log)


def test_events_appended_together_continue_the_chain_as_those_appended_alone(bench: Bench):
    run_id = bench.start(SAGA)
    bench.execute(run_id, SAGA, World())
    rows = bench.rows(
        "SELECT * FROM audit_event WHERE chain_id = %s ORDER BY seq", bench.tenant.boundary_id
    )
    walk = ChainWalk()
    for row in rows:
        walk.follow(record(AuditEvent(**row)))
    # The request's record came alone, the worker's with others in one statement.
    assert walk.size == len(rows) > 10
    head = bench.rows(
        "SELECT head_hash FROM audit_chain WHERE chain_id = %s", bench.tenant.boundary_id
    )
    assert head[0]["head_hash"] == walk.head_hash
