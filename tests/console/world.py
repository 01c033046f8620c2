"""What the console's tests look at: seven boundaries, each at another point of the main job.

payments is installed and used; research is being installed; treasury waits for access, markets for
the approval of its plan; labs and opened are new; steered is brought into each state by who tests
it; globex is a second organization. What only a worker writes (runs, steps, events, a certificate)
is written as its rows, all else by the API.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import UUID

import httpx2
import psycopg
from psycopg.types.json import Jsonb

from controlplane.core.db import Database
from controlplane.core.ids import new_id
from controlplane.domains.grants.tasks import verify_connection
from controlplane.domains.identity.tokens import token_hash
from controlplane.sagas.install_provision import DEFINITION
from proof.canonical import digest
from proof.dsse import countersign, seal
from tests.console.server import ApiProcess
from tests.integration.api.agents import AgentClient, Boundary, Customer, Signer
from tests.integration.api.people import ISSUER, organization, token_of
from tests.integration.api.reporting import Reporting, make_maker
from tests.integration.api.test_grants import RoleStub
from tests.postgres import DatabaseUrls
from wire.agent import AgentStatus, DeniedAttempt, ResourceReport, SmokeReport
from wire.certificate import (
    CERTIFICATE_TYPE,
    AccessEnd,
    InstallCertificate,
    ResidueItem,
    StepTime,
    WayInSeen,
)

IN_BOTH = ("kim@acme.test", "lee@acme.test")
"""Auditors of acme; in globex, as guests, kim audits too and lee is an engineer of its boundary."""
PENDING = "mia@acme.test"
"""Named by globex as a guest whom nobody has let in."""
GLOBEX_ISSUER = "https://idp.globex.test"
NEWCOMERS = ("gus@globex.test", "gia@globex.test", "gil@globex.test", "noa@acme.test")
"""An administrator and an architect of the empty globex, and somebody whom no file names."""
JOB_SECONDS = 60.0
CIDRS = {"treasury": "10.40.0.0/16", "markets": "10.50.0.0/16", "labs": "10.60.0.0/16",
         "opened": "10.70.0.0/16", "quant": "10.80.0.0/16",
         "steered": "10.90.0.0/16"}  # fmt: skip
SECONDS = {
    "preflight": 0.9, "plan": 6.1, "approval": 14.0, "foundation": 5.2, "cluster": 31.5,
    "weights": 1.1, "images": 0.1, "reach_open": 4.0, "stack": 3.2, "agent": 2.0, "desired": 0.4,
    "ready": 9.8, "first-answer": 0.3, "census": 0.6, "reach_close": 4.1, "power-off": 1.2,
    "role-delete": 1.9, "proof": 2.2, "certificate": 0.2,
}  # fmt: skip
PLAN = {
    "foundation": [
        ("aws:ec2/vpc:Vpc", "vpc"), ("aws:ec2/subnet:Subnet", "private-a"),
        ("aws:ec2/subnet:Subnet", "private-b"), ("aws:kms/key:Key", "weights"),
        ("aws:s3/bucketV2:BucketV2", "artifacts"),
    ],
    "cluster": [
        ("aws:eks/cluster:Cluster", "cluster"), ("aws:eks/nodeGroup:NodeGroup", "nodes"),
        ("aws:iam/role:Role", "fetcher"),
    ],
}  # fmt: skip


@dataclass
class World:
    """The seeded control plane and ways to move it on, as a worker would."""

    api: ApiProcess
    urls: DatabaseUrls
    boundaries: dict[str, UUID] = field(default_factory=dict)
    installs: dict[str, UUID] = field(default_factory=dict)
    runs: dict[str, UUID] = field(default_factory=dict)
    grants: dict[str, UUID] = field(default_factory=dict)
    reports: dict[str, UUID] = field(default_factory=dict)
    organization_id: UUID = field(default_factory=new_id)

    def call(self, name: str, method: str, path: str, body: Any = None) -> Any:
        """Call the API as a person, with a bearer token; a bare name is one of acme's people."""
        subject = name if "@" in name else f"{name}@acme.test"
        answer = httpx2.request(
            method,
            f"{self.api.url}{path}",
            json=body,
            headers={"Authorization": f"Bearer {token_of(subject)}"},
            trust_env=False,
        )
        assert answer.is_success, f"{method} {path}: {answer.text}"
        return answer.json() if answer.content else None

    def probe_closed(self, boundary: str) -> None:
        """Have the worker try a closed role, as an architect does after the end of an install."""
        connection = self.call("sam", "GET", f"/v1/boundaries/{boundary}/connection")
        asked = self.call(
            "sam", "POST", f"/v1/connections/{connection['id']}/verifications", {"expect": "closed"}
        )
        deadline = time.monotonic() + JOB_SECONDS
        while asked["finished_at"] is None:
            assert time.monotonic() < deadline, f"the probe is still {asked['state']}"
            time.sleep(0.1)
            asked = self.call("sam", "GET", f"/v1/verifications/{asked['id']}")
        assert asked["passed"], asked

    def write(self, statement: str, *values: Any) -> None:
        """Write rows past fences and walls, as the worker's own code would have."""
        with psycopg.connect(self.urls.admin) as connection:
            connection.execute("SET session_replication_role = replica")
            connection.execute(statement, values)

    def read(self, statement: str, *values: Any) -> Any:
        """Return one value of the database."""
        with psycopg.connect(self.urls.admin) as connection:
            row = connection.execute(statement, values).fetchone()
        assert row is not None, statement
        return row[0]

    def adopt(self, boundary: str, install: str) -> None:
        """Know an install that was started in the browser."""
        run = self.call("sam", "GET", f"/v1/installs/{install}")["run_ids"][0]
        self.installs[boundary], self.runs[boundary] = UUID(install), UUID(run)

    def event(
        self, boundary: str, what: str, at: str | None, state: str | None, **detail: Any
    ) -> None:
        """Append an event to a boundary's run, in sequence."""
        self.write(
            "WITH n AS (UPDATE run SET last_seq = last_seq + 1 WHERE id = %s RETURNING *)"
            " INSERT INTO run_event (organization_id, boundary_id, run_id, seq, kind, step, state,"
            " detail) SELECT organization_id, boundary_id, id, last_seq, %s, %s, %s, %s FROM n",
            self.runs[boundary], what, at, state, Jsonb(detail),
        )  # fmt: skip

    def finish_step(self, boundary: str, key: str, seconds: float, output: Any = None) -> None:
        """End a step as succeeded, with its event."""
        self.write(
            "UPDATE step SET state = 'succeeded', attempt = 1, output = %s,"
            " started_at = coalesce(started_at, now() - make_interval(secs => %s)),"
            " finished_at = now() WHERE run_id = %s AND key = %s",
            Jsonb(output or {}), seconds, self.runs[boundary], key,
        )  # fmt: skip
        self.event(boundary, "step.state", key, "succeeded", seconds=seconds, budget_seconds=60)


def build_world(api: ApiProcess, urls: DatabaseUrls) -> World:
    """Seed everything and return it."""
    world = World(api, urls)
    world.call("sam", "PUT", "/v1/organizations/acme", _document())
    _second_organization(world)
    for boundary in world.call("max", "GET", "/v1/boundaries")["boundaries"]:
        world.boundaries[boundary["name"]] = UUID(boundary["id"])
        world.organization_id = UUID(boundary["organization_id"])
    for name in ("payments", "research", "markets", "steered"):
        _open_grant(world, name)
        _run(world, name)
    _install_payments(world)
    _run_research(world)
    _wait_in_markets(world)
    asked = world.call("sam", "POST", "/v1/boundaries/treasury/grants", {
        "purpose": "first install", "reason": "go-live of the treasury stack on 1 December",
        "ticket": "CHG-4211", "duration_seconds": 7200,
    })  # fmt: skip
    world.grants["treasury"] = UUID(asked["id"])
    _make_reports(world)
    return world


def _make_reports(world: World) -> None:
    """Have one report made by the job itself, and let another have failed."""
    for name in ("ready", "failed"):
        asked = world.call("omar", "POST", "/v1/reports", {"kind": "R1", "boundary": "payments"})
        world.reports[name] = UUID(asked["id"])
    world.write(
        "UPDATE report SET state = 'failed', finished_at = now(),"
        " error = 'the report''s printed form could not be made' WHERE id = %s",
        world.reports["failed"],
    )
    with TemporaryDirectory() as folder:
        maker = make_maker(world.api.key, Path(folder))
        Reporting(world.urls, maker).work(str(world.reports["ready"]))


def _document() -> dict[str, Any]:
    document = organization()
    for name, cidr in CIDRS.items():
        copy = json.loads(json.dumps(document["boundaries"][1]))
        copy |= {"name": name, "display_name": name.title()}
        copy["inputs"]["cidr"] = cidr
        document["boundaries"].append(copy)
    document["people"]["auditor"] += [*IN_BOTH]
    return document


def _second_organization(world: World) -> None:
    """Describe globex, two of whose own people let kim and lee in as guests."""
    world.call("sam", "PUT", "/v1/organizations/globex", _second_document())
    deciders = ("gil@globex.test", "gus@globex.test")
    for decider in deciders:
        world.write(
            "INSERT INTO api_token (id, principal_id, token_hash, expires_at) SELECT %s, id, %s,"
            " now() + interval '1 hour' FROM principal WHERE subject = %s",
            new_id(), token_hash(token_of(decider)), decider,
        )  # fmt: skip
    path = "/v1/organizations/globex/waivers"
    for waiver in world.call(deciders[0], "GET", path)["waivers"]:
        if waiver["person"]["subject"] in IN_BOTH:
            decision = {"digest": waiver["digest"], "reason": "works for both"}
            for decider in deciders:
                world.call(decider, "POST", f"{path}/{waiver['id']}/approve", decision)


def _second_document() -> dict[str, Any]:
    """Return the file of an organization that is described and in which nothing is installed."""
    document = organization()
    document |= {"organization": "globex", "display_name": "Globex", "groups": []}
    document["identity_provider"] = GLOBEX_ISSUER
    document["guests"] = dict.fromkeys((*IN_BOTH, PENDING), ISSUER)
    del document["role_mappings"]
    document["people"] = {
        "platform-admin": ["gus@globex.test"],
        "solution-architect": ["gia@globex.test"],
        "approver": ["gil@globex.test"],
        "auditor": ["kim@acme.test", PENDING],
    }
    first = document["boundaries"][0]
    first |= {
        "display_name": "Globex payments",
        "groups": [],
        "people": {"engineer": ["lee@acme.test"]},
    }
    document["boundaries"] = [first]
    return document


def _open_grant(world: World, name: str) -> None:
    asked = world.call(
        "sam", "POST", f"/v1/boundaries/{name}/grants",
        {"purpose": "first install", "reason": "new stack", "duration_seconds": 14_400},
    )  # fmt: skip
    world.call("ana", "POST", f"/v1/grants/{asked['id']}/approve", {"reason": "as planned"})
    connection = world.call("sam", "GET", f"/v1/boundaries/{name}/connection")
    probe = world.call(
        "sam", "POST", f"/v1/connections/{connection['id']}/verifications",
        {"expect": "open", "grant_id": asked["id"]},
    )  # fmt: skip
    worker = Database.connect(world.urls.worker, pool_size=1)
    verify_connection(
        worker,
        RoleStub({connection["external_id"]}),
        organization_id=str(world.organization_id),
        boundary_id=str(world.boundaries[name]),
        verification_id=probe["id"],
    )
    worker.close()
    world.grants[name] = UUID(asked["id"])


def _run(world: World, name: str) -> None:
    made = world.call(
        "sam", "POST", "/v1/installs", {"boundary": name, "grant_id": str(world.grants[name])}
    )
    world.installs[name], world.runs[name] = UUID(made["install_id"]), UUID(made["run_id"])
    for position, step in enumerate(DEFINITION.steps):
        budget = step.budget if isinstance(step.budget, int | float) else 120.0
        world.write(
            "INSERT INTO step (organization_id, boundary_id, run_id, key, position, title, phase,"
            " after, budget_seconds, estimate_seconds) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s,"
            " %s)",
            world.organization_id, world.boundaries[name], world.runs[name], step.key, position,
            step.title, step.phase, Jsonb(list(step.after)), budget, SECONDS[step.key],
        )  # fmt: skip
    world.write(
        "UPDATE run SET plan = %s, plan_digest = %s, started_at = created_at WHERE id = %s",
        Jsonb(_plan()), digest(_plan()["constraint"]), world.runs[name],
    )  # fmt: skip


def _plan() -> dict[str, Any]:
    stacks = {
        stack: [
            {
                "urn": f"urn:pulumi:payments::ringfence::{kind}::{name}",
                "type": kind,
                "op": "create",
                "properties": {"tags": {"boundary": "payments"}, "arn": {"$hole": "computed"}},
            }
            for kind, name in resources
        ]
        for stack, resources in PLAN.items()
    }
    return {
        "constraint": {"version": 1, "stacks": stacks},
        "counts": {stack: {"create": len(found)} for stack, found in stacks.items()},
        "holes": 8,
        "blueprint": "eks-model-stack",
        "blueprint_version": "0.1.0",
        "seconds_p90": 2100.0,
    }


def _install_payments(world: World) -> None:
    """Bring payments to its end: all steps done, certified, agent connected, used."""
    began = datetime.now(UTC) - timedelta(hours=3)
    at = began
    ends: dict[str, datetime] = {}
    world.event("payments", "run.state", None, "planning", kind="install.provision")
    for step in DEFINITION.steps:
        at = max((ends[key] for key in step.after), default=began)
        ends[step.key] = at + timedelta(seconds=SECONDS[step.key])
        world.finish_step("payments", step.key, SECONDS[step.key])
        world.write(
            "UPDATE step SET started_at = %s, finished_at = %s WHERE run_id = %s AND key = %s",
            at, ends[step.key], world.runs["payments"], step.key,
        )  # fmt: skip
    world.event("payments", "run.state", None, "succeeded")
    finished = max(ends.values())
    run, install = world.runs["payments"], world.installs["payments"]
    world.write(
        "UPDATE run SET state = 'succeeded', created_at = %s, started_at = %s, finished_at = %s,"
        " approved_digest = plan_digest, params = params || '{\"revision\": 1}' WHERE id = %s",
        began, began, finished, run,
    )  # fmt: skip
    world.write(
        "UPDATE install SET lifecycle = 'installed', health = 'healthy', drift = 'none',"
        " access = 'closed' WHERE id = %s", install,
    )  # fmt: skip
    world.write(
        "UPDATE access_grant SET state = 'closed', ended_at = %s, closed_by = 'agent'"
        " WHERE id = %s",
        finished, world.grants["payments"],
    )  # fmt: skip
    _certify(world, began, finished)
    _connect_agent(world)


def _certify(world: World, began: datetime, finished: datetime) -> None:
    denied = DeniedAttempt(
        action="sts:AssumeRole", succeeded_before=True, attempts=1, denied_at=finished,
        error_code="AccessDenied",
    )  # fmt: skip
    certificate = InstallCertificate(
        operation="provision",
        id=new_id(), organization="acme", organization_id=world.organization_id,
        boundary="payments", boundary_id=world.boundaries["payments"],
        install_id=world.installs["payments"], run_id=world.runs["payments"],
        blueprint="eks-model-stack", blueprint_version="0.1.0",
        blueprint_digest="sha256:" + "a" * 64, outcome="succeeded",
        plan_digest="sha256:" + "b" * 64, artifact_digests={}, image_digests={},
        started_at=began, finished_at=finished, time_scale=0.02, emulated=True,
        critical_path=("plan",),
        steps=(StepTime(key="plan", state="succeeded", seconds=6.1, budget_seconds=120,
                        on_critical_path=True),),
        permissions_granted=137, permissions_used=119, smoke=(),
        residue=(ResidueItem(kind="role", name="closer", expected=True, reason="of the stack"),),
        access=AccessEnd(role_arn="arn:aws:iam::111122223333:role/ringfence-payments-g1",
                         grant_number=1, grant_until=finished + timedelta(hours=2),
                         closed_by="agent", way_in_closed_at=finished, power_removed_at=finished,
                         role_deleted_at=finished, proofs=(denied, denied, denied),
                         way_in=WayInSeen(way="in-vpc-runner", access_entries=0, endpoint_changes=0,
                                          public_endpoint=False, running_tasks=0,
                                          objects_deleted=31)),
        pins={}, issued_at=finished,
    )  # fmt: skip
    envelope = seal(world.api.key, CERTIFICATE_TYPE, certificate.to_wire())
    envelope = countersign(envelope, Customer().key)
    world.write(
        "INSERT INTO certificate (organization_id, boundary_id, id, install_id, run_id, envelope,"
        " countersigned_at) VALUES (%s, %s, %s, %s, %s, %s, now())",
        world.organization_id, world.boundaries["payments"], new_id(),
        world.installs["payments"], world.runs["payments"],
        Jsonb(envelope.model_dump(mode="json")),
    )  # fmt: skip


def _connect_agent(world: World) -> None:
    worker = Database.connect(world.urls.worker, pool_size=1)
    boundary = Boundary(
        world.organization_id, world.boundaries["payments"], world.installs["payments"], worker,
        Signer(world.api.key), Customer(),
    )  # fmt: skip
    http = httpx2.Client(base_url=world.api.url, trust_env=False)
    agent = AgentClient(http)  # type: ignore[arg-type]  # the same calls, over a real connection
    enrolled = agent.enrol(boundary.token())
    assert enrolled.status_code == 200, enrolled.text
    answer = agent.call("POST", "/agent/v1/status", _status().to_wire())
    assert answer.status_code == 204, answer.text
    _use(boundary, agent)
    http.close()
    worker.close()


def _status() -> AgentStatus:
    resources = tuple(
        ResourceReport(
            kind=kind, name=name, ready=ready, reason="Ready" if ready else "EngineStarting",
            message=message, observed_generation=1, generation=1,
        )
        for kind, name, ready, message in (
            ("SecurityBoundary", "payments", True, "isolation is enforced"),
            ("ModelArtifact", "tiny-coder", True, "fetched and verified"),
            ("ModelArtifact", "payments-style", True, "fetched and verified"),
            ("ModelInstance", "tiny-coder", True, "1 of 1 replicas serve"),
            ("AdapterBinding", "payments-style", True, "loaded at start"),
            ("GatewayAccess", "payments", False, "waits for the second key of the group"),
        )
    )  # fmt: skip
    return AgentStatus(
        agent_version="0.1.0", applied_sequence=3, refused=None,
        gateway_url="http://127.88.5.130:8080/v1", resources=resources,
        smoke=(SmokeReport(instance="tiny-coder", model="payments-style", output_tokens=41,
                           ttft_ms=38.0),),
        verified_artifacts={"tiny-coder": "sha256:" + "a" * 64,
                            "payments-style": "sha256:" + "b" * 64},
        observed_at=datetime.now(UTC),
    )  # fmt: skip


def _use(boundary: Boundary, agent: AgentClient) -> None:
    """Push a week of usage as the boundary's agent does."""
    from tests.console.usage import week

    answer = agent.call("POST", "/agent/v1/usage", week(str(boundary.boundary_id)).to_wire())
    assert answer.status_code == 204, answer.text


def _run_research(world: World) -> None:
    """Bring research into the middle: the cluster is being built, the weights are copied."""
    world.event("research", "run.state", None, "planning", kind="install.provision")
    for key in ("preflight", "plan", "approval", "foundation", "weights"):
        world.finish_step("research", key, SECONDS[key])
    began = datetime.now(UTC) - timedelta(seconds=40)
    ends = {"preflight": 0.9, "plan": 7.0, "approval": 21.0, "foundation": 26.2, "weights": 27.3}
    for key, end in ends.items():
        finished = began + timedelta(seconds=end)
        world.write(
            "UPDATE step SET started_at = %s, finished_at = %s WHERE run_id = %s AND key = %s",
            finished - timedelta(seconds=SECONDS[key]), finished, world.runs["research"], key,
        )  # fmt: skip
    world.write(
        "UPDATE step SET state = 'running', attempt = 1, started_at = %s WHERE run_id = %s"
        " AND key = 'cluster'", began + timedelta(seconds=26.2), world.runs["research"],
    )  # fmt: skip
    world.event("research", "step.state", "cluster", "running", attempt=1)
    world.event(
        "research", "resource", "cluster", "started", stack="cluster",
        type="aws:eks/cluster:Cluster", op="create",
        urn="urn:pulumi:research::ringfence::aws:eks/cluster:Cluster::cluster",
    )  # fmt: skip
    world.write(
        "UPDATE run SET state = 'running', started_at = %s, approved_digest = plan_digest"
        " WHERE id = %s", began, world.runs["research"],
    )  # fmt: skip
    world.write(
        "UPDATE install SET lifecycle = 'installing' WHERE id = %s", world.installs["research"]
    )


def _wait_in_markets(world: World) -> None:
    world.event("markets", "run.state", None, "planning", kind="install.provision")
    for key in ("preflight", "plan"):
        world.finish_step("markets", key, SECONDS[key])
    world.write(
        "UPDATE run SET state = 'awaiting-approval', parked_at = now() WHERE id = %s",
        world.runs["markets"],
    )
    world.event("markets", "run.state", None, "awaiting-approval", step="approval")
