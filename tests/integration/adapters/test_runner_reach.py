"""The way in by a runner: a real cluster whose endpoint is never public, a real task beside it."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.adapters.aws import census
from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.runner_mailbox import NotOurRunnerError, RunnerMailbox
from controlplane.adapters.aws.runner_task import RunnerTasks, TaskPlace
from controlplane.adapters.helm.release import HelmReleases, ReleaseFailedError
from controlplane.adapters.kubernetes.control import ClusterControl
from controlplane.adapters.kubernetes.reach import Budget
from controlplane.adapters.kubernetes.reach_runner import InVpcRunnerReach
from controlplane.adapters.kubernetes.runner_orders import (
    RunnerDiedError,
    RunnerRefusedError,
    RunnerSite,
)
from controlplane.core.clock import now
from controlplane.core.errors import ForbiddenError
from iam.action_evidence import evidence_of
from iam.runner_statements import RUNNER
from proof.dsse import seal
from proof.keys import encode_public
from sandbox.node.images import references
from tests.iam.test_guest_actions import actions_of
from tests.integration.adapters.rehearsal import account
from tests.integration.adapters.test_reach import CHART
from tests.sandbox_aws.clusters import active, make_cluster
from tests.sandbox_aws.conftest import CUSTOMER, Boundary, GateProcess
from tests.sandbox_aws.test_blueprint_calls import make_bucket, wait_for
from wire.certificate import WayInSeen
from wire.envelope import Envelope
from wire.runner import ORDER_TYPE, RunnerOrder, run_prefix

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

BUDGET = Budget(update=60, ready=60, refused=30)
NO_HELM = HelmReleases(Path("/nowhere/helm"), Path("/nowhere"))
"""The control plane's own helm: through a runner it is never used."""
NOT_PLAYED = {"iam:CreateServiceLinkedRole"}
"""AWS asks for it in an account without ECS's own role; the rehearsal account makes no such."""


class Signer:
    """The control-plane key, without its file."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()

    @property
    def public(self) -> str:
        return encode_public(self._key)

    def sign(self, message: RunnerOrder) -> Envelope:
        return seal(self._key, ORDER_TYPE, message.to_wire())


@dataclass
class World:
    """A gate with a boundary whose customer wants the runner, and its private cluster."""

    boundary: Boundary
    cluster: str
    bucket: str
    account: Account
    signer: Signer

    def client(self, service: str) -> Any:
        return self.account.client(service)

    def way(
        self, run: UUID, fence: int = 1, signer: Signer | None = None, image: str | None = None
    ) -> InVpcRunnerReach:
        site = RunnerSite(
            bucket=self.bucket,
            image=image or references()["ringfence/runner"],
            fence=fence,
            grant_until=now() + timedelta(hours=1),
            signer=signer or self.signer,
            check=lambda: None,
        )
        return InVpcRunnerReach(self.account, self.cluster, run, site, BUDGET)

    def tasks(self, run: UUID) -> RunnerTasks:
        return RunnerTasks(
            self.account, TaskPlace(run, self.bucket, references()["ringfence/runner"])
        )

    def keys(self, run: UUID) -> list[str]:
        found = self.client("s3").list_object_versions(Bucket=self.bucket, Prefix=run_prefix(run))
        return [one["Key"] for one in found.get("Versions", [])]


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    root = Path(tempfile.mkdtemp(prefix="rf-"))
    gate = GateProcess(root)
    gate.start()
    try:
        boundary = gate.boundary().create(reach="in-vpc-runner").open(1)
        ours = account(boundary)
        session = boundary.session(1)
        bucket = make_bucket(gate.client("s3", session), boundary)
        gate.client("s3", session).put_bucket_versioning(
            Bucket=bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        name = make_cluster(boundary, session, endpointPublicAccess=False, publicAccessCidrs=[])
        active(gate.client("eks", session), name)
        yield World(boundary, name, bucket, ours, Signer())
    finally:
        gate.stop()
        shutil.rmtree(root)


@pytest.fixture
def run(world: World) -> Iterator[UUID]:
    """A run whose way is shut afterwards."""
    made = uuid4()
    yield made
    world.way(made, fence=99).close()


@pytest.fixture
def chart(tmp_path: Path) -> Path:
    folder = tmp_path / "probe"
    for name, text in CHART.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_a_cluster_that_is_there_is_told_from_one_that_is_gone(world: World) -> None:
    assert census.has_cluster(world.account, world.cluster)
    other = world.boundary.gate.boundary().create(reach="in-vpc-runner").open(1)
    assert not census.has_cluster(account(other), f"ringfence-{other.name}")


def test_from_outside_the_endpoint_answers_nobody(world: World) -> None:
    endpoint = ClusterControl(world.account, world.cluster).endpoint()
    assert isinstance(endpoint.answer("/readyz", "x"), str)
    assert ClusterControl(world.account, world.cluster).endpoint_changes() == []


def test_the_runner_opens_the_way_installs_and_leaves_nothing(world: World, chart: Path) -> None:
    run = uuid4()
    way = world.way(run)
    way.open()
    first = way.install(NO_HELM, "probe", chart, "probing", {"word": "one"})
    # Another step of the same run, in another process: the same task, the next orders.
    again = world.way(run, fence=2).install(NO_HELM, "probe", chart, "probing", {"word": "two"})
    assert (first.revision, again.revision, again.status) == (1, 2, "deployed")
    assert len(world.tasks(run).running()) == 1
    (chart / "templates/map.yaml").write_text("kind: Nonsense\napiVersion: v9\n")
    later = world.way(run, fence=3)
    with pytest.raises(ReleaseFailedError, match="helm-failed"):
        later.install(NO_HELM, "probe", chart, "probing", {"word": "three"})
    assert later.uninstall(NO_HELM, "probe", "probing")
    assert not later.uninstall(NO_HELM, "probe", "probing")
    assert world.keys(run)

    closed = later.close()
    assert [(p.action, p.succeeded_before) for p in closed.proofs] == [
        ("kubernetes:list-namespaces", True),
        ("kubernetes:connect", False),
    ]
    assert closed.proofs[0].error_code == "401"
    assert (closed.way_in.objects_deleted or 0) > 5
    assert closed.way_in == WayInSeen(
        way="in-vpc-runner",
        access_entries=0,
        public_endpoint=False,
        endpoint_changes=0,
        running_tasks=0,
        objects_deleted=closed.way_in.objects_deleted,
    )
    assert world.keys(run) == []
    assert world.tasks(run).left() == []
    assert world.client("ecs").list_task_definitions()["taskDefinitionArns"] == []
    path = f"/ringfence/{world.boundary.name}/"
    roles = world.client("iam").list_roles(PathPrefix=path)["Roles"]
    assert [one["RoleName"] for one in roles if "runner" in one["RoleName"]] == []
    assert world.client("eks").list_access_entries(clusterName=world.cluster)["accessEntries"] == []
    # Safe to repeat: there is nothing to ask any more.
    repeated = world.way(run, fence=4).close()
    assert [proof.action for proof in repeated.proofs] == ["kubernetes:connect"]


def test_a_runner_that_dies_is_replaced_in_the_middle_of_a_step(
    world: World, run: UUID, chart: Path
) -> None:
    way = world.way(run)
    way.open()
    (task,) = world.tasks(run).running()
    world.client("ecs").stop_task(cluster=world.cluster, task=task.arn)
    assert wait_for(lambda: world.tasks(run).left() == [])
    assert way.install(NO_HELM, "probe", chart, "probing", {"word": "x"}).status == "deployed"
    (other,) = world.tasks(run).running()
    assert other.arn != task.arn
    assert way.uninstall(NO_HELM, "probe", "probing")


def test_a_runner_that_never_starts_is_named_and_leaves_no_way_in(world: World) -> None:
    run = uuid4()
    way = world.way(run, image=references()["ringfence/runner"][:-4] + "0000")
    with pytest.raises(RunnerDiedError, match="CannotPullContainerError"):
        way.open()
    closed = way.close()
    assert [proof.action for proof in closed.proofs] == ["kubernetes:connect"]
    assert closed.way_in.access_entries == closed.way_in.running_tasks == 0
    assert world.keys(run) == []


def test_a_worker_that_lost_its_lease_is_refused_by_the_runner(world: World, run: UUID) -> None:
    world.way(run, fence=5).open()
    with pytest.raises(RunnerRefusedError, match="stale-fence"):
        world.way(run, fence=4).uninstall(NO_HELM, "probe", "probing")


def test_another_key_than_the_pinned_one_is_refused(world: World, run: UUID) -> None:
    world.way(run).open()
    with pytest.raises(RunnerRefusedError, match="missing-signature"):
        world.way(run, fence=2, signer=Signer()).uninstall(NO_HELM, "probe", "probing")


def test_a_hello_of_somebody_who_may_write_into_the_bucket_does_not_count(
    world: World, run: UUID
) -> None:
    world.way(run).open()
    (task,) = world.tasks(run).running()
    mailbox = task.environment["RUNNER_MAILBOX"]
    s3 = world.boundary.gate.client("s3", world.boundary.session(1))
    place = {"Bucket": world.bucket, "Key": f"{mailbox}hello.json"}
    true = s3.get_object(**place)["Body"].read()
    said = json.loads(true)
    mail = RunnerMailbox(world.account, world.bucket, run)
    role = world.tasks(run).role_arn
    assert mail.hello(mailbox, role, task.identifier) is not None
    # The proof is of this task alone.
    with pytest.raises(NotOurRunnerError, match="not of the task that we started"):
        mail.hello(mailbox, role, "0" * 32)
    # The proof is of these keys alone: with other keys STS does not take it.
    said["hello"]["sealing_key"] = "A" * 43 + "="
    s3.put_object(**place, Body=json.dumps(said).encode())
    assert mail.hello(mailbox, role, task.identifier) is None
    s3.put_object(**place, Body=true)


def test_the_runner_may_touch_its_own_runs_prefix_only(world: World, run: UUID) -> None:
    world.way(run).open()
    policy = world.client("iam").get_role_policy(
        RoleName=f"ringfence-{world.boundary.name}-runner", PolicyName="work"
    )["PolicyDocument"]
    resources = json.dumps([one["Resource"] for one in policy["Statement"]])
    assert f"runner/{run}/*/answers/*" in resources
    assert "artifacts" not in resources.replace(world.bucket, "")


def test_the_role_of_a_boundary_with_a_public_endpoint_runs_no_task(world: World) -> None:
    other = world.boundary.gate.boundary().create().open(1)
    tasks = RunnerTasks(account(other), TaskPlace(uuid4(), "b", "i"))
    with pytest.raises(ForbiddenError, match="ecs:CreateCluster"):
        tasks.ensure()


@pytest.mark.parametrize("name", ["cluster", "runner-2"])
def test_no_other_role_is_handed_to_a_task(world: World, name: str) -> None:
    arn = f"arn:aws:iam::{CUSTOMER}:role/ringfence/{world.boundary.name}/"
    with pytest.raises(ClientError, match="iam:PassRole"):
        world.client("ecs").register_task_definition(
            family=f"ringfence-{world.boundary.name}-runner",
            taskRoleArn=f"{arn}ringfence-{world.boundary.name}-{name}",
            networkMode="awsvpc",
            requiresCompatibilities=["FARGATE"],
            containerDefinitions=[{"name": "x", "image": "ringfence/runner"}],
            tags=[{"key": "ringfence:boundary", "value": world.boundary.name}],
        )


@contextmanager
def without(world: World, action: str) -> Iterator[None]:
    """Let the customer take one action out of the runner's policy, and put it back."""
    iam = world.boundary.gate.client("iam", "customer-admin")
    arn = f"arn:aws:iam::{CUSTOMER}:policy/ringfence-{world.boundary.name}-permissions-runner"
    was = iam.get_policy(PolicyArn=arn)["Policy"]["DefaultVersionId"]
    document = iam.get_policy_version(PolicyArn=arn, VersionId=was)["PolicyVersion"]["Document"]
    statements = []
    for one in document["Statement"]:
        left = [name for name in actions_of([one]) if name != action]
        if left or one["Effect"] != "Allow":
            statements.append({**one, "Action": left or one["Action"]})
    text = json.dumps({**document, "Statement": statements})
    assert text != json.dumps(document)
    made = iam.create_policy_version(PolicyArn=arn, PolicyDocument=text, SetAsDefault=True)
    try:
        yield
    finally:
        iam.set_default_policy_version(PolicyArn=arn, VersionId=was)
        iam.delete_policy_version(PolicyArn=arn, VersionId=made["PolicyVersion"]["VersionId"])


@pytest.fixture
def tasks(world: World) -> Iterator[RunnerTasks]:
    """The runner's parts of a run, which are gone afterwards."""
    made = world.tasks(uuid4())
    yield made
    made.stop_all()
    assert wait_for(lambda: made.left() == [])
    made.delete()


def from_start_to_end(world: World, tasks: RunnerTasks) -> None:
    """Ask of the account all that a way in by a runner asks of ECS, in its order."""
    vpc = world.client("eks").describe_cluster(name=world.cluster)["cluster"]["resourcesVpcConfig"]
    tasks.ensure()
    started = tasks.start(vpc["subnetIds"], vpc["clusterSecurityGroupId"], {})
    assert [task.arn for task in tasks.running()] == [started.arn]
    tasks.stop_all()
    assert wait_for(lambda: tasks.left() == [])
    tasks.delete()


def test_with_all_its_actions_a_runner_starts_and_goes(world: World, tasks: RunnerTasks) -> None:
    from_start_to_end(world, tasks)
    assert world.client("ecs").list_task_definitions()["taskDefinitionArns"] == []


@pytest.mark.parametrize("action", sorted({*actions_of(RUNNER)} - NOT_PLAYED))
def test_each_action_that_is_granted_for_the_runner_is_needed(
    world: World, tasks: RunnerTasks, action: str
) -> None:
    with without(world, action), pytest.raises(ForbiddenError) as refused:
        from_start_to_end(world, tasks)
    assert f"not authorized to perform: {action} " in str(refused.value)
    assert evidence_of(action), "nothing is known to need it"


def test_what_is_granted_for_the_runner_and_not_played_has_its_reason() -> None:
    assert {*actions_of(RUNNER)} > NOT_PLAYED
    reasons = {action: [one.text for one in evidence_of(action)] for action in NOT_PLAYED}
    assert all(any("ECS" in text for text in texts) for texts in reasons.values()), reasons
