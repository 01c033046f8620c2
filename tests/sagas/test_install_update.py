"""The update saga on the real engine and database, with fakes of what is outside."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb
from sqlalchemy.orm import Session

from blueprints.eks_model_stack.about import VERSION
from controlplane.adapters.pulumi.messages import PlannedResource
from controlplane.core.errors import ConflictError
from controlplane.core.ids import new_id
from controlplane.core.run_engine import approve, deny
from controlplane.core.run_engine.definition import Hold
from controlplane.sagas.install_drift import DEFINITION as DRIFT
from controlplane.sagas.install_update import DEFINITION
from controlplane.sagas.provisioning.updating import require_found
from proof.certificates import verify_certificate
from proof.keys import decode_public, fingerprint
from tests.sagas.fake_world import TYPES, urn
from tests.sagas.properties import failing, twice
from tests.sagas.stage import Stage
from wire.certificate import CertificateFile, InstallCertificate
from wire.envelope import Envelope

STOPS = ("foundation", "reach_open", "stack", "ready")
ASKED = {"reason": "more nodes"}
MORE = {"node_count": 3}


@pytest.fixture
def standing(stage: Stage) -> Stage:
    """Show an install that was brought about by a run, its agent alive, under a new grant."""
    assert stage.go(stage.start()) == "succeeded"
    stage.open_grant()
    stage.world.calls.clear()
    return stage


def ask(stage: Stage, **change: Any) -> UUID:
    """Ask for an update to a further revision, as the API would; return the run."""
    stage.bench.change(
        "INSERT INTO install_revision (organization_id, boundary_id, id, install_id, grant_id,"
        " blueprint_version_id, number, inputs, inputs_digest, created_by)"
        " SELECT organization_id, boundary_id, %s, install_id, %s, blueprint_version_id,"
        " number + 1, inputs || %s, 'sha256:1', created_by FROM install_revision"
        " ORDER BY number DESC LIMIT 1",
        new_id(),
        stage.grant_id,
        Jsonb(change),
    )
    return stage.start(DEFINITION, ASKED)


def certificate_of(stage: Stage, run_id: UUID) -> InstallCertificate:
    """Verify the certificate offline, as the customer would, and return it."""
    (row,) = stage.bench.rows("SELECT envelope FROM certificate WHERE run_id = %s", run_id)
    pin = fingerprint(decode_public(stage.signer_public))
    envelope = Envelope.model_validate(row["envelope"])
    keys = {pin: stage.signer_public}
    keys |= {
        agent["fingerprint"]: agent["public_key"]
        for agent in stage.bench.rows("SELECT fingerprint, public_key FROM agent")
    }
    certificate = verify_certificate(CertificateFile(envelope=envelope, keys=keys), pin).certificate
    assert isinstance(certificate, InstallCertificate)
    return certificate


def axes(stage: Stage) -> tuple[Any, ...]:
    install = stage.install()
    return install["lifecycle"], install["health"], install["access"]


def test_an_update_changes_what_was_asked_for_and_ends_our_access(standing: Stage):
    run_id = ask(standing, **MORE)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    assert standing.world.calls == ["up cluster"]
    assert standing.world.inputs["cluster"]["node_count"] == 3
    plan = standing.bench.run(run_id)["plan"]
    assert (plan["kind"], plan["reason"]) == ("update", "more nodes")
    assert plan["update"] == {
        "from_revision": 1,
        "to_revision": 2,
        "from_version": VERSION,
        "to_version": VERSION,
        "inputs": [{"name": "node_count", "old": None, "new": 3}],
        "desired": [],
        "release": False,
    }
    assert standing.bench.states(run_id)["stack"] == "skipped"
    assert not standing.world.role_exists
    assert standing.grant()["state"] == "closed"
    certificate = certificate_of(standing, run_id)
    assert (certificate.operation, certificate.outcome) == ("update", "succeeded")
    assert certificate.access.closed_by == "agent"
    assert axes(standing) == ("installed", "healthy", "closed")


def test_every_action_of_an_update_may_run_twice(standing: Stage):
    run_id = ask(standing, **MORE)
    assert standing.go(run_id, twice(DEFINITION)) == "succeeded"
    assert standing.world.inputs["cluster"]["node_count"] == 3
    assert axes(standing) == ("installed", "healthy", "closed")


def closed(session: Session, boundary_id: UUID) -> Hold:
    """Stand outside every window."""
    return Hold("outside the windows")


def test_an_update_waits_for_a_window_once_it_is_approved(standing: Stage):
    run_id = ask(standing, **MORE)
    execute = standing.bench.execute
    assert execute(run_id, DEFINITION, standing.ports, closed) == "awaiting-approval"
    standing.bench.ask(
        approve,
        run_id,
        standing.bench.run(run_id)["plan_digest"],
        ctx=standing.bench.tenant.approver,
    )
    assert execute(run_id, DEFINITION, standing.ports, closed) == "paused"
    assert standing.world.calls == []


def test_an_update_that_changes_nothing_says_so_and_applies_nothing_and_waits_for_no_window(
    standing: Stage,
):
    run_id = ask(standing)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports, closed) == "succeeded"
    assert standing.world.calls == []
    steps = standing.bench.states(run_id)
    assert steps["approval"] == steps["account"] == steps["reach_open"] == "skipped"
    assert standing.bench.run(run_id)["approved_digest"] is None
    assert standing.grant()["state"] == "closed"
    assert certificate_of(standing, run_id).plan_digest is None
    assert axes(standing) == ("installed", "healthy", "closed")


def test_drift_is_set_right_by_an_update_with_unchanged_inputs(standing: Stage):
    standing.world.changed["vpc"] = {"tags": {"owner": "them"}}
    scan = standing.start(DRIFT, {"keep_open": True})
    assert standing.bench.execute(scan, DRIFT, standing.ports) == "succeeded"
    assert standing.install()["drift"] == "found"
    run_id = ask(standing)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    assert standing.world.calls == ["up foundation"]
    (finding,) = standing.bench.rows("SELECT * FROM drift_finding")
    assert finding["remediated_by"] == run_id
    assert finding["resolved_at"] is not None
    assert standing.bench.steps(run_id)["account"]["output"]["remediated"] == 1
    assert standing.install()["drift"] == "none"


def test_another_set_of_models_is_published_without_the_way_in(standing: Stage):
    standing.bench.change(
        "UPDATE model_version SET retired_at = now() WHERE name = 'payments-style'"
    )
    run_id = ask(standing)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    desired = standing.bench.run(run_id)["plan"]["update"]["desired"]
    assert {(item["kind"], item["change"]) for item in desired} == {
        ("AdapterBinding", "removed"),
        ("ModelArtifact", "removed"),
    }
    assert standing.world.calls == []
    assert standing.bench.steps(run_id)["desired"]["output"]["sequence"] == 2
    assert standing.bench.steps(run_id)["reach_close"]["state"] == "skipped"


def test_a_plan_that_would_replace_what_holds_the_install_is_refused_by_its_input(standing: Stage):
    run_id = ask(standing, cidr="10.30.0.0/16")
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "failed"
    run = standing.bench.run(run_id)
    assert (run["at_fault"], run["error_code"]) == ("plan", "step-failed")
    step = standing.bench.steps(run_id)["plan"]
    assert step["error_code"] == "would-replace"
    assert "aws:ec2/vpc:Vpc vpc because of cidr" in step["error_message"]
    assert standing.world.calls == []
    assert axes(standing) == ("installed", "healthy", "closed")
    assert certificate_of(standing, run_id).outcome == "failed"


def test_a_refused_plan_changes_nothing_and_the_next_update_starts_from_what_stands(
    standing: Stage,
):
    run_id = ask(standing, **MORE)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "awaiting-approval"
    standing.bench.ask(deny, run_id, "not this week", ctx=standing.bench.tenant.approver)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "cancelled"
    assert standing.world.calls == []
    assert axes(standing) == ("installed", "healthy", "closed")
    standing.open_grant()
    again = ask(standing, node_count=4)
    standing.bench.execute(again, DEFINITION, standing.ports)
    update = standing.bench.run(again)["plan"]["update"]
    assert (update["from_revision"], update["to_revision"]) == (1, 3)
    assert update["inputs"] == [{"name": "node_count", "old": None, "new": 4}]


@pytest.mark.parametrize("key", STOPS)
def test_an_update_that_fails_at_any_step_takes_nothing_back_and_closes(standing: Stage, key: str):
    standing.ports.settings.images["ringfence/agent"] = "ringfence/agent@sha256:" + "d" * 64
    broken = failing(DEFINITION, key, after_action=True)
    run_id = ask(standing, **MORE)
    assert standing.go(run_id, broken) == "failed"
    assert standing.bench.run(run_id)["at_fault"] == key
    assert {"foundation", "cluster", "release", "vpc", "bucket", "eks"} <= standing.world.things
    assert "way-in" not in standing.world.things
    assert standing.grant()["state"] == "closed"
    assert certificate_of(standing, run_id).outcome == "failed"
    assert axes(standing) == ("partial", "healthy", "closed")


def test_after_a_failure_an_update_goes_back_to_what_was_applied_last(standing: Stage):
    assert standing.go(ask(standing, **MORE), failing(DEFINITION, "ready", after_action=False)) == (
        "failed"
    )
    assert standing.world.inputs["cluster"]["node_count"] == 3
    standing.open_grant()
    back = ask(standing, node_count=2)
    assert standing.go(back, DEFINITION) == "succeeded"
    assert standing.world.inputs["cluster"]["node_count"] == 2
    assert axes(standing) == ("installed", "healthy", "closed")


def test_the_way_in_is_opened_only_for_another_release(standing: Stage):
    standing.ports.settings.images["ringfence/agent"] = "ringfence/agent@sha256:" + "d" * 64
    run_id = ask(standing)
    assert standing.go(run_id, DEFINITION) == "succeeded"
    assert standing.bench.run(run_id)["plan"]["update"]["release"] is True
    steps = standing.bench.states(run_id)
    assert (steps["stack"], steps["reach_close"]) == ("succeeded", "succeeded")
    # The agent that lives keeps its identity: it was given no token.
    tokens = standing.bench.rows("SELECT count(*) AS n FROM enrolment_token")
    assert tokens[0]["n"] == 1
    standing.open_grant()
    again = ask(standing)
    assert standing.bench.execute(again, DEFINITION, standing.ports) == "succeeded"
    assert standing.bench.states(again)["approval"] == "skipped"


def known(*parts: str) -> list[dict[str, Any]]:
    return [{"urn": urn("foundation", part), "id": f"{part}-1"} for part in parts]


def created(part: str) -> PlannedResource:
    return PlannedResource(urn=urn("foundation", part), type=TYPES[part], op="create", inputs={})


def test_a_cluster_that_is_gone_is_not_made_again_by_an_update():
    with pytest.raises(ConflictError, match="the cluster is not found") as caught:
        require_found("foundation", (created("eks"),), known("eks", "vpc"))
    assert caught.value.stable_code == "lost-cluster"
    require_found("foundation", (created("eks"),), [])


def test_so_much_missing_is_unclear_and_not_planned_anew():
    with pytest.raises(ConflictError, match="unreachable is not gone"):
        require_found("foundation", (created("vpc"),), known("vpc", "bucket"))
