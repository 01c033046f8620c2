"""A guest's way into its host's cluster: the real runner, the real API server, its own one role."""

from __future__ import annotations

import importlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.host import WantedHost
from controlplane.adapters.aws.preflight import Wanted, run_checks
from controlplane.adapters.kubernetes import reach_runner
from controlplane.adapters.kubernetes.reach import Budget, NotReachableError, PublicCidrReach
from controlplane.adapters.kubernetes.reach_runner import InVpcRunnerReach
from controlplane.adapters.kubernetes.runner_orders import RunnerSite
from controlplane.core.clock import now
from controlplane.sagas.takeover.documents import _ONLY
from sandbox.cluster import attach_cluster
from sandbox.node.images import references
from sandbox.rehearsal.errors import AloneError
from sandbox.rehearsal.subjects import Guest
from sandbox.toolchain import find_program
from tests.architecture.sources import ROOT
from tests.integration.adapters.rehearsal import account
from tests.integration.adapters.test_reach import CHART
from tests.integration.adapters.test_runner_reach import BUDGET, NO_HELM, Signer
from tests.sandbox_aws.clusters import ADMIN_POLICY, active, make_cluster, role_of
from tests.sandbox_aws.conftest import CUSTOMER, REGION, Boundary, GateProcess
from tests.sandbox_aws.test_blueprint_calls import boundary_policy, make_bucket
from tests.sandbox_aws.test_sessions import code_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]

POD_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
            }
        ],
    }
)


@dataclass
class World:
    """A host with a cluster that it has opened to the public, and a guest with nothing of it."""

    gate: GateProcess
    host: Boundary
    guest: Boundary
    cluster: str
    bucket: str
    session: dict[str, str]
    account: Account

    @property
    def eks(self) -> Any:
        return self.gate.client("eks", self.session)

    @property
    def system(self) -> str:
        return f"ringfence-system-{self.guest.name}"

    @property
    def runner(self) -> str:
        name = f"ringfence-{self.guest.name}"
        return f"arn:aws:iam::{CUSTOMER}:role/ringfence/{self.guest.name}/{name}-runner"

    def way(
        self, run: UUID, budget: Budget = BUDGET, namespace: str | None = None
    ) -> InVpcRunnerReach:
        site = RunnerSite(
            bucket=self.bucket,
            image=references()["ringfence/runner"],
            fence=1,
            grant_until=now() + timedelta(hours=1),
            signer=Signer(),
            check=lambda: None,
        )
        inside = namespace or self.system
        group = f"ringfence-guest-{self.guest.name}"
        guest = reach_runner.Guest(group, inside, self.guest.name)
        return InVpcRunnerReach(self.account, self.cluster, run, site, budget, guest)

    def admin(self) -> Any:
        return attach_cluster(
            self.cluster, self.gate.root / "data/clusters" / self.cluster, self.gate.root / "run"
        ).admin()

    def let_in(self) -> None:
        """Do as the host's release does, as far as these tests need it."""
        admin, group = self.admin(), f"ringfence-guest-{self.guest.name}"
        rules = [
            {"apiGroups": ["", "apps", "batch"], "resources": ["*"], "verbs": ["*"]},
            {"apiGroups": ["ringfence.dev"], "resources": ["*"], "verbs": ["*"]},
        ]
        rbac = "/apis/rbac.authorization.k8s.io/v1/namespaces"
        admin.request("POST", "/api/v1/namespaces", {"metadata": {"name": self.system}})
        body = {"metadata": {"name": "guest-installer"}, "rules": rules}
        admin.request("POST", f"{rbac}/{self.system}/roles", body)
        # Its one SecurityBoundary; RBAC asks before the API server says that the kind is not there.
        own = [
            {
                "apiGroups": ["ringfence.dev"], "resources": ["securityboundaries"],
                "resourceNames": [self.guest.name], "verbs": ["delete"],
            }
        ]  # fmt: skip
        named: dict[str, Any] = {"name": "guest-installer"}
        cluster = {"metadata": named, "rules": own}
        roles = rbac.removesuffix("/namespaces")
        admin.request("POST", f"{roles}/clusterroles", cluster)
        binding = {
            "metadata": {"name": "guest-installer"},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "guest-installer",
            },
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}
            ],
        }  # fmt: skip
        admin.request("POST", f"{rbac}/{self.system}/rolebindings", binding)
        role = {
            "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
            "name": "guest-installer",
        }  # fmt: skip
        whole = {**binding, "roleRef": role}
        admin.request("POST", f"{roles}/clusterrolebindings", whole)

    def pod_role(self) -> str:
        iam = self.gate.client("iam", self.session)
        name = f"ringfence-{self.guest.name}-fetcher"
        made = iam.create_role(
            RoleName=name,
            Path=f"/ringfence/{self.guest.name}/",
            AssumeRolePolicyDocument=POD_TRUST,
            PermissionsBoundary=boundary_policy(self.guest),
            Tags=[{"Key": "ringfence:boundary", "Value": self.guest.name}],
        )
        return str(made["Role"]["Arn"])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    root = Path(tempfile.mkdtemp(prefix="rf-"))
    gate = GateProcess(root)
    gate.start()
    try:
        host = gate.boundary().create().open(1)
        guest = gate.boundary().create(host=host.name).open(1)
        session = host.session(1)
        name = make_cluster(host, session)
        active(gate.client("eks", session), name)
        own = guest.session(1)
        bucket = make_bucket(gate.client("s3", own), guest)
        world = World(gate, host, guest, name, bucket, own, account(guest))
        yield world
    finally:
        gate.stop()
        shutil.rmtree(root)


@pytest.fixture(scope="module")
def placed(world: World) -> World:
    """The world after the host has let the guest in."""
    world.let_in()
    return world


def test_a_guest_is_told_where_it_was_not_let_in(world: World) -> None:
    way = world.way(uuid4(), Budget(60.0, 6.0, 30.0), "kube-system")
    try:
        with pytest.raises(NotReachableError, match="does not let the runner in: 403"):
            way.open()
    finally:
        way.close()


def test_a_guest_installs_by_its_runner_while_its_host_is_open_and_leaves_nothing(
    placed: World, tmp_path: Path
) -> None:
    world = placed
    vpc = world.eks.describe_cluster(name=world.cluster)["cluster"]["resourcesVpcConfig"]
    was_public = vpc["endpointPublicAccess"]
    chart = tmp_path / "probe"
    for name, text in CHART.items():
        (chart / name).parent.mkdir(parents=True, exist_ok=True)
        (chart / name).write_text(text)
    way = world.way(uuid4())
    way.open()
    release = way.install(NO_HELM, "probe", chart, world.system, {"word": "one"})
    assert release.namespace == world.system
    entry = world.gate.client("eks", "customer-admin").describe_access_entry(
        clusterName=world.cluster, principalArn=world.runner
    )["accessEntry"]
    assert entry["kubernetesGroups"] == [f"ringfence-guest-{world.guest.name}"]
    # It empties its namespace, where it may: this cluster has no kinds of ours.
    way.empty(world.system)
    left = world.admin().request("GET", f"/api/v1/namespaces/{world.system}/configmaps")["items"]
    assert {one["metadata"]["name"] for one in left} <= {"kube-root-ca.crt"}
    closed = way.close()
    # The guest neither opened the host's endpoint nor shut it.
    vpc = world.eks.describe_cluster(name=world.cluster)["cluster"]["resourcesVpcConfig"]
    assert vpc["endpointPublicAccess"] is was_public
    assert (closed.way_in.access_entries, closed.way_in.public_endpoint) == (0, None)
    proofs = {one.action: one for one in closed.proofs}
    assert proofs["kubernetes:list-pods"].succeeded_before
    assert (proofs["kubernetes:connect"].error_code == "401") is was_public
    assert (
        world.runner
        not in world.eks.list_access_entries(clusterName=world.cluster)["accessEntries"]
    )


@pytest.fixture
def customer(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The customer's own role, with which the kit's script works here; its ARN."""
    iam, name = world.gate.client("iam", "customer-admin"), "customer-operations"
    trust = json.loads(POD_TRUST)
    trust["Statement"][0]["Principal"] = {"AWS": f"arn:aws:iam::{CUSTOMER}:root"}
    made = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    iam.put_role_policy(
        RoleName=name,
        PolicyName="all",
        PolicyDocument=json.dumps({"Version": "2012-10-17", "Statement": [everything]}),
    )
    arn = str(made["Role"]["Arn"])
    keys = world.gate.client("sts", "customer-admin").assume_role(
        RoleArn=arn, RoleSessionName="operations"
    )["Credentials"]
    monkeypatch.setenv("AWS_ENDPOINT_URL", world.gate.endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", keys["AccessKeyId"])
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", keys["SecretAccessKey"])
    monkeypatch.setenv("AWS_SESSION_TOKEN", keys["SessionToken"])
    monkeypatch.setenv("KUBECTL", str(find_program("kubectl")))
    monkeypatch.syspath_prepend(str(ROOT / "blueprints/takeover"))
    yield arn
    iam.delete_role_policy(RoleName=name, PolicyName="all")
    iam.delete_role(RoleName=name)


def test_a_guests_kit_comes_in_as_its_group_empties_its_place_and_leaves_its_host(
    placed: World, customer: str, tmp_path: Path
) -> None:
    world, name = placed, placed.cluster
    guest_place = importlib.import_module("guest_place")
    facts = {
        "boundary": world.guest.name, "cluster": name, "region": REGION,
        "host": {
            "boundary": world.host.name, "group": f"ringfence-guest-{world.guest.name}",
            "namespaces": [world.system],
        },
    }  # fmt: skip
    eks, admin = world.gate.client("eks", "customer-admin"), world.admin()
    before = eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"]
    assert before["endpointPublicAccess"]
    for namespace in (world.system, "default"):
        body = {"metadata": {"name": "probe"}, "data": {"word": "one"}}
        admin.request("POST", f"/api/v1/namespaces/{namespace}/configmaps", body)
    with guest_place.way_in(facts, tmp_path, cidrs=[], kubeconfig=None) as kubeconfig:
        assert kubeconfig.stat().st_mode & 0o077 == 0
        entry = eks.describe_access_entry(clusterName=name, principalArn=customer)["accessEntry"]
        assert entry["kubernetesGroups"] == [f"ringfence-guest-{world.guest.name}"]
        policies = eks.list_associated_access_policies(clusterName=name, principalArn=customer)
        assert policies["associatedAccessPolicies"] == []
        with pytest.raises(RuntimeError, match="forbidden"):
            guest_place.run_kubectl(kubeconfig, ["get", "configmaps", "-n", "default"], tmp_path)
        guest_place.empty(kubeconfig, facts, tmp_path)
    assert not kubeconfig.exists()
    assert customer not in eks.list_access_entries(clusterName=name)["accessEntries"]
    assert eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"] == before

    def maps(namespace: str) -> set[str]:
        listed = admin.request("GET", f"/api/v1/namespaces/{namespace}/configmaps")["items"]
        return {one["metadata"]["name"] for one in listed} - {"kube-root-ca.crt"}

    assert (maps(world.system), maps("default")) == (set(), {"probe"})


def test_a_hosts_kit_comes_in_by_its_address_and_leaves_everything_as_it_was(
    world: World, customer: str, tmp_path: Path
) -> None:
    """What was there before stays: an entry of the customer's own, and who could pass."""
    name, way_in = world.cluster, importlib.import_module("way_in")
    eks = world.gate.client("eks", "customer-admin")
    place = {"clusterName": name, "principalArn": customer}
    # With what the runbook says that it needs, and no more.
    runbook = (ROOT / "blueprints/takeover/RUNBOOK.md").read_text()
    own = _ONLY.sub(lambda part: part[2] if part[1] in ("own", "public") else "", runbook)
    listed = sorted(set(re.findall(r"`((?:eks|iam):\w+)`", own)))
    assert len(listed) == 10
    world.gate.client("iam", "customer-admin").put_role_policy(
        RoleName=customer.rpartition("/")[2],
        PolicyName="all",
        PolicyDocument=json.dumps({
            "Version": "2012-10-17",
            "Statement": [{"Effect": "Allow", "Action": listed, "Resource": "*"}],
        }),
    )  # fmt: skip
    before = eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"]
    cidrs = ["127.0.0.0/16"]
    assert before["endpointPublicAccess"]
    assert before["publicAccessCidrs"] != cidrs

    def come_in() -> None:
        with way_in.way_in(
            name, REGION, tmp_path, cidrs=cidrs, kubeconfig=None, inside=False
        ) as kubeconfig:
            assert kubeconfig.stat().st_mode & 0o077 == 0
            vpc = eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"]
            assert vpc["publicAccessCidrs"] == cidrs
            found = way_in.run_kubectl(kubeconfig, ["get", "namespaces", "-o", "name"], tmp_path)
            assert "namespace/kube-system" in found
            raise RuntimeError("what the customer wanted to do fails")

    with pytest.raises(RuntimeError, match="wanted to do fails"):
        come_in()
    assert not (tmp_path / "kubeconfig").exists()
    assert customer not in eks.list_access_entries(clusterName=name)["accessEntries"]
    assert eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"] == before

    assert way_in.neighbours(name, REGION, f"boundary-{world.host.name}") == []
    eks.create_access_entry(**place, kubernetesGroups=["own-people"])
    try:
        with pytest.raises(RuntimeError, match="wanted to do fails"):
            come_in()
        entry = eks.describe_access_entry(**place)["accessEntry"]
        assert entry["kubernetesGroups"] == ["own-people"]
        assert eks.list_associated_access_policies(**place)["associatedAccessPolicies"] == []
        assert eks.describe_cluster(name=name)["cluster"]["resourcesVpcConfig"] == before
    finally:
        eks.delete_access_entry(**place)


def test_a_kit_sees_who_else_lives_in_a_cluster_that_is_to_be_deleted(
    world: World, customer: str
) -> None:
    neighbours = importlib.import_module("way_in").neighbours
    host, guest = f"boundary-{world.host.name}", f"boundary-{world.guest.name}"
    assert neighbours(world.cluster, REGION, host) == []
    eks = world.gate.client("eks", "customer-admin")
    role = world.pod_role()
    made = [
        eks.create_pod_identity_association(
            clusterName=world.cluster, namespace=namespace, serviceAccount="fetcher", roleArn=role
        )["association"]["associationId"]
        for namespace in (host, guest, "tools-of-the-customer")
    ]
    assert neighbours(world.cluster, REGION, host) == [world.guest.name]
    assert neighbours("gone", REGION, host) == []
    for one in made:
        eks.delete_pod_identity_association(clusterName=world.cluster, associationId=one)
    world.gate.client("iam", "customer-admin").delete_role(RoleName=role.rpartition("/")[2])


def test_a_rehearsal_tells_when_something_of_the_host_was_changed(world: World) -> None:
    host, guest = world.host.name, world.guest.name
    bucket = make_bucket(world.gate.client("s3", world.host.session(1)), world.host)
    assert bucket == f"ringfence-{host}-{CUSTOMER}-artifacts"
    task = {
        "boundary": guest, "cluster": world.cluster, "account_id": CUSTOMER,
        "host": {"boundary": host, "namespaces": [f"boundary-{guest}", world.system]},
    }  # fmt: skip
    subject = Guest(task, lambda service: world.gate.client(service, "customer-admin"))
    # The copies of a guest's images are its own, and must go with it.
    assert f"ringfence/{guest}/agent" not in subject.left()
    ecr = world.gate.client("ecr", "customer-admin")
    ecr.create_repository(repositoryName=f"ringfence/{guest}/agent")
    assert f"ringfence/{guest}/agent" in subject.left()
    ecr.delete_repository(repositoryName=f"ringfence/{guest}/agent")
    # This host has no nodes and no pods: what cannot be seen proves nothing.
    with pytest.raises(AloneError, match=f"nothing was seen of the host {host}: nodes"):
        subject.require_others_untouched()
    iam = world.gate.client("iam", "customer-admin")
    iam.tag_role(RoleName=f"ringfence-{host}-cluster", Tags=[{"Key": "owner", "Value": "x"}])
    world.gate.client("s3", "customer-admin").put_object(Bucket=bucket, Key="x", Body=b"x")
    with pytest.raises(AloneError, match=f"the host {host} was changed: bucket, roles"):
        subject.require_others_untouched()


def test_a_hosts_close_does_not_cut_its_guests_way(placed: World, tmp_path: Path) -> None:
    world = placed
    way = world.way(uuid4())
    way.open()
    (tmp_path / "work").mkdir()
    hosts = PublicCidrReach(
        account(world.host), world.cluster, ("127.0.0.1/32",), tmp_path / "work", "host-run", BUDGET
    )
    hosts.open()
    hosts.close()
    # The public endpoint is shut; the guest's runner still comes in by the private one.
    way.empty(world.system)
    closed = way.close()
    proofs = {one.action: one for one in closed.proofs}
    assert proofs["kubernetes:list-pods"].succeeded_before
    assert proofs["kubernetes:connect"].error_code != "401"
    vpc = world.eks.describe_cluster(name=world.cluster)["cluster"]["resourcesVpcConfig"]
    assert vpc["endpointPublicAccess"] is False


def checks(world: World, **changes: str) -> dict[str, tuple[str, str]]:
    """Return the preflight's answers on a host, with changes to what is wanted of it."""
    values = {"boundary": world.host.name, "cluster": world.cluster, "cidr": "10.20.0.0/16"}
    wanted = Wanted(
        values["cidr"], (), world.bucket, world.cluster, WantedHost(**{**values, **changes})
    )
    return {one.name: (one.state, one.message) for one in run_checks(world.account, wanted)}


def test_the_preflight_looks_at_the_host_and_not_for_room_of_its_own(world: World) -> None:
    found = checks(world)
    assert set(found) == {"identity", "role", "bucket", "host", "host-network"}
    assert found["host"][0] == "pass"
    state, message = checks(world, boundary="other")["host"]
    assert (state, "has the tag" in message) == ("fail", True)
    state, message = checks(world, cidr="10.99.0.0/16")["host-network"]
    assert (state, "expected are 10.99.0.0/16" in message) == ("fail", True)


def entry(world: World, **changes: Any) -> dict[str, Any]:
    """Return what a guest asks for when it comes in, with changes."""
    asked = {
        "clusterName": world.cluster,
        "principalArn": world.runner,
        "type": "STANDARD",
        "kubernetesGroups": [f"ringfence-guest-{world.guest.name}"],
        **changes,
    }
    return {name: value for name, value in asked.items() if value is not None}


@pytest.mark.parametrize(
    "changes",
    [
        {"kubernetesGroups": ["ringfence-guest-other"]},
        {"kubernetesGroups": ["ringfence-guest-other", "masters"]},
        {"username": "kubernetes-admin"},
        {"type": "EC2_LINUX", "kubernetesGroups": None},
        {"principalArn": "own role"},
        {"principalArn": "host role"},
    ],
    ids=["another-group", "two-groups", "a-name-of-its-choice", "a-node", "its-role", "the-hosts"],
)
def test_a_guest_comes_in_as_its_own_runner_in_its_own_group_only(
    world: World, changes: dict[str, Any]
) -> None:
    principals = {"own role": role_of(world.guest), "host role": role_of(world.host)}
    if "principalArn" in changes:
        changes = {**changes, "principalArn": principals[changes["principalArn"]]}
    asked = entry(world, **changes)
    assert code_of(lambda: world.eks.create_access_entry(**asked)) == "AccessDeniedException"


def test_a_guest_can_change_and_delete_nothing_of_its_hosts_cluster(world: World) -> None:
    eks, name = world.eks, world.cluster
    host = world.gate.client("eks", world.host.session(1))
    host.create_access_entry(clusterName=name, principalArn=role_of(world.host), type="STANDARD")
    iam = world.gate.client("iam", world.host.session(1))
    role = iam.create_role(
        RoleName=f"ringfence-{world.host.name}-pod",
        Path=f"/ringfence/{world.host.name}/",
        AssumeRolePolicyDocument=POD_TRUST,
        PermissionsBoundary=boundary_policy(world.host),
    )["Role"]["Arn"]
    theirs = host.create_pod_identity_association(
        clusterName=name, namespace="boundary-x", serviceAccount="fetcher", roleArn=role,
        tags={"ringfence:boundary": world.host.name},
    )["association"]  # fmt: skip
    theirs_id = theirs["associationId"]
    own = world.pod_role()
    arn = eks.describe_cluster(name=name)["cluster"]["arn"]
    cluster, principal = {"clusterName": name}, {"principalArn": role_of(world.host)}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("delete_cluster", {"name": name}),
        ("update_cluster_config", {"name": name, "resourcesVpcConfig": {
            "endpointPublicAccess": False}}),
        ("update_cluster_version", {"name": name, "version": "1.34"}),
        ("create_addon", {**cluster, "addonName": "eks-pod-identity-agent"}),
        ("create_nodegroup", {**cluster, "nodegroupName": "x", "subnets": ["subnet-1"],
                              "nodeRole": own}),
        ("associate_access_policy", {**cluster, "principalArn": world.runner,
                                     "policyArn": ADMIN_POLICY,
                                     "accessScope": {"type": "cluster"}}),
        ("delete_access_entry", {**cluster, **principal}),
        ("update_access_entry", {**cluster, "principalArn": world.runner,
                                 "kubernetesGroups": ["masters"]}),
        ("delete_pod_identity_association", {**cluster, "associationId": theirs_id}),
        ("update_pod_identity_association", {**cluster, "associationId": theirs_id,
                                             "roleArn": own}),
        ("untag_resource", {"resourceArn": theirs["associationArn"], "tagKeys": ["x"]}),
        ("tag_resource", {"resourceArn": arn, "tags": {"ringfence:boundary": world.guest.name}}),
        ("create_pod_identity_association", {
            **cluster, "namespace": "x", "serviceAccount": "x", "roleArn": own}),
        ("create_pod_identity_association", {
            **cluster, "namespace": "x", "serviceAccount": "x", "roleArn": role,
            "tags": {"ringfence:boundary": world.guest.name}}),
    ]  # fmt: skip
    allowed = []
    for call, arguments in calls:
        try:
            getattr(eks, call)(**arguments)
        except ClientError as error:
            if error.response["Error"]["Code"] == "AccessDeniedException":
                continue
            allowed.append(f"{call}: {error}")
        else:
            allowed.append(call)
    assert allowed == []
    assert code_of_network(world) == "UnauthorizedOperation"
    # What is the guest's own it can make, change and take away.
    made = eks.create_pod_identity_association(
        clusterName=name, namespace=f"boundary-{world.guest.name}", serviceAccount="fetcher",
        roleArn=own, tags={"ringfence:boundary": world.guest.name},
    )["association"]  # fmt: skip
    eks.delete_pod_identity_association(**cluster, associationId=made["associationId"])


def code_of_network(world: World) -> str:
    """Try to make a network, and return the refusal."""
    ec2 = world.gate.client("ec2", world.session)
    tags = world.guest.tags("vpc")
    return code_of(lambda: ec2.create_vpc(CidrBlock="10.30.0.0/16", TagSpecifications=tags))
