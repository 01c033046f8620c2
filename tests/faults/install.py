"""A real install path under faults, and the oracle that judges what it left.

Real: run engine, rows, Pulumi CLI, provider plug-in, credential broker, recovery, the rehearsal
account as a process. Of the saga the steps that touch the cloud run, and the close; the cluster's
inside (chart, agent, models) is not what these faults are about.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.adapters.aws.sessions import StsSessions
from controlplane.adapters.pulumi.engine import EngineSettings as PulumiSettings
from controlplane.adapters.pulumi.engine import PulumiEngine
from controlplane.adapters.pulumi.recovery import Recovery
from controlplane.adapters.pulumi.state import StateStore
from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.core import audit
from controlplane.core.audit import AuditEvent
from controlplane.core.run_engine import approve, retry
from controlplane.core.run_engine.definition import Definition
from controlplane.core.run_engine.executor import EngineSettings
from controlplane.sagas.install_provision import DEFINITION
from controlplane.sagas.install_restore import DEFINITION as RESTORE
from controlplane.sagas.provisioning.ports import AwsCloud, Ports, ProvisionSettings
from proof.audit_chain import ChainWalk
from proof.keys import encode_public
from sandbox.aws.faults.plan import FaultPlan, clear_plan, struck, write_plan
from sandbox.aws.ledger import read_ledger
from sandbox.aws_provider.install import install
from sandbox.toolchain import find_program
from tests.postgres import DatabaseUrls
from tests.sagas.bench import Bench, seed_tenant
from tests.sagas.stage import seed
from tests.sandbox_aws.conftest import VENDOR, Boundary

ROOT = Path(__file__).resolve().parents[2]
SCALE = 0.001
SETTINGS = EngineSettings(
    lease_seconds=60.0, retry_base_seconds=0.05, retry_cap_seconds=0.2, drain_seconds=5.0
)
ENDED = {"succeeded", "failed", "unwound", "cancelled"}
PARKED = {"needs-attention", "stuck", "waiting-for-grant", "paused"}
_GOING = {"deleting", "deleted", "failed"}


def saga(*stacks: str) -> Definition:
    """Return the install's saga without what happens inside the cluster."""
    keys = ("preflight", "plan", "approval", *stacks, "census", "power-off", "role-delete", "proof")
    after = {"census": (stacks[-1],), "power-off": ("census",)}
    steps = [DEFINITION.step(key) for key in keys]
    return replace(
        DEFINITION,
        steps=tuple(replace(one, after=after.get(one.key, one.after)) for one in steps),
    )


def restore_saga() -> Definition:
    """Return the restore without what happens inside the cluster."""
    keys = ("preflight", "state", "adopt", "plan", "approval", "foundation", "cluster", "account",
            "census", "power-off", "role-delete", "proof")  # fmt: skip
    after = {"census": ("account",), "power-off": ("census",)}
    steps = [RESTORE.step(key) for key in keys]
    return replace(
        RESTORE,
        steps=tuple(replace(one, after=after.get(one.key, one.after)) for one in steps),
    )


@dataclass
class Scene:
    """One boundary in the account, one install of it, one run."""

    boundary: Boundary
    bench: Bench
    state: StateStore
    ports: Ports
    definition: Definition
    run_id: UUID
    grant_id: UUID
    carry: Callable[[], str] | None = None
    """Carries the run on instead of this process, and returns its state."""

    @property
    def folder(self) -> Path:
        return self.boundary.gate.root / "run"

    def put(self, *rules: dict[str, Any], seed: int = 0) -> None:
        """Put faults in force that strike this boundary only."""
        named = [{"boundary": self.boundary.name, **rule} for rule in rules]
        write_plan(self.folder, FaultPlan.model_validate({"seed": seed, "rules": named}))

    def clear(self) -> None:
        clear_plan(self.folder)

    def struck(self) -> list[str]:
        """Return which operations were struck since the plan was put in force."""
        return [entry["operation"] for entry in struck(self.folder)]

    def go(self) -> str:
        """Carry the run to an end or a parked state; a person approves what was planned."""
        state = self._execute()
        if state == "awaiting-approval":
            digest = self.bench.run(self.run_id)["plan_digest"]
            self.bench.ask(approve, self.run_id, digest, ctx=self.bench.tenant.approver)
            state = self._execute()
        if state == "closing":
            self._customer_deletes_the_role()
            self.bench.change("UPDATE run SET next_run_at = now() WHERE id = %s", self.run_id)
            state = self._execute()
        return state

    def retry(self) -> str:
        """Let a person retry a parked run, and carry it on."""
        self.bench.ask(retry, self.run_id)
        return self.go()

    def why(self) -> str:
        """Return everything that a person is told about the run."""
        run = self.bench.run(self.run_id)
        steps = self.bench.steps(self.run_id).values()
        said = [f"{e['kind']} {e['step']} {e['state']} {e['detail']}" for e in self._events()]
        errors = [f"{one['key']}: {one['error_message']}" for one in steps if one["error_message"]]
        return "\n".join([str(run["parked_reason"]), str(run["error_message"]), *errors, *said])

    def _events(self) -> list[dict[str, Any]]:
        """Return what is said of the run; a resource's own events only name it."""
        return [e for e in self.bench.events(self.run_id) if "urn" not in e["detail"]]

    def _execute(self) -> str:
        if self.carry is not None:
            return self.carry()
        return self.bench.execute(self.run_id, self.definition, self.ports)

    def _customer_deletes_the_role(self) -> None:
        iam = self.boundary.gate.client("iam", "customer-admin")
        (grant,) = self.bench.rows("SELECT max(number) AS n FROM access_grant")
        name = self.boundary.role_arn(grant["n"]).rpartition("/")[2]
        try:
            attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        except iam.exceptions.NoSuchEntityException:
            return
        for policy in attached:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=inline)
        iam.delete_role(RoleName=name)

    # -- what is there ------------------------------------------------------------------------

    def live(self) -> dict[str, str]:
        """Return every cloud object that carries the install's tag: id to kind."""
        ec2 = self.boundary.gate.client("ec2", "customer-admin")
        wanted = [{"Name": "tag:ringfence:boundary", "Values": [self.boundary.name]}]
        found: dict[str, str] = {}
        for operation, result, key in (
            ("describe_vpcs", "Vpcs", "VpcId"),
            ("describe_subnets", "Subnets", "SubnetId"),
            ("describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
            ("describe_route_tables", "RouteTables", "RouteTableId"),
            ("describe_addresses", "Addresses", "AllocationId"),
            ("describe_nat_gateways", "NatGateways", "NatGatewayId"),
            ("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
        ):
            for item in getattr(ec2, operation)(Filters=wanted)[result]:
                if str(item.get("State", "")).lower() not in _GOING:
                    found[item[key]] = result
        found |= self._live_keys() | self._live_named()
        return found

    def _live_keys(self) -> dict[str, str]:
        kms = self.boundary.gate.client("kms", "customer-admin")
        found = {}
        for key in kms.list_keys(Limit=1000)["Keys"]:
            tags = kms.list_resource_tags(KeyId=key["KeyId"])["Tags"]
            ours = {"TagKey": "ringfence:boundary", "TagValue": self.boundary.name} in tags
            metadata = kms.describe_key(KeyId=key["KeyId"])["KeyMetadata"]
            if ours and metadata["KeyState"] != "PendingDeletion":
                found[key["KeyId"]] = "Keys"
        return found

    def _live_named(self) -> dict[str, str]:
        gate, prefix = self.boundary.gate, f"ringfence-{self.boundary.name}"
        buckets = gate.client("s3", "customer-admin").list_buckets()["Buckets"]
        found = {one["Name"]: "Buckets" for one in buckets if one["Name"].startswith(prefix)}
        clusters = gate.client("eks", "customer-admin").list_clusters()["clusters"]
        found |= {name: "Clusters" for name in clusters if name == prefix}
        roles = gate.client("iam", "customer-admin").list_roles(
            PathPrefix=f"/ringfence/{self.boundary.name}/"
        )["Roles"]
        mine = {f"{prefix}-{name}" for name in ("cluster", "node", "fetcher")}
        return found | {one["RoleName"]: "Roles" for one in roles if one["RoleName"] in mine}

    def known(self) -> set[str]:
        """Return what the engine's state knows."""
        tenant = self.bench.tenant
        self.state.ensure(tenant.boundary_id)  # a run that ends at its first call made none
        return self.state.identifiers(tenant.boundary_id, f"ringfence-{self.boundary.name}")


def judge(scene: Scene, state: str) -> None:
    """Hold the invariants of a run that has stopped. Raises: AssertionError naming which."""
    told = scene.why()
    assert state in ENDED | PARKED, f"the run is neither ended nor parked: {state}\n{told}"
    live, known = scene.live(), scene.known()
    orphans = {one: kind for one, kind in live.items() if one not in known and one not in told}
    assert not orphans, f"{state}: live, in no state, named to nobody: {orphans}\n{told}"
    _no_double_create(scene, live, told)
    if state == "succeeded":
        assert known, "a run that succeeded has a state"
    if state in ("unwound", "failed"):
        unnamed = {one: kind for one, kind in live.items() if one not in told}
        assert not unnamed, f"{state}: left after the unwind: {unnamed}"
    if state in PARKED:
        run = scene.bench.run(scene.run_id)
        assert run["parked_reason"] or run["error_message"], f"{state} without a reason"
    walks: dict[UUID, ChainWalk] = {}
    for row in scene.bench.rows("SELECT * FROM audit_event ORDER BY chain_id, seq"):
        walks.setdefault(row["chain_id"], ChainWalk()).follow(audit.record(AuditEvent(**row)))
    assert walks, "a run leaves a trace in the audit"


def _no_double_create(scene: Scene, live: dict[str, str], told: str) -> None:
    """No resource has two live objects, unless a person was told which is too many."""
    made: dict[str, list[str]] = {}
    for entry in read_ledger(scene.boundary.gate.root / "data"):
        urn = re.search(r"urn:pulumi:[^\"'\s]+", str(entry["request"]))
        if entry["boundary"] != scene.boundary.name or entry["outcome"] != "done" or not urn:
            continue
        made.setdefault(urn.group(), []).extend(one for one in entry["created"] if one in live)
    doubles = {
        urn: ids
        for urn, ids in made.items()
        if len(ids) > 1 and not any(one in told for one in ids)
    }
    assert not doubles, f"made twice: {doubles}"


def open_scene(
    boundary: Boundary, bench: Bench, state: StateStore, root: Path, *stacks: str
) -> Scene:
    """Seed an install of the boundary and make the ports that the worker would."""
    grant = seed(bench)
    bench.change(
        "UPDATE cloud_connection SET external_id = %s, role_base_name = %s",
        boundary.external_id,
        f"ringfence-{boundary.name}",
    )
    ports = ports_of(boundary, state, root)
    definition = saga(*stacks)
    return Scene(boundary, bench, state, ports, definition, bench.start(definition), grant)


def new_bench(urls: DatabaseUrls, databases: list[Any], boundary: Boundary) -> Bench:
    """Make a bench whose tenant has the boundary's name."""
    api, worker, scheduler = databases
    return Bench(urls, api, worker, scheduler, seed_tenant(urls, boundary.name), SETTINGS)


def ports_of(boundary: Boundary, state: StateStore, root: Path) -> Ports:
    """Make the ports that a worker has; every worker of a root has the same passphrase."""
    gate = boundary.gate
    install(root / "plugins")
    passphrase = root / "passphrase"
    if not passphrase.exists():
        passphrase.write_text(secrets.token_urlsafe(24))
        passphrase.chmod(0o600)
    sessions = StsSessions(gate.root / "secrets/aws/vendor.json", gate.endpoint)
    engine = PulumiEngine(
        PulumiSettings(
            pulumi=find_program("pulumi"),
            plugins=root / "plugins",
            work_root=root / "runs",
            passphrase_file=passphrase,
            aws_endpoint_url=gate.endpoint,
        ),
        state,
    )
    return Ports(
        sessions=sessions,
        cloud=AwsCloud(sessions, gate.endpoint, ("127.0.0.1/32",)),
        engine=engine,
        state=state,
        recovery=Recovery(engine, state, absence_seconds=60 * SCALE, settle_seconds=30),
        releases=cast(Any, _never),
        signer=ControlPlaneKey(root / "key.pem"),
        countersigner=cast(Any, None),
        settings=ProvisionSettings(
            work_dir=root / "work",
            artifact_store=root,
            blueprints_root=ROOT,
            charts=root,
            images={},
            agent_url="http://10.88.0.11",
            customer_public_key=encode_public(Ed25519PrivateKey.generate()),
            vendor_account=VENDOR,
            control_plane_cidrs=("127.0.0.1/32",),
            time_scale=SCALE,
            is_rehearsal=True,
            poll_seconds=0.05,
            close_probe_seconds=600.0,
        ),
    )


def _never(folder: Path) -> Any:
    raise AssertionError(f"nothing is installed into a cluster here: {folder}")
