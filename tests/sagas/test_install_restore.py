"""The restore saga on the real engine and database, with fakes of what is outside."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from controlplane.core.errors import UnavailableError
from controlplane.core.run_engine import deny, request_cancel, retry
from controlplane.core.run_engine.definition import Definition, StepContext, StepResult
from controlplane.domains.runs.plan_view import view
from controlplane.sagas.install_restore import DEFINITION
from tests.sagas.fake_world import BUCKET, PARTS, TYPES, urn
from tests.sagas.properties import failing, twice
from tests.sagas.stage import Stage
from tests.sagas.test_install_update import ask as ask_update
from tests.sagas.test_install_update import axes, certificate_of, standing

__all__ = ["standing"]

STOPS = ("cluster", "ready")


def ask(stage: Stage, **params: Any) -> UUID:
    """Ask for a restore to what was applied last, as the API would; return the run."""
    run_id = ask_update(stage)
    stage.bench.change("DELETE FROM step WHERE run_id = %s", run_id)
    stage.bench.change("DELETE FROM run_event WHERE run_id = %s", run_id)
    stage.bench.change("DELETE FROM run WHERE id = %s", run_id)
    return stage.start(DEFINITION, {"reason": "it is lost", **params})


def lose_record(stage: Stage) -> None:
    stage.world.forgotten = set(TYPES)


def lose_cluster(stage: Stage) -> None:
    """Let somebody delete the cluster, and all that ran in it: its agent spoke just before."""
    stage.world.deleted.add("eks")
    stage.world.things.discard("release")
    stage.world.stop()
    stage.bench.change("UPDATE agent SET last_seen_at = now()")


def told(stage: Stage, run_id: UUID) -> Any:
    return stage.bench.run(run_id)["plan"]["restore"]


def events(stage: Stage, code: str) -> list[Any]:
    rows = stage.bench.rows("SELECT detail FROM audit_event WHERE code = %s ORDER BY seq", code)
    return [row["detail"] for row in rows]


def test_a_lost_record_is_adopted_and_nothing_is_made(standing: Stage):
    lose_record(standing)
    run_id = ask(standing)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    assert {item["name"] for item in told(standing, run_id)["adopted"]} == set(TYPES)
    assert told(standing, run_id)["lost"] == []
    counts = standing.bench.run(run_id)["plan"]["counts"]
    assert {op for stack in counts.values() for op in stack} <= {"same", "create"}
    assert not standing.world.forgotten
    assert {e["urn"] for e in events(standing, "install.resource-adopted")} == {
        urn(stack, part) for stack, parts in PARTS.items() for part in parts
    }
    # Each stack is applied once, so that its records hold what only the program tells.
    assert standing.world.calls == ["up foundation", "up cluster"]
    certificate = certificate_of(standing, run_id)
    assert (certificate.operation, certificate.outcome) == ("restore", "succeeded")
    assert axes(standing) == ("installed", "healthy", "closed")


def test_a_second_restore_finds_nothing_and_asks_nobody(standing: Stage):
    lose_record(standing)
    assert standing.go(ask(standing), DEFINITION) == "succeeded"
    standing.open_grant()
    standing.world.calls.clear()
    run_id = ask(standing)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "succeeded"
    assert standing.bench.states(run_id)["approval"] == "skipped"
    assert standing.world.calls == []
    assert told(standing, run_id)["adopted"] == told(standing, run_id)["lost"] == []
    assert standing.grant()["state"] == "closed"


def test_an_old_snapshot_is_put_back_and_what_was_made_since_is_adopted(standing: Stage):
    state, tenant = standing.ports.state, standing.bench.tenant
    standing.world.forgotten = {"eks"}
    state.snapshot(tenant.boundary_id, standing.grant_id, "before cluster")
    old = state.snapshots(tenant.boundary_id)[0]
    standing.world.forgotten = set()
    standing.world.damaged = True
    run_id = ask(standing, snapshot=old.number)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    assert [item["name"] for item in told(standing, run_id)["adopted"]] == ["eks"]
    assert told(standing, run_id)["source"] == f"snapshot {old.number}"
    (put,) = events(standing, "install.state-restored")
    assert (put["snapshot"], put["stacks"]) == (old.number, ["foundation"])
    # What was there before can be had back: it was put aside first.
    saved = next(s for s in state.snapshots(tenant.boundary_id) if s.number == put["saved"])
    assert saved.label == "before restore"
    assert standing.world.calls == ["up cluster"]


def test_a_record_that_cannot_be_read_is_refused_and_may_be_begun_anew(standing: Stage):
    standing.world.damaged = True
    run_id = ask(standing)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "failed"
    assert standing.bench.steps(run_id)["state"]["error_code"] == "state-damaged"
    standing.open_grant()
    anew = ask(standing, empty=True)
    assert standing.go(anew, DEFINITION) == "succeeded"
    assert {item["name"] for item in told(standing, anew)["adopted"]} == set(TYPES)


def test_a_snapshot_that_is_not_there_changes_nothing(standing: Stage):
    run_id = ask(standing, snapshot=999)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "failed"
    assert "no snapshot 999" in standing.bench.steps(run_id)["state"]["error_message"]
    assert standing.world.known() == set(TYPES)
    assert axes(standing) == ("installed", "healthy", "closed")


def test_a_cluster_that_is_gone_is_made_again_on_the_bucket_that_stays(standing: Stage):
    lose_cluster(standing)
    (before,) = standing.bench.rows("SELECT id FROM agent WHERE revoked_at IS NULL")
    run_id = ask(standing)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    assert standing.world.calls == ["up cluster"]
    assert [item["name"] for item in told(standing, run_id)["lost"]] == ["eks"]
    assert [item["id"] for item in told(standing, run_id)["kept"]] == [BUCKET]
    shown = view(standing.bench.run(run_id)["plan"], None).restore
    assert shown is not None
    assert ([item.name for item in shown.lost], shown.source) == (["eks"], "present")
    (dropped,) = events(standing, "install.resource-dropped")
    assert dropped["urn"] == urn("cluster", "eks")
    # A new cluster's agent is another one, let in by a token of its own.
    (after,) = standing.bench.rows("SELECT id FROM agent WHERE revoked_at IS NULL")
    assert after["id"] != before["id"]
    assert standing.bench.states(run_id)["first-answer"] == "succeeded"
    assert "release" in standing.world.things
    assert "way-in" not in standing.world.things
    assert axes(standing) == ("installed", "healthy", "closed")


def test_what_is_lost_of_the_customers_is_said_before_anybody_approves(standing: Stage):
    standing.world.deleted.add("bucket")
    run_id = ask(standing)
    state = standing.bench.execute(run_id, DEFINITION, standing.ports)
    assert state == "awaiting-approval"
    (lost,) = told(standing, run_id)["lost"]
    assert (lost["name"], bool(lost["reason"])) == ("bucket", True)
    standing.bench.ask(deny, run_id, "the backup first", ctx=standing.bench.tenant.approver)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "cancelled"
    assert standing.world.calls == []
    assert events(standing, "install.resource-dropped") == []
    assert axes(standing) == ("installed", "healthy", "closed")


def test_what_is_unclear_waits_for_a_person_with_the_call_and_goes_on(standing: Stage):
    lose_record(standing)
    standing.world.doubtful.add("bucket")
    run_id = ask(standing)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "needs-attention"
    reason = standing.bench.run(run_id)["parked_reason"]
    assert "s3:HeadBucket" in reason
    assert "bucket" in reason
    assert standing.world.known() == set()
    standing.world.doubtful.clear()
    standing.bench.ask(retry, run_id)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    assert standing.world.known() == set(TYPES)


def dying_once(definition: Definition, key: str) -> Definition:
    """Return the saga in which step `key` dies after its action, before that is written down."""
    died: list[str] = []

    def forward_of(original: Any) -> Any:
        def forward(context: StepContext[Any, Any]) -> StepResult:
            result: StepResult = original(context)
            if not died:
                died.append(key)
                raise UnavailableError("the worker died")
            return result

        return forward

    return replace(
        definition,
        steps=tuple(
            replace(step, forward=forward_of(step.forward)) if step.key == key else step
            for step in definition.steps
        ),
    )


@pytest.mark.parametrize("key", ["state", "adopt", "plan", "cluster"])
def test_a_worker_that_dies_in_a_restore_leaves_one_outcome(standing: Stage, key: str):
    lose_record(standing)
    run_id = ask(standing, empty=True)
    assert standing.go(run_id, dying_once(DEFINITION, key)) == "succeeded"
    assert standing.bench.steps(run_id)[key]["attempt"] == 2
    assert {item["name"] for item in told(standing, run_id)["adopted"]} == set(TYPES)
    assert standing.world.known() == set(TYPES)
    assert set(standing.world.calls) == {"up foundation", "up cluster"}
    assert axes(standing) == ("installed", "healthy", "closed")


def test_every_action_of_a_restore_may_run_twice(standing: Stage):
    standing.world.forgotten = {"bucket"}
    lose_cluster(standing)
    run_id = ask(standing)
    assert standing.go(run_id, twice(DEFINITION)) == "succeeded"
    assert [s.label for s, _ in standing.world.saved].count("before restore") == 1
    assert axes(standing) == ("installed", "healthy", "closed")


def test_a_boundary_that_is_ahead_of_an_old_database_gets_a_bundle_it_takes(standing: Stage):
    agent = standing.world.agent
    assert agent is not None
    agent.has_applied(5)
    standing.bench.change(
        "UPDATE agent_status SET applied_sequence = 5,"
        " status = jsonb_set(status, '{applied_sequence}', '5')"
    )
    lose_record(standing)
    run_id = ask(standing)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    # Nothing else is wanted than what we published last, and yet nobody knows what runs there.
    assert standing.bench.steps(run_id)["desired"]["output"]["sequence"] == 6
    (status,) = standing.bench.rows("SELECT applied_sequence FROM agent_status")
    assert status["applied_sequence"] == 6
    (raised,) = events(standing, "bundle.sequence-raised")
    assert raised == {"published": 1, "reported": 5}


@pytest.mark.parametrize(
    "ends", ["denied", "failed", "failed before its plan", "cancelled before its plan"]
)
def test_an_agent_that_died_with_its_cluster_is_asked_for_nothing(standing: Stage, ends: str):
    lose_cluster(standing)
    run_id = ask(standing)
    before = ends.endswith("before its plan")
    definition = failing(DEFINITION, "adopt" if before else "foundation", after_action=False)
    if ends == "cancelled before its plan":
        definition = DEFINITION
        standing.world.doubtful = {"eks"}
        assert standing.bench.execute(run_id, definition, standing.ports) == "needs-attention"
        standing.bench.ask(request_cancel, run_id)
    if before:
        state = standing.bench.execute(run_id, definition, standing.ports)
        assert standing.bench.run(run_id)["plan"] is None
    elif ends == "denied":
        standing.bench.execute(run_id, definition, standing.ports)
        standing.bench.ask(deny, run_id, "not today", ctx=standing.bench.tenant.approver)
        state = standing.bench.execute(run_id, definition, standing.ports)
    else:
        state = standing.go(run_id, definition)
    (spoke,) = standing.bench.rows(
        "SELECT last_seen_at > now() - interval '2 minutes' AS lately FROM agent"
        " WHERE revoked_at IS NULL"
    )
    assert spoke["lately"]
    # The customer ends the role: nobody waits for an answer from a cluster that is not there.
    assert state == "closing"
    standing.finish_without_agent(run_id, definition)
    steps = standing.bench.steps(run_id)
    assert steps["role-delete"]["output"]["closed_by"] == "customer"
    assert steps["certificate"]["output"]["countersigned"] is False
    assert standing.bench.rows("SELECT id FROM verb WHERE run_id = %s", run_id) == []
    assert standing.grant()["state"] == "closed"


def test_a_living_agent_ends_the_role_of_a_restore_that_ends_before_its_plan(standing: Stage):
    run_id = ask(standing)
    failed = failing(DEFINITION, "adopt", after_action=False)
    assert standing.bench.execute(run_id, failed, standing.ports) == "failed"
    assert standing.bench.run(run_id)["plan"] is None
    assert standing.bench.steps(run_id)["census"]["output"]["cluster_gone"] is False
    assert standing.bench.steps(run_id)["role-delete"]["output"]["closed_by"] == "agent"
    assert standing.grant()["state"] == "closed"


@pytest.mark.parametrize("key", STOPS)
def test_a_restore_that_fails_takes_nothing_back_and_another_goes_on(standing: Stage, key: str):
    lose_cluster(standing)
    run_id = ask(standing)
    state = standing.go(run_id, failing(DEFINITION, key, after_action=False))
    assert {"foundation", "vpc", "bucket"} <= standing.world.things
    if state == "closing":
        state = standing.finish_without_agent(run_id, DEFINITION)
    assert state == "failed"
    assert axes(standing)[0] == "partial"
    assert certificate_of(standing, run_id).outcome == "failed"
    standing.open_grant()
    assert standing.go(ask(standing), DEFINITION) == "succeeded"
    assert axes(standing) == ("installed", "healthy", "closed")
