"""The install saga on the real engine and database, with fakes of what is outside."""

from __future__ import annotations

import base64
import json
from uuid import UUID

import pytest

from controlplane.core.run_engine import deny, request_cancel, retry
from controlplane.sagas.install_provision import DEFINITION
from tests.sagas.bench import wait_until
from tests.sagas.properties import failing, twice, undone_twice
from tests.sagas.stage import ADAPTER, BASE, Stage

WORK = [step.key for step in DEFINITION.steps if step.phase == "work"]
CLOSE = [step.key for step in DEFINITION.steps if step.phase == "close"]


def assert_installed(stage: Stage, run_id: UUID) -> None:
    assert stage.bench.run(run_id)["state"] == "succeeded"
    expected = {"foundation", "cluster", "release", "object:tiny-coder", "object:payments-style"}
    assert stage.world.left() == expected
    assert not stage.world.role_exists
    assert not stage.world.has_power
    envelope, certificate = stage.certificate()
    assert len(envelope.signatures) == 2
    assert certificate.outcome == "succeeded"
    assert certificate.access.closed_by == "agent"
    assert {p.action for p in certificate.access.proofs} == {
        "kubernetes:connect",
        "ec2:DescribeVpcs",
        "sts:AssumeRole",
    }
    assert certificate.artifact_digests == {"tiny-coder": BASE, "payments-style": ADAPTER}
    assert stage.grant()["state"] == "closed"
    assert stage.grant()["closed_by"] == "agent"
    install = stage.install()
    assert (install["lifecycle"], install["access"]) == ("installed", "closed")


def assert_nothing_left(stage: Stage, run_id: UUID, state: str, outcome: str) -> None:
    assert stage.bench.run(run_id)["state"] == state
    assert stage.world.left() == set()
    _, certificate = stage.certificate()
    assert certificate.outcome == outcome
    assert certificate.access.closed_by == "customer"
    assert len(stage.certificate()[0].signatures) == 1
    assert stage.grant()["state"] == "closed"
    assert stage.install()["lifecycle"] == "failed"
    agents = stage.bench.rows("SELECT count(*) AS n FROM agent WHERE revoked_at IS NULL")
    assert agents[0]["n"] == 0


def test_an_install_succeeds_and_ends_our_access(stage: Stage):
    run_id = stage.start()
    assert stage.go(run_id) == "succeeded"
    assert_installed(stage, run_id)


def test_every_action_may_run_twice(stage: Stage):
    run_id = stage.start()
    assert stage.go(run_id, twice(DEFINITION)) == "succeeded"
    assert_installed(stage, run_id)


@pytest.mark.parametrize("key", WORK)
@pytest.mark.parametrize("after_action", [False, True], ids=["before", "after"])
def test_a_failure_at_any_step_leaves_nothing_and_closes(
    stage: Stage, key: str, after_action: bool
):
    broken = undone_twice(failing(DEFINITION, key, after_action=after_action))
    run_id = stage.start()
    assert stage.go(run_id, broken) == "closing"
    run = stage.bench.run(run_id)
    assert (run["at_fault"], run["outcome"]) == (key, "failed")
    assert stage.bench.steps(run_id)[key]["error_code"] == "injected"
    stage.finish_without_agent(run_id, broken)
    assert_nothing_left(stage, run_id, "unwound", "unwound")


@pytest.mark.parametrize("key", CLOSE)
def test_a_close_that_fails_waits_for_a_person_and_then_ends_well(stage: Stage, key: str):
    run_id = stage.start()
    broken = failing(DEFINITION, key, after_action=True)
    assert stage.go(run_id, broken) == "needs-attention"
    assert {"foundation", "cluster", "release"} <= stage.world.left()
    stage.bench.ask(retry, run_id)
    assert stage.bench.execute(run_id, DEFINITION, stage.ports) == "succeeded"
    assert_installed(stage, run_id)


def test_weights_are_copied_while_the_cluster_is_built(stage: Stage):
    stage.world.during_cluster = lambda: wait_until(
        lambda: "object:payments-style" in stage.world.things, "the weights arrive meanwhile"
    )
    assert stage.go(stage.start()) == "succeeded"


def test_a_refused_plan_builds_nothing_and_closes(stage: Stage):
    run_id = stage.start()
    assert stage.bench.execute(run_id, DEFINITION, stage.ports) == "awaiting-approval"
    stage.bench.ask(deny, run_id, "not this week", ctx=stage.bench.tenant.approver)
    assert stage.bench.execute(run_id, DEFINITION, stage.ports) == "closing"
    assert stage.world.calls == []
    stage.finish_without_agent(run_id)
    assert_nothing_left(stage, run_id, "cancelled", "cancelled")


def test_an_apply_that_differs_from_the_approved_plan_stops_and_asks(stage: Stage):
    run_id = stage.start()
    stage.world.drifted_plan = True
    assert stage.go(run_id) == "needs-attention"
    assert "differ from the approved plan" in stage.bench.run(run_id)["parked_reason"]
    assert stage.world.calls == ["up foundation"]
    stage.bench.ask(request_cancel, run_id)
    assert stage.bench.execute(run_id, DEFINITION, stage.ports) == "closing"
    assert stage.world.left() == set()


def test_nothing_is_applied_under_a_grant_that_ends_too_soon(stage: Stage):
    run_id = stage.start()
    stage.bench.change(
        "UPDATE access_grant SET grant_until = now() + interval '20 seconds' WHERE id = %s",
        stage.grant_id,
    )
    assert stage.go(run_id) == "waiting-for-grant"
    assert stage.world.calls == []
    assert "open a new grant" in stage.bench.run(run_id)["parked_reason"]
    stage.bench.change(
        "UPDATE access_grant SET grant_until = now() + interval '1 hour' WHERE id = %s",
        stage.grant_id,
    )
    stage.bench.ask(retry, run_id)
    assert stage.bench.execute(run_id, DEFINITION, stage.ports) == "succeeded"


def test_the_end_of_the_grant_closes_an_install_without_agent_by_expiry(stage: Stage):
    broken = failing(DEFINITION, "foundation", after_action=True)
    run_id = stage.start()
    assert stage.go(run_id, broken) == "closing"
    stage.bench.change(
        "UPDATE access_grant SET grant_until = now() - interval '1 second' WHERE id = %s",
        stage.grant_id,
    )
    stage.finish_without_agent(run_id, broken)
    assert stage.certificate()[1].access.closed_by == "expiry"
    assert stage.grant()["closed_by"] == "expiry"


def test_a_bundle_that_the_agent_refuses_unwinds_with_its_reason(stage: Stage):
    stage.world.refuses_bundle = True
    run_id = stage.start()
    assert stage.go(run_id) == "closing"
    assert stage.bench.run(run_id)["at_fault"] == "ready"
    assert "I do not want it" in stage.bench.steps(run_id)["ready"]["error_message"]


def test_no_token_or_external_id_is_in_rows_that_people_read(stage: Stage):
    run_id = stage.start()
    stage.go(run_id)
    shown = json.dumps(
        [stage.bench.run(run_id), stage.bench.steps(run_id), stage.bench.events(run_id)],
        default=str,
    )
    envelope, _ = stage.certificate()
    shown += base64.b64decode(envelope.payload).decode()
    assert "rfe_" not in shown
    assert "00112233445566778899aabbccddeeff" not in shown
