"""The real blueprint by the real engine, under the role's own policies in the rehearsal account."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from blueprints.manifest import load
from controlplane.adapters.aws import inventory
from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.broker import CredentialBroker
from controlplane.adapters.pulumi import constraint
from controlplane.adapters.pulumi.engine import EngineRun, EngineSession, StackProgram
from controlplane.adapters.pulumi.messages import ProgramRef
from controlplane.adapters.pulumi.state import StateStore
from controlplane.sagas.provisioning.stacks import protect, resources_of
from tests.integration.adapters.rehearsal import PERSON, sessions, target
from tests.integration.adapters.support import REGION, Bench, ignore
from tests.sandbox_aws.conftest import CUSTOMER, Boundary, GateProcess

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.timeout(300)]
NAMED = {"aws:s3/bucket:Bucket", "aws:kms/alias:Alias"}
"""Whose ids the inventory finds; the others are parts of these."""
ROOT = str(Path(__file__).resolve().parents[3])


@pytest.fixture
def rehearsed() -> Iterator[Boundary]:
    """An opened boundary in an account of its own."""
    root = Path(tempfile.mkdtemp(prefix="rf-"))
    process = GateProcess(root)
    process.start()
    yield process.boundary().create(images="copied").open(1)
    process.stop()
    shutil.rmtree(root)


def program(
    boundary: Boundary, name: str, upstream: dict[str, object] | None = None
) -> StackProgram:
    inputs = {
        "organization": "acme",
        "boundary": boundary.name,
        "install_id": "install-1",
        "account": CUSTOMER,
        "region": REGION,
        "cidr": "10.20.0.0/16",
        "zones": [f"{REGION}a", f"{REGION}b"],
        "control_plane_cidrs": ["127.0.0.1/32"],
        "images": "copied",
        "image_names": ["ringfence/agent", "ringfence/gateway"],
    }
    entry = f"blueprints.eks_model_stack.program:{name}"
    return StackProgram(name, ProgramRef(root=ROOT, entry=entry), inputs, upstream)


def denied(boundary: Boundary) -> list[str]:
    """Return the calls of the role that the account denied, from the customer's trail."""
    boundary.gate.stop()
    found = []
    for path in (boundary.gate.root / "data").rglob("*.json.gz"):
        for record in json.loads(gzip.decompress(path.read_bytes()))["Records"]:
            ours = f"{boundary.name}-g1" in json.dumps(record.get("userIdentity"))
            code = str(record.get("errorCode", ""))
            if ours and ("AccessDenied" in code or "Unauthorized" in code):
                found.append(f"{record['eventName']}: {record.get('errorMessage')}")
    boundary.gate.start()
    return found


def keep_the_customers(session: EngineSession) -> dict[str, str]:
    """Protect in the state what the manifest retains; return the cloud's ids with reasons."""
    reasons = {
        kind: component.retained
        for component in load("eks-model-stack").components
        for kind in component.resource_types
        if component.retained
    }
    state = session.export("foundation")
    kept = [r for r in resources_of(state) if r["type"] in reasons]
    assert protect(state, {r["urn"] for r in kept})
    session.import_state("foundation", state)
    return {
        f"{r['type']} {r['id']}" if r["type"] not in NAMED else r["id"]: reasons[r["type"]]
        for r in kept
    }


def test_plan_apply_and_destroy_make_no_denied_call(
    rehearsed: Boundary, state_url: str, tmp_path: Path
) -> None:
    bench = Bench(tmp_path, StateStore(state_url), rehearsed.gate.endpoint, boundary_id=uuid4())
    bench.state.claim(bench.boundary_id, bench.run_id, 1)
    wanted, sts = target(rehearsed), sessions(rehearsed)
    broker = CredentialBroker(
        lambda: sts.assume(wanted, run=str(bench.run_id), person=PERSON),
        lambda: True,
        tmp_path / "broker-token",
    )
    seconds: dict[str, float] = {}
    with (
        broker,
        bench.engine(parallel=8).open(
            EngineRun(
                bench.boundary_id,
                bench.run_id,
                1,
                f"acme-{rehearsed.name}",
                REGION,
                broker.endpoint,
            )
        ) as session,
    ):
        previews = [
            session.preview(program(rehearsed, name), ignore) for name in ("foundation", "cluster")
        ]
        approved = constraint.build(previews)
        upstream: dict[str, object] | None = None
        for name in ("foundation", "cluster"):
            fresh = session.preview(program(rehearsed, name, upstream), ignore)
            assert constraint.satisfies(approved, fresh) == []
            done = session.up(program(rehearsed, name, upstream), ignore)
            assert done.complete
            seconds[name] = done.seconds
            upstream = done.outputs
        assert upstream is not None
        assert str(upstream["cluster_endpoint"]).startswith("https://")
        again = session.preview(program(rehearsed, "foundation"), ignore)
        assert set(again.changes) == {"same"}
        account = Account(wanted, broker.credentials, rehearsed.gate.endpoint)
        held = {item.kind for item in inventory.take(account, {}, images=True)}
        assert {"vpc", "subnet", "nat-gateway", "cluster", "role", "bucket", "kms-alias"} <= held
        assert "image-repository" in held
        session.destroy("cluster", ignore)
        retained = keep_the_customers(session)
        session.destroy("foundation", ignore, keep_protected=True)
        items = inventory.take(account, retained, images=True)
        assert [item for item in items if not item.expected] == []
        assert {item.kind for item in items} == {"role", "bucket", "kms-alias"}
        assert len(resources_of(session.export("foundation"))) == len(retained)
        state = session.export("foundation")
        protect(state, set())
        session.import_state("foundation", state)
        session.destroy("foundation", ignore)
        assert {item.kind for item in inventory.take(account, {})} == {"role"}
    print("seconds", {preview.stack: preview.seconds for preview in previews}, seconds)
    admin = rehearsed.gate.client("ec2", "customer-admin")
    assert admin.describe_vpcs(Filters=[{"Name": "cidr", "Values": ["10.20.0.0/16"]}])["Vpcs"] == []
    assert denied(rehearsed) == []
