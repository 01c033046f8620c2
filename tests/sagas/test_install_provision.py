"""The install saga on the real engine and database, with fakes of what is outside."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from psycopg.types.json import Jsonb

from blueprints.manifest import load
from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.core.ids import new_id
from controlplane.core.run_engine import approve, deny, request_cancel, retry
from controlplane.core.run_engine.definition import Definition
from controlplane.sagas.install_provision import DEFINITION
from controlplane.sagas.provisioning.ports import Ports, ProvisionSettings
from proof.dsse import open_envelope
from proof.keys import create_private_key, decode_public, encode_public
from tests.sagas.bench import Bench, wait_until
from tests.sagas.fake_world import (
    FakeCloud,
    FakeCountersigner,
    FakeEngine,
    FakeRecovery,
    FakeReleases,
    FakeSessions,
    FakeState,
    World,
)
from tests.sagas.properties import failing, twice, undone_twice
from wire.certificate import CERTIFICATE_TYPE, InstallCertificate
from wire.envelope import Envelope

WORK = [step.key for step in DEFINITION.steps if step.phase == "work"]
CLOSE = [step.key for step in DEFINITION.steps if step.phase == "close"]
BASE = "sha256:" + "a" * 64
ADAPTER = "sha256:" + "b" * 64


@dataclass
class Stage:
    """A bench with an active grant, a catalog and a fake world."""

    bench: Bench
    world: World
    ports: Ports
    grant_id: UUID
    signer_public: str

    def start(self) -> UUID:
        return self.bench.start(DEFINITION)

    def go(self, run_id: UUID, definition: Definition = DEFINITION) -> str:
        """Execute; approve the plan when it is asked for."""
        state = self.bench.execute(run_id, definition, self.ports)
        if state != "awaiting-approval":
            return state
        digest = self.bench.run(run_id)["plan_digest"]
        self.bench.ask(approve, run_id, digest, ctx=self.bench.tenant.approver)
        return self.bench.execute(run_id, definition, self.ports)

    def finish_without_agent(self, run_id: UUID, definition: Definition = DEFINITION) -> str:
        """Let the customer delete the role of a run that waits in `closing`."""
        assert self.bench.run(run_id)["state"] == "closing"
        assert not self.world.has_power
        self.world.role_exists = False
        self.bench.change("UPDATE run SET next_run_at = now() WHERE id = %s", run_id)
        return self.bench.execute(run_id, definition, self.ports)

    def certificate(self) -> tuple[Envelope, InstallCertificate]:
        rows = self.bench.rows("SELECT envelope FROM certificate")
        assert len(rows) == 1
        envelope = Envelope.model_validate(rows[0]["envelope"])
        key = {"control plane": decode_public(self.signer_public)}
        return envelope, InstallCertificate.from_wire(
            open_envelope(envelope, CERTIFICATE_TYPE, key)
        )

    def grant(self) -> dict[str, Any]:
        return self.bench.rows("SELECT * FROM access_grant WHERE id = %s", self.grant_id)[0]

    def install(self) -> dict[str, Any]:
        return self.bench.rows("SELECT * FROM install")[0]


def seed(bench: Bench, duration: str = "1 hour") -> UUID:
    """Write connection, open grant, blueprint, revision and models; return the grant's id."""
    tenant, ids = bench.tenant, {"connection": new_id(), "grant": new_id(), "blueprint": new_id()}
    manifest = load("eks-model-stack")
    keys = (tenant.organization_id, tenant.boundary_id)
    sam, ana = tenant.requester.actor, tenant.approver.actor
    with psycopg.connect(bench.urls.admin) as connection:
        run = connection.execute
        for actor in (sam, ana):
            run(
                "INSERT INTO principal (id, issuer, subject, kind, display)"
                " VALUES (%s, %s, %s, 'human', %s)",
                (actor.principal_id, actor.issuer, actor.subject, actor.display),
            )
        run(
            "INSERT INTO cloud_connection (organization_id, boundary_id, id, external_id, account,"
            " region, partition, role_base_name, state) VALUES (%s, %s, %s,"
            " 'ringfence-00112233445566778899aabbccddeeff', '111122223333', 'eu-central-1', 'aws',"
            " 'ringfence-payments', 'open')",
            (*keys, ids["connection"]),
        )
        run(
            "INSERT INTO access_grant (organization_id, boundary_id, id, connection_id, number,"
            " purpose, reason, policy_digest, duration_seconds, state, requested_by, decided_by,"
            " activated_at, grant_until) VALUES (%s, %s, %s, %s, 1, 'install', 'test', 'sha256:0',"
            " 3600, 'active', %s, %s, now(), now() + %s::interval)",
            (*keys, ids["grant"], ids["connection"], sam.principal_id, ana.principal_id, duration),
        )
        run(
            "INSERT INTO blueprint_version (id, name, version, digest, manifest)"
            " VALUES (%s, %s, %s, %s, %s)",
            (
                ids["blueprint"],
                manifest.name,
                manifest.version,
                manifest.digest,
                Jsonb(manifest.model_dump(mode="json")),
            ),
        )
        run(
            "INSERT INTO install_revision (organization_id, boundary_id, id, install_id, grant_id,"
            " blueprint_version_id, number, inputs, inputs_digest, created_by)"
            " VALUES (%s, %s, %s, %s, %s, %s, 1, %s, 'sha256:0', %s)",
            (
                *keys,
                new_id(),
                tenant.install_id,
                ids["grant"],
                ids["blueprint"],
                Jsonb({"cidr": "10.20.0.0/16", "zones": ["eu-central-1a", "eu-central-1b"]}),
                sam.principal_id,
            ),
        )
        base: UUID | None = None
        for name, kind, digest in (
            ("tiny-coder", "base", BASE),
            ("payments-style", "adapter", ADAPTER),
        ):
            artifact, version = new_id(), new_id()
            run(
                "INSERT INTO artifact (organization_id, boundary_id, id, digest, size_bytes,"
                " format) VALUES (%s, %s, %s, %s, 10, 'gguf')",
                (*keys, artifact, digest),
            )
            run(
                "INSERT INTO model_version (organization_id, boundary_id, id, name, version, kind,"
                " artifact_id, parent_id) VALUES (%s, %s, %s, %s, '1', %s, %s, %s)",
                (*keys, version, name, kind, artifact, base),
            )
            base = version
    return ids["grant"]


@pytest.fixture
def stage(bench: Bench, tmp_path: Path) -> Iterator[Stage]:
    """A stage on which an install can run."""
    world = World()
    create_private_key(tmp_path / "key.pem")
    signer = ControlPlaneKey(tmp_path / "key.pem")
    customer = Ed25519PrivateKey.generate()
    (tmp_path / "work").mkdir()
    ports = Ports(
        sessions=FakeSessions(world),
        cloud=FakeCloud(world),
        engine=FakeEngine(world),
        state=FakeState(world),
        recovery=FakeRecovery(),
        releases=lambda folder: FakeReleases(world, bench.api, bench.tenant.scope),
        signer=signer,
        countersigner=FakeCountersigner(customer),
        settings=ProvisionSettings(
            work_dir=tmp_path / "work",
            artifact_store=tmp_path,
            blueprints_root=tmp_path,
            charts=tmp_path,
            images={"ringfence/engine-llamacpp": "ringfence/engine-llamacpp@sha256:" + "c" * 64},
            agent_url="http://10.88.0.11",
            customer_public_key=encode_public(customer),
            vendor_account="999988887777",
            control_plane_cidrs=("127.0.0.1/32",),
            time_scale=0.01,
            is_rehearsal=True,
            poll_seconds=0.05,
            close_probe_seconds=600.0,
            refusal_seconds=1.0,
        ),
    )
    yield Stage(bench, world, ports, seed(bench), signer.public)
    world.stop()


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
