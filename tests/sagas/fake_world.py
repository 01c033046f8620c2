"""Fakes of what an install touches: account, engine, cluster, helm, countersigner, agent.

One `World` holds what exists. The agent is a thread that speaks through the control plane's own
services on the real database, with real keys and signatures.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.artifacts import Artifact, Stored, object_key
from controlplane.adapters.aws.census import Footprint
from controlplane.adapters.aws.checks import Check
from controlplane.adapters.aws.closing import PowerOff
from controlplane.adapters.aws.preflight import Wanted
from controlplane.adapters.aws.registry import CopiedImage, Image
from controlplane.adapters.aws.sessions import Credentials, ProbeResult, RoleTarget
from controlplane.adapters.aws.strays import Stray
from controlplane.adapters.helm.release import Release, Releases
from controlplane.adapters.kubernetes.reach import NotReachableError, WayInClosed
from controlplane.adapters.pulumi import restoration
from controlplane.adapters.pulumi.engine import EngineRun, StackProgram
from controlplane.adapters.pulumi.messages import (
    EngineEvent,
    PlannedResource,
    PropertyChange,
    Result,
)
from controlplane.adapters.pulumi.recovery import Attention, RecoveryReport
from controlplane.adapters.pulumi.restoration import Adopted, Looked
from controlplane.adapters.pulumi.state import Snapshot
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.errors import ForbiddenError, NotFoundError
from controlplane.domains.agents import enrolment, repository, service
from controlplane.sagas.provisioning.ports import WayIn
from proof.dsse import countersign
from proof.keys import encode_public
from wire.agent import (
    AgentStatus,
    CloseReport,
    DeniedAttempt,
    EnrolRequest,
    ResourceReport,
    SmokeReport,
    VerbResult,
)
from wire.bundle import Bundle, CloseVerb, Verb
from wire.certificate import ResidueItem, WayInSeen
from wire.envelope import Envelope

OUTPUTS: dict[str, dict[str, Any]] = {
    "foundation": {
        "vpc_cidr": "10.20.0.0/16",
        "artifact_bucket": "ringfence-payments-111122223333-artifacts",
        "kms_key_arn": "arn:aws:kms:eu-central-1:111122223333:key/1",
    },
    "cluster": {"cluster_name": "ringfence-payments", "cluster_endpoint": "https://cluster"},
}
BUCKET = "ringfence-payments-111122223333-artifacts"
PARTS = {"foundation": ("vpc", "bucket"), "cluster": ("eks",)}
TYPES = {
    "vpc": "aws:ec2/vpc:Vpc",
    "bucket": "aws:s3/bucket:Bucket",
    "eks": "aws:eks/cluster:Cluster",
}
INPUTS_OF: dict[str, tuple[str, ...]] = {
    "vpc": ("cidr",),
    "bucket": (),
    "eks": ("node_count", "kubernetes_version"),
}
FORCING = {"cidr"}
"""Inputs that force a replacement of the part that has them."""


def urn(stack: str, part: str) -> str:
    """Return the engine's name of a part of a stack."""
    return f"urn:pulumi:{stack}::ringfence-payments::{TYPES[part]}::{part}"


def _id(part: str) -> str:
    return BUCKET if part == "bucket" else f"{part}-1"


@dataclass
class World:
    """What exists outside the control plane."""

    things: set[str] = field(default_factory=set)
    calls: list[str] = field(default_factory=list)
    role_exists: bool = True
    has_power: bool = True
    drifted_plan: bool = False
    lost_cluster: bool = False
    """It is there and answers nobody."""
    stubborn: set[str] = field(default_factory=set)
    """Stacks whose network something outside holds on to."""
    protected: set[str] = field(default_factory=set)
    changed: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Part -> inputs as somebody set them outside of our runs."""
    deleted: set[str] = field(default_factory=set)
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Stack -> inputs of its last apply."""
    forgotten: set[str] = field(default_factory=set)
    """Parts that are there and that the engine's state does not know."""
    adopted: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Part -> the record that was written into the state for it, until its stack is applied."""
    doubtful: set[str] = field(default_factory=set)
    """Parts of which the account does not say whether they are there."""
    saved: list[tuple[Snapshot, set[str]]] = field(default_factory=list)
    """Snapshots of the state, each with the parts it knows."""
    damaged: bool = False
    """The state cannot be read."""
    claims: list[UUID] = field(default_factory=list)
    """Runs that took the engine's state."""
    values: dict[str, Any] = field(default_factory=dict)
    """Of the chart, as it was installed last."""
    release_namespace: str = ""
    emptied: tuple[str, ...] = ()
    """Namespaces that were emptied, in order."""
    ways: list[WayIn] = field(default_factory=list)
    """Every way into the cluster that a step asked for."""
    refuses_bundle: bool = False
    agent: FakeAgent | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)
    during_cluster: Callable[[], None] = field(default=lambda: None)

    def known(self) -> set[str]:
        """Return the parts that the engine's state knows."""
        parts = {part for parts in PARTS.values() for part in parts}
        return (parts & self.things) - self.forgotten

    def left(self) -> set[str]:
        """Return what of an install is left; the role belongs to the customer's stack."""
        return self.things - {part for parts in PARTS.values() for part in parts}

    def stop(self) -> None:
        """End the agent."""
        if self.agent is not None:
            self.agent.stop()
            self.agent = None


class FakeSessions:
    """STS: the role can be assumed while it exists."""

    def __init__(self, world: World) -> None:
        self._world = world

    def assume(self, target: RoleTarget, *, run: str, person: str) -> Credentials:
        if not self._world.role_exists:
            raise ForbiddenError("sts:AssumeRole failed with AccessDenied", code="aws-denied")
        return Credentials("AKIA", "s", "t", now() + timedelta(minutes=15), target.role_arn)

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> ProbeResult:
        allowed = self._world.role_exists
        return ProbeResult(allowed, None if allowed else "AccessDenied", now())


class FakeReach:
    """The way into the cluster: the same doors whichever way it is."""

    def __init__(self, world: World, way: WayIn) -> None:
        self._world = world
        self._way = way
        self._file = way.folder / "kubeconfig"

    def _needs_cluster(self) -> None:
        if "cluster" not in self._world.things:
            raise NotFoundError("eks:DescribeCluster failed with ResourceNotFoundException")

    def open(self) -> None:
        self._needs_cluster()
        if self._world.lost_cluster:
            raise NotReachableError("cluster ringfence-payments does not let us in: timed out")
        self._world.things.add("way-in")

    def install(
        self, releases: Releases, name: str, chart: Path, namespace: str, values: Mapping[str, Any]
    ) -> Release:
        self._needs_cluster()
        self._file.write_text("{}")
        return releases.upgrade_install(self._file, name, chart, namespace, values)

    def uninstall(self, releases: Releases, name: str, namespace: str) -> bool:
        self._needs_cluster()
        return releases.uninstall(self._file, name, namespace)

    def empty(self, *namespaces: str) -> None:
        self._needs_cluster()
        assert self._way.guest is not None, "only a guest's part of a cluster is emptied"
        self._world.emptied += namespaces

    def close(self) -> WayInClosed:
        self._needs_cluster()
        before = "way-in" in self._world.things
        self._world.things.discard("way-in")
        proof = DeniedAttempt(
            action="kubernetes:connect",
            error_code="refused",
            succeeded_before=before,
            denied_at=now(),
            attempts=1,
        )
        way: Literal["public-cidr", "in-vpc-runner"] = (
            "public-cidr" if self._way.runner is None else "in-vpc-runner"
        )
        return WayInClosed(proof.denied_at, (proof,), WayInSeen(way=way, access_entries=0))


class FakeCloud:
    """The customer's account beside the engine."""

    def __init__(self, world: World) -> None:
        self._world = world

    def account(self, target: RoleTarget, source: Callable[[], Credentials]) -> Account:
        source()
        return Account(target, source, None)

    def preflight(self, account: Account, wanted: Wanted) -> list[Check]:
        return [Check("identity", "pass", "fine")]

    def read_pins(self, account: Account) -> dict[str, str]:
        return {}

    def store(
        self,
        account: Account,
        bucket: str,
        artifact: Artifact,
        on_progress: Callable[[int, int], None],
    ) -> Stored:
        on_progress(10, 10)
        self._world.things.add(f"object:{artifact.name}")
        key = object_key(artifact.digest)
        return Stored(artifact.name, artifact.digest, bucket, key, 10, copied=True)

    def copy_image(
        self,
        account: Account,
        crane: Path,
        folder: Path,
        image: Image,
        check: Callable[[], None],
    ) -> CopiedImage:
        check()
        name = f"image:{image.name}"
        is_new = name not in self._world.things
        self._world.things.add(name)
        return CopiedImage(image.name, image.digest, image.reference, 10, copied=is_new)

    def census(self, account: Account, footprint: Footprint) -> list[ResidueItem]:
        name = account.target.role_name
        return [ResidueItem(kind="role", name=name, expected=True, reason="this grant's")]

    def has_cluster(self, account: Account, name: str) -> bool:
        return "eks" not in self._world.deleted

    def strays(self, account: Account, install: str, known: Collection[str]) -> list[Stray]:
        return []

    def look_up(self, account: Account, plan: Sequence[PlannedResource]) -> Looked:
        world = self._world
        wanted = {r.urn.rpartition("::")[2]: r for r in plan if r.op == "create"}
        there = world.things - world.deleted
        return Looked(
            found=tuple(Adopted(r, _id(part)) for part, r in wanted.items() if part in there),
            absent=tuple(r for part, r in wanted.items() if part not in there),
            waiting=(),
            unclear=tuple(
                Attention(r.urn, "s3:HeadBucket", "the answer was Forbidden")
                for part, r in wanted.items()
                if part in world.doubtful
            ),
        )

    def unsettled(self, account: Account, found: Sequence[Adopted]) -> str:
        return ""

    def inventory(
        self,
        account: Account,
        retained: Mapping[str, str],
        host: str | None = None,
        *,
        images: bool = False,
    ) -> list[ResidueItem]:
        left = [("role", account.target.role_name, "this grant's role")]
        left += [("vpc", "vpc-1", "") for t in self._world.things if t == "vpc"]
        left += [
            ("cluster", "ringfence-payments", "") for t in self._world.things if t == "cluster"
        ]
        left += [
            ("bucket", BUCKET, retained.get(BUCKET, ""))
            for t in self._world.things
            if t == "bucket"
        ]
        return [
            ResidueItem(kind=kind, name=name, expected=bool(reason), reason=reason)
            for kind, name, reason in left
        ]

    def power_off(self, account: Account) -> PowerOff:
        before = self._world.has_power
        self._world.has_power = False
        proof = DeniedAttempt(
            action="ec2:DescribeVpcs",
            error_code="AccessDenied",
            succeeded_before=before,
            denied_at=now(),
            attempts=1,
        )
        return PowerOff(proof.denied_at, proof)

    def prove_no_entry(self, target: RoleTarget, *, succeeded_before: bool) -> DeniedAttempt:
        assert not self._world.role_exists
        return DeniedAttempt(
            action="sts:AssumeRole",
            error_code="AccessDenied",
            succeeded_before=succeeded_before,
            denied_at=now(),
            attempts=1,
        )

    def reach(self, account: Account, way: WayIn) -> FakeReach:
        self._world.ways.append(way)
        return FakeReach(self._world, way)


class FakeEngine:
    """The infrastructure engine: a stack exists or not; the bucket takes its objects with it."""

    def __init__(self, world: World) -> None:
        self._world = world

    @contextmanager
    def open(self, run: EngineRun, on_start: Any = None) -> Iterator[FakeEngineSession]:
        yield FakeEngineSession(self._world)

    @contextmanager
    def open_scratch(self, run: EngineRun) -> Iterator[FakeScratch]:
        yield FakeScratch(self._world)


class FakeScratch:
    """An engine on a copy of the state: a refresh shows what the world is really like."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._state: dict[str, Any] = {}

    def import_state(self, stack: str, deployment: dict[str, Any]) -> None:
        self._state = copy.deepcopy(deployment)

    def refresh(self, stack: str, on_event: Any) -> Result:
        inner = self._state["deployment"]
        names = {urn(stack, part): part for part in PARTS[stack]}
        inner["resources"] = [
            {**r, "inputs": {**r["inputs"], **self._world.changed.get(names[r["urn"]], {})}}
            for r in inner["resources"]
            if names[r["urn"]] not in self._world.deleted
        ]
        return Result(operation="refresh", stack=stack, ok=True)

    def export(self, stack: str) -> dict[str, Any]:
        return self._state


class FakeEngineSession:
    """One open engine."""

    def __init__(self, world: World) -> None:
        self._world = world

    def preview(self, target: StackProgram, on_event: Any, *, refresh: bool = False) -> Result:
        size = 2 if self._world.drifted_plan and target.upstream is not None else 1
        plan = [
            PlannedResource(
                urn=f"urn:pulumi:{target.stack}::p::aws:x:Y::{n}",
                type="aws:x:Y",
                op="same" if target.stack in self._world.things and n == 0 else "create",
                inputs={"n": n},
            )
            for n in range(size)
        ]
        plan += [self._planned(target, part, refresh) for part in PARTS[target.stack]]
        return Result(
            operation="preview",
            stack=target.stack,
            ok=True,
            plan=tuple(plan),
            outputs=OUTPUTS[target.stack],
        )

    def _planned(self, target: StackProgram, part: str, refresh: bool) -> PlannedResource:
        """Plan one part as its provider would: what it is told by `FORCING` replaces it."""
        world, known = self._world, self._world.inputs.get(target.stack, target.inputs)
        own = {key: target.inputs[key] for key in INPUTS_OF[part] if key in target.inputs}
        changed = [key for key in INPUTS_OF[part] if known.get(key) != target.inputs.get(key)]
        op, changes = "same", []
        gone = refresh and part in world.deleted
        if part not in world.things or part in world.forgotten or gone:
            op = "create"
        elif changed:
            op = "replace" if FORCING & set(changed) else "update"
            kind = "update-replace" if op == "replace" else "update"
            changes = [
                PropertyChange(path=key, kind=kind, old=known.get(key), new=own.get(key))
                for key in changed
            ]
        elif refresh and part in world.changed:
            op = "update"
        return PlannedResource(
            urn=urn(target.stack, part),
            type=TYPES[part],
            op=op,
            inputs=own,
            changes=tuple(changes),
        )

    def up(self, target: StackProgram, on_event: Any, *, refresh: bool = False) -> Result:
        if target.stack == "cluster":
            self._world.during_cluster()
        with self._world.lock:
            self._world.calls.append(f"up {target.stack}")
            self._world.things |= {target.stack, *PARTS[target.stack]}
            self._world.inputs[target.stack] = dict(target.inputs)
            self._world.forgotten -= set(PARTS[target.stack])
            for part in PARTS[target.stack]:
                self._world.adopted.pop(part, None)
            if refresh:
                self._world.deleted -= set(PARTS[target.stack])
                for part in PARTS[target.stack]:
                    self._world.changed.pop(part, None)
        on_event(
            EngineEvent(
                seq=1,
                stack=target.stack,
                event="resource.done",
                urn="urn:1",
                type="aws:x:Y",
                op="create",
                at=0.0,
            )
        )
        return Result(operation="up", stack=target.stack, ok=True, outputs=OUTPUTS[target.stack])

    def destroy(self, stack: str, on_event: Any, *, keep_protected: bool = False) -> Result:
        kept = self._world.protected if keep_protected else set()
        assert keep_protected or not self._world.protected & set(PARTS[stack])
        with self._world.lock:
            self._world.calls.append(f"destroy {stack}")
            gone = {part for part in PARTS[stack] if urn(stack, part) not in kept}
            if stack in self._world.stubborn:
                gone -= {"vpc"}
            self._world.things -= gone
            if not set(PARTS[stack]) & self._world.things:
                self._world.things.discard(stack)
            if "bucket" in gone:
                self._world.things -= {t for t in self._world.things if t.startswith("object:")}
        if stack == "cluster":
            self._world.things -= {"way-in", "release"}
            self._world.stop()
        return Result(operation="destroy", stack=stack, ok=True)

    def refresh(self, stack: str, on_event: Any) -> Result:
        return Result(operation="refresh", stack=stack, ok=True)

    def outputs(self, stack: str) -> dict[str, Any]:
        return OUTPUTS[stack]

    def export(self, stack: str) -> dict[str, Any]:
        resources = [
            self._world.adopted.get(part)
            or {
                "urn": urn(stack, part),
                "type": TYPES[part],
                "id": _id(part),
                "protect": urn(stack, part) in self._world.protected,
            }
            for part in PARTS[stack]
            if part in self._world.known()
        ]
        return {"deployment": {"resources": copy.deepcopy(resources)}}

    def import_state(self, stack: str, deployment: dict[str, Any]) -> None:
        for resource in deployment["deployment"]["resources"]:
            part = resource["urn"].rpartition("::")[2]
            if restoration.is_adopted(resource):
                self._world.adopted[part] = resource
                self._world.forgotten.discard(part)
            if resource.get("protect", False):
                self._world.protected.add(resource["urn"])
            else:
                self._world.protected.discard(resource["urn"])

    def interrupt(self) -> None:
        return None


class FakeState:
    """The engine's state store."""

    def __init__(self, world: World) -> None:
        self._world = world

    def ensure(self, boundary_id: UUID) -> None:
        return None

    def claim(self, boundary_id: UUID, run_id: UUID, fence: int) -> None:
        self._world.claims.append(run_id)

    def export_stack(self, boundary_id: UUID, project: str, stack: str) -> dict[str, Any] | None:
        if stack not in self._world.things:
            return None
        deployment = FakeEngineSession(self._world).export(stack)
        for resource in deployment["deployment"]["resources"]:
            resource.setdefault("inputs", {"tags": {"owner": "us"}, "size": 1})
            resource["ignoreChanges"] = ["openness"]
        return deployment

    def snapshot(self, boundary_id: UUID, run_id: UUID, label: str) -> int:
        known = self._world.known()
        stacks = tuple(stack for stack, parts in PARTS.items() if known & set(parts))
        number = len(self._world.saved) + 1
        if stacks:
            self._world.saved.append((Snapshot(number, run_id, label, now(), stacks), known))
        return len(stacks)

    def snapshots(self, boundary_id: UUID) -> list[Snapshot]:
        return [one for one, _ in reversed(self._world.saved)]

    def put_back(
        self, boundary_id: UUID, run_id: UUID, fence: int, number: int | None
    ) -> tuple[str, ...]:
        found = [(one, known) for one, known in self._world.saved if one.number == number]
        if number is not None and not found:
            raise NotFoundError(f"there is no snapshot {number} of the boundary's state")
        stacks, known = (found[0][0].stacks, found[0][1]) if found else ((), set())
        self._world.forgotten = {part for part in TYPES if part in self._world.things} - known
        self._world.adopted.clear()
        self._world.damaged = False
        return stacks

    def has_stack(self, boundary_id: UUID, project: str, stack: str) -> bool:
        return stack in self._world.things

    def read_stack(
        self, boundary_id: UUID, project: str, stack: str
    ) -> tuple[dict[str, Any], datetime] | None:
        if self._world.damaged:
            raise ValueError("Expecting value: line 1 column 1 (char 0)")
        return None

    def identifiers(self, boundary_id: UUID, project: str) -> set[str]:
        return set()


class FakeRecovery:
    """Nothing was left behind."""

    def run(self, run: EngineRun, stacks: Sequence[str], account: Account) -> RecoveryReport:
        return RecoveryReport()


class FakeReleases:
    """Helm: installing the chart starts the agent."""

    def __init__(self, world: World, db: Database, tenant_scope: Scope) -> None:
        self._world = world
        self._db = db
        self._scope = tenant_scope

    def upgrade_install(
        self,
        kubeconfig: Path,
        name: str,
        chart: Path,
        namespace: str,
        values: Mapping[str, Any],
        *,
        wait_seconds: int | None = None,
        create_namespace: bool = True,
    ) -> Release:
        self._world.things.add("release")
        self._world.values, self._world.release_namespace = dict(values), namespace
        if self._world.agent is None:
            token = values["agent"]["enrolmentToken"]
            self._world.agent = FakeAgent(self._world, self._db, self._scope, token)
            self._world.agent.start()
        return Release(name, namespace, 1, "deployed", "boundary-stack-0.1.0")

    def uninstall(self, kubeconfig: Path, name: str, namespace: str) -> bool:
        self._world.things.discard("release")
        self._world.stop()
        return True


class FakeCountersigner:
    """The customer's key says yes."""

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    def countersign(self, envelope: Envelope) -> Envelope:
        return countersign(envelope, self._key)


class FakeAgent(threading.Thread):
    """Enrols, applies what it is given, answers verbs; real rows, real keys."""

    def __init__(self, world: World, db: Database, scope: Scope, token: str) -> None:
        super().__init__(daemon=True, name="fake-agent")
        self._world = world
        self._db = db
        self._scope = scope
        self._token = token
        self._key = Ed25519PrivateKey.generate()
        self._stopped = threading.Event()
        self._applied = 0

    def stop(self) -> None:
        """End the agent."""
        self._stopped.set()
        if threading.current_thread() is not self:
            self.join(timeout=10)

    def has_applied(self, sequence: int) -> None:
        """Let the agent have applied a bundle that the database does not know."""
        self._applied = sequence

    def run(self) -> None:
        ctx = OpContext(system_actor("agent"), "agent", self._scope)
        proof = self._key.sign(hashlib.sha256(self._token.encode()).digest())
        request = EnrolRequest(
            token=self._token,
            public_key=encode_public(self._key),
            proof_of_possession=base64.b64encode(proof).decode(),
            agent_version="0.1.0",
        )
        with self._db.transaction(self._scope) as session:
            enrolment.enrol(session, ctx, request)
        assert self._scope.boundary_ids is not None
        (boundary,) = self._scope.boundary_ids
        while not self._stopped.wait(0.05):
            with self._db.transaction(self._scope) as session:
                agent = repository.find_active_agent(session, boundary)
                if agent is None:
                    return
                state = service.desired_state(session, boundary, self._applied)
                if state.bundle is not None:
                    service.record_status(session, agent, self._status(state.bundle))
                for envelope in state.verbs:
                    service.record_verb_result(session, ctx, boundary, self._answer(envelope))

    def _status(self, envelope: Envelope) -> AgentStatus:
        assert len(envelope.signatures) == 2
        bundle = Bundle.from_wire(_payload(envelope))
        refused = {"code": "old-sequence", "reason": "I do not want it"}
        if not self._world.refuses_bundle:
            self._applied = bundle.sequence
        return AgentStatus(
            agent_version="0.1.0",
            applied_sequence=self._applied,
            refused=cast(Any, refused) if self._world.refuses_bundle else None,
            gateway_url="http://127.88.0.1:8080",
            resources=tuple(
                ResourceReport(
                    kind=r.kind,
                    name=r.name,
                    ready=True,
                    reason="Ready",
                    message="",
                    observed_generation=1,
                    generation=1,
                )
                for r in bundle.resources
            ),
            smoke=tuple(
                SmokeReport(instance=r.name, model=r.name, output_tokens=8, ttft_ms=12.0)
                for r in bundle.resources
                if r.kind == "ModelInstance"
            ),
            verified_artifacts={
                r.name: r.spec["digest"] for r in bundle.resources if r.kind == "ModelArtifact"
            },
            observed_at=now(),
        )

    def _answer(self, envelope: Envelope) -> VerbResult:
        verb = Verb.from_wire(_payload(envelope))
        if isinstance(verb.action, CloseVerb):
            self._world.role_exists = False
            report = CloseReport(
                role_name=verb.action.role_name,
                detached=("AWSDenyAll",),
                role_deleted=True,
                role_absent_at=now(),
            )
            return VerbResult(verb_id=verb.id, close=report)
        signed = countersign(verb.action.certificate, self._key)
        return VerbResult(verb_id=verb.id, certificate=signed)


def _payload(envelope: Envelope) -> dict[str, Any]:
    import json

    document: dict[str, Any] = json.loads(base64.b64decode(envelope.payload))
    return document
