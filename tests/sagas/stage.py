"""A stage on which the sagas of an install can be played: a bench, an open grant, a fake world.

Used by the tests of every `install.*` saga; the database and the run engine are real.
"""

from __future__ import annotations

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
from controlplane.core.run_engine import approve
from controlplane.core.run_engine.definition import Definition
from controlplane.sagas.install_provision import DEFINITION
from controlplane.sagas.provisioning.ports import Ports, ProvisionSettings
from proof.dsse import open_envelope
from proof.keys import create_private_key, decode_public, encode_public
from tests.sagas.bench import Bench
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
from wire.certificate import CERTIFICATE_TYPE, InstallCertificate
from wire.envelope import Envelope

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

    def start(
        self, definition: Definition = DEFINITION, params: dict[str, Any] | None = None
    ) -> UUID:
        return self.bench.start(definition, params)

    def go(self, run_id: UUID, definition: Definition = DEFINITION) -> str:
        """Execute; approve the plan when it is asked for."""
        state = self.bench.execute(run_id, definition, self.ports)
        return self.go_on(run_id, definition) if state == "awaiting-approval" else state

    def go_on(self, run_id: UUID, definition: Definition = DEFINITION) -> str:
        """Approve the plan that waits, and execute."""
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

    def open_grant(self) -> None:
        """Let the customer open the role of a new grant, as after an earlier one has ended."""
        (number,) = self.bench.rows("SELECT max(number) + 1 AS n FROM access_grant")
        self.bench.change("UPDATE access_grant SET state = 'closed' WHERE state <> 'closed'")
        self.grant_id = new_id()
        self.bench.change(
            "INSERT INTO access_grant (organization_id, boundary_id, id, connection_id, number,"
            " purpose, reason, policy_digest, duration_seconds, state, requested_by, decided_by,"
            " activated_at, grant_until) SELECT organization_id, boundary_id, %s, connection_id,"
            " %s, purpose, reason, policy_digest, 3600, 'active', requested_by, decided_by, now(),"
            " now() + interval '1 hour' FROM access_grant ORDER BY number LIMIT 1",
            self.grant_id,
            number["n"],
        )
        self.world.role_exists = self.world.has_power = True

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
