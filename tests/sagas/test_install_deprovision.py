"""The removal sagas on the real engine and database, with fakes of what is outside."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from controlplane.adapters.helm.release import ReleaseFailedError
from controlplane.core.run_engine import deny
from controlplane.core.run_engine.definition import Definition
from controlplane.sagas.install_deprovision import DEFINITION, PURGE
from controlplane.sagas.install_provision import DEFINITION as PROVISION
from proof.certificates import CertificateError, verify_certificate
from proof.keys import decode_public, fingerprint
from tests.sagas.fake_world import BUCKET, PARTS
from tests.sagas.properties import failing, twice
from tests.sagas.stage import Stage
from wire.certificate import CertificateFile, RemovalCertificate
from wire.envelope import Envelope

WORK = [step.key for step in DEFINITION.steps if step.phase == "work"]
BUILT = {"foundation", "cluster", "release", *PARTS["foundation"], *PARTS["cluster"], "object:m"}
KEPT = {"foundation", "bucket", "object:m"}
ASKED = {"reason": "the pilot is over", "purge": False}


@pytest.fixture
def built(stage: Stage) -> Stage:
    """Show an install that stands, with a new grant for its removal; its agent is silent."""
    stage.world.things = set(BUILT)
    stage.bench.change("UPDATE install SET lifecycle = 'installed', health = 'healthy'")
    return stage


def remove(stage: Stage, definition: Definition = DEFINITION) -> UUID:
    """Ask for the removal, approve it, let the customer end the role; return the run."""
    run_id = stage.start(definition, {**ASKED, "purge": definition.kind == PURGE.kind})
    assert stage.go(run_id, definition) == "closing"
    stage.finish_without_agent(run_id, definition)
    return run_id


def certificate_of(stage: Stage, run_id: UUID) -> RemovalCertificate:
    """Verify the certificate offline, as the customer would, and return it."""
    (row,) = stage.bench.rows("SELECT envelope FROM certificate WHERE run_id = %s", run_id)
    pin = fingerprint(decode_public(stage.signer_public))
    envelope = Envelope.model_validate(row["envelope"])
    file = CertificateFile(envelope=envelope, keys={pin: stage.signer_public})
    certificate = verify_certificate(file, pin).certificate
    assert isinstance(certificate, RemovalCertificate)
    disguised = envelope.model_copy(
        update={"payloadType": "application/vnd.ringfence.install-certificate+json"}
    )
    with pytest.raises(CertificateError):
        verify_certificate(file.model_copy(update={"envelope": disguised}), pin)
    return certificate


def lifecycle(stage: Stage) -> tuple[Any, ...]:
    install = stage.install()
    return install["lifecycle"], install["health"], install["access"]


def test_a_removal_leaves_the_customers_data_and_proves_the_rest_gone(built: Stage):
    run_id = remove(built)
    assert built.bench.run(run_id)["state"] == "succeeded"
    assert built.world.things == KEPT
    assert built.world.calls == ["destroy cluster", "destroy foundation"]
    certificate = certificate_of(built, run_id)
    assert (certificate.outcome, certificate.cluster) == ("removed", "opened")
    assert {(item.stack, item.id) for item in certificate.removed} == {
        ("cluster", "eks-1"),
        ("foundation", "vpc-1"),
    }
    assert [(item.id, bool(item.reason)) for item in certificate.retained] == [(BUCKET, True)]
    assert [item.name for item in certificate.residue if not item.expected] == []
    assert certificate.access.closed_by == "customer"
    assert {p.action for p in certificate.access.proofs} == {"ec2:DescribeVpcs", "sts:AssumeRole"}
    assert lifecycle(built) == ("removed", "unknown", "closed")
    assert [item["id"] for item in built.install()["retained"]] == [BUCKET]


def test_every_action_of_a_removal_may_run_twice(built: Stage):
    run_id = remove(built, twice(DEFINITION))
    assert built.bench.run(run_id)["state"] == "succeeded"
    assert built.world.things == KEPT


def test_a_second_person_approves_what_goes_and_what_stays(built: Stage):
    run_id = built.start(DEFINITION, ASKED)
    assert built.bench.execute(run_id, DEFINITION, built.ports) == "awaiting-approval"
    assert built.world.things == BUILT
    plan = built.bench.run(run_id)["plan"]
    stacks = plan["constraint"]["stacks"]
    assert {(r["type"], r["op"]) for r in stacks["foundation"]} == {
        ("aws:ec2/vpc:Vpc", "delete"),
        ("aws:s3/bucket:Bucket", "retain"),
    }
    assert plan["reason"] == "the pilot is over"
    built.bench.ask(deny, run_id, "not yet", ctx=built.bench.tenant.approver)
    assert built.bench.execute(run_id, DEFINITION, built.ports) == "closing"
    built.finish_without_agent(run_id, DEFINITION)
    assert built.world.things == BUILT
    assert certificate_of(built, run_id).outcome == "cancelled"
    assert lifecycle(built) == ("installed", "healthy", "closed")


def test_a_resource_that_appears_after_the_approval_stops_the_removal(built: Stage):
    built.world.things -= {"vpc"}
    run_id = built.start(DEFINITION, ASKED)
    built.bench.execute(run_id, DEFINITION, built.ports)
    built.world.things |= {"vpc"}
    assert built.go_on(run_id, DEFINITION) == "needs-attention"
    assert "not in the approved list" in built.bench.run(run_id)["parked_reason"]
    assert "vpc" in built.world.things


def test_a_lost_cluster_is_destroyed_from_outside(built: Stage):
    built.world.lost_cluster = True
    run_id = remove(built)
    assert built.bench.run(run_id)["state"] == "succeeded"
    assert built.bench.states(run_id)["release"] == "skipped"
    assert certificate_of(built, run_id).cluster == "lost"
    assert built.world.things == KEPT


def test_resources_that_were_deleted_by_hand_are_no_error(built: Stage):
    built.world.things -= {"cluster", "eks", "release", "vpc"}
    run_id = remove(built)
    assert built.bench.run(run_id)["state"] == "succeeded"
    assert built.bench.states(run_id)["cluster"] == "skipped"
    assert certificate_of(built, run_id).cluster == "absent"
    assert built.world.things == KEPT


def test_a_chart_that_does_not_go_does_not_keep_the_cluster(
    built: Stage, monkeypatch: pytest.MonkeyPatch
):
    def refuse(*_: object) -> bool:
        raise ReleaseFailedError("helm uninstall failed: timed out")

    monkeypatch.setattr("tests.sagas.fake_world.FakeReleases.uninstall", refuse)
    run_id = remove(built)
    assert built.bench.states(run_id)["release"] == "skipped"
    assert built.world.things == KEPT


def test_what_something_outside_holds_is_named_and_another_removal_goes_on(built: Stage):
    built.world.stubborn = {"foundation"}
    run_id = remove(built)
    run = built.bench.run(run_id)
    assert (run["state"], run["at_fault"]) == ("failed", "foundation")
    assert built.bench.steps(run_id)["foundation"]["error_code"] == "residue"
    assert built.world.things == KEPT | {"vpc"}
    certificate = certificate_of(built, run_id)
    assert certificate.outcome == "failed"
    assert certificate.removed == ()
    assert [i.name for i in certificate.residue if not i.expected] == ["vpc-1"]
    assert lifecycle(built) == ("partial", "unknown", "closed")
    built.world.stubborn = set()
    built.open_grant()
    assert built.bench.run(remove(built))["state"] == "succeeded"
    assert built.world.things == KEPT


@pytest.mark.parametrize("key", WORK)
def test_a_removal_that_fails_at_any_step_takes_nothing_back_and_closes(built: Stage, key: str):
    run_id = built.start(DEFINITION, ASKED)
    broken = failing(DEFINITION, key, after_action=True)
    assert built.go(run_id, broken) == "closing"
    left = set(built.world.things)
    built.finish_without_agent(run_id, broken)
    run = built.bench.run(run_id)
    assert (run["state"], run["at_fault"]) == ("failed", key)
    assert "unwound" not in built.bench.states(run_id).values()
    assert built.world.things == left - {"way-in"}
    assert built.grant()["state"] == "closed"


def test_a_purge_destroys_what_was_retained(built: Stage):
    remove(built)
    built.open_grant()
    run_id = remove(built, PURGE)
    assert built.bench.run(run_id)["state"] == "succeeded"
    assert built.world.things == set()
    certificate = certificate_of(built, run_id)
    assert certificate.outcome == "purged"
    assert [item.id for item in certificate.removed] == [BUCKET]
    assert certificate.retained == ()
    assert built.install()["retained"] == []


def test_an_install_after_a_removal_takes_the_data_over_and_its_unwind_leaves_it(built: Stage):
    remove(built)
    built.open_grant()
    broken = failing(PROVISION, "stack", after_action=False)
    run_id = built.start(broken)
    assert built.go(run_id, broken) == "closing"
    built.finish_without_agent(run_id, broken)
    assert {"bucket", "object:m"} <= built.world.things
    assert not {"vpc", "eks", "cluster"} & built.world.things
    assert [item["id"] for item in built.install()["retained"]] == [BUCKET]


def test_no_external_id_is_in_rows_or_certificates_of_a_removal(built: Stage):
    run_id = remove(built)
    shown = json.dumps(
        [built.bench.run(run_id), built.bench.steps(run_id), built.bench.events(run_id)],
        default=str,
    )
    shown += certificate_of(built, run_id).model_dump_json()
    assert "00112233445566778899aabbccddeeff" not in shown
