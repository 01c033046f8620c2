"""EKS with a real API server behind it: life cycle, who gets in, from where, and until when."""

from __future__ import annotations

import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.cluster import attach_cluster
from tests.sandbox_aws.clusters import (
    ADMIN_POLICY,
    active,
    api,
    make_cluster,
    make_role,
    role_of,
    token,
)
from tests.sandbox_aws.conftest import CUSTOMER, Boundary, GateProcess
from tests.sandbox_aws.test_blueprint_calls import make_bucket, wait_for
from tests.sandbox_aws.test_sessions import code_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180)]


@dataclass
class World:
    """One gate with one opened boundary and its ACTIVE cluster."""

    gate: GateProcess
    boundary: Boundary
    session: dict[str, str]
    name: str

    @property
    def eks(self) -> Any:
        return self.gate.client("eks", self.session)

    @property
    def cluster(self) -> dict[str, Any]:
        found: dict[str, Any] = self.eks.describe_cluster(name=self.name)["cluster"]
        return found

    def status(self, path: str = "/api/v1/namespaces", **changes: Any) -> int:
        return api(self.cluster, token(self.boundary, self.session, self.name, **changes), path)

    def enter(self) -> None:
        self.eks.create_access_entry(
            clusterName=self.name, principalArn=role_of(self.boundary), type="STANDARD"
        )
        self.eks.associate_access_policy(
            clusterName=self.name,
            principalArn=role_of(self.boundary),
            policyArn=ADMIN_POLICY,
            accessScope={"type": "cluster"},
        )

    def leave(self) -> None:
        self.eks.delete_access_entry(clusterName=self.name, principalArn=role_of(self.boundary))

    def reach(self, **vpc: Any) -> None:
        update = self.eks.update_cluster_config(name=self.name, resourcesVpcConfig=vpc)["update"]

        def done() -> bool:
            found = self.eks.describe_update(name=self.name, updateId=update["id"])["update"]
            return bool(found["status"] == "Successful")

        assert wait_for(done)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    root = Path(tempfile.mkdtemp(prefix="rf-"))
    gate = GateProcess(root)
    gate.start()
    try:
        boundary = gate.boundary().create().open()
        session = boundary.session()
        name = make_cluster(boundary, session)
        world = World(gate, boundary, session, name)
        assert world.cluster["status"] == "CREATING"
        assert "endpoint" not in world.cluster
        active(world.eks, name)
        yield world
    finally:
        gate.stop()
        shutil.rmtree(root)


@pytest.fixture
def entered(world: World) -> Iterator[World]:
    world.enter()
    yield world
    world.leave()


def test_the_creator_gets_no_standing_way_in(world: World) -> None:
    assert world.eks.list_access_entries(clusterName=world.name)["accessEntries"] == []
    assert world.status() == 401


def test_an_access_entry_with_the_admin_policy_opens_the_cluster(entered: World) -> None:
    assert entered.status() == 200
    assert entered.status("/api/v1/secrets") == 200


def test_removing_the_entry_closes_within_the_cache_time(world: World) -> None:
    world.enter()
    bearer = token(world.boundary, world.session, world.name)
    assert api(world.cluster, bearer, "/api/v1/namespaces") == 200
    world.leave()
    assert wait_for(lambda: api(world.cluster, bearer, "/api/v1/namespaces") == 401, 15)


def test_an_entry_without_policy_authenticates_and_may_nothing(world: World) -> None:
    world.eks.create_access_entry(clusterName=world.name, principalArn=role_of(world.boundary))
    assert world.status() == 403
    world.leave()


def test_another_roles_token_does_not_open(entered: World) -> None:
    other = entered.gate.boundary().create().open()
    bearer = token(other, other.session(), entered.name)
    assert api(entered.cluster, bearer, "/api/v1/namespaces") == 401


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"url_path": "x"}, "a path other than /"),
        ({"action": "GetSessionToken"}, "another action"),
        ({"suffix": "&X-Amz-Extra=1"}, "an unknown parameter"),
        ({"suffix": "&Action=GetCallerIdentity"}, "a repeated parameter"),
        ({"endpoint": "http://127.0.0.1:1"}, "another host"),
        ({"endpoint": "https://evil.example"}, "a foreign host"),
        ({"expires": 901}, "an expiry over 900 s"),
        ({"headers": {"x-other": "1"}}, "another signed header"),
        ({"suffix": "&X-Amz-Meta=" + "a" * 4000}, "a token over 4,096 characters"),
    ],
)
def test_a_malformed_token_is_refused(entered: World, changes: dict[str, Any], why: str) -> None:
    assert entered.status(**changes) == 401, why


def test_a_token_for_another_cluster_is_refused(entered: World) -> None:
    bearer = token(entered.boundary, entered.session, "ringfence-other")
    assert api(entered.cluster, bearer, "/api/v1/namespaces") == 401


def test_with_public_access_off_nobody_outside_connects(entered: World) -> None:
    cluster = entered.cluster
    bearer = token(entered.boundary, entered.session, entered.name)
    entered.reach(endpointPublicAccess=False, endpointPrivateAccess=True)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        api(cluster, bearer, "/api/v1/namespaces")
    entered.reach(endpointPublicAccess=True, publicAccessCidrs=["127.0.0.1/32"])
    assert api(cluster, bearer, "/api/v1/namespaces") == 200


# Python 3.11's `ssl` loses a socket that is reset while it is being wrapped.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_from_another_address_nobody_connects(entered: World) -> None:
    cluster = entered.cluster
    bearer = token(entered.boundary, entered.session, entered.name)
    entered.reach(endpointPublicAccess=True, publicAccessCidrs=["203.0.113.7/32"])
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        api(cluster, bearer, "/api/v1/namespaces")
    entered.reach(endpointPublicAccess=True, publicAccessCidrs=["127.0.0.1/32"])


def test_both_endpoints_cannot_be_off(world: World) -> None:
    config = {"endpointPublicAccess": False, "endpointPrivateAccess": False}
    assert (
        code_of(lambda: world.eks.update_cluster_config(name=world.name, resourcesVpcConfig=config))
        == "InvalidParameterException"
    )


def test_a_node_group_becomes_active_with_its_real_nodes(world: World) -> None:
    iam = world.gate.client("iam", world.session)
    role = make_role(iam, world.boundary, "node", "ec2.amazonaws.com")
    world.eks.create_nodegroup(
        clusterName=world.name, nodegroupName="cpu", nodeRole=role,
        subnets=world.cluster["resourcesVpcConfig"]["subnetIds"],
        scalingConfig={"minSize": 1, "maxSize": 1, "desiredSize": 1},
        labels={"ringfence.io/accelerator": "cpu"},
    )  # fmt: skip

    def group() -> str:
        found = world.eks.describe_nodegroup(clusterName=world.name, nodegroupName="cpu")
        return str(found["nodegroup"]["status"])

    assert group() in ("CREATING", "ACTIVE")
    assert wait_for(lambda: group() == "ACTIVE", 60)
    assert code_of(lambda: world.eks.delete_cluster(name=world.name)) == "ResourceInUseException"
    world.eks.delete_nodegroup(clusterName=world.name, nodegroupName="cpu")
    assert wait_for(
        lambda: world.eks.list_nodegroups(clusterName=world.name)["nodegroups"] == [], 20
    )


def test_pod_identity_associations_are_kept(world: World) -> None:
    closer = f"arn:aws:iam::{CUSTOMER}:role/ringfence-{world.boundary.name}-closer"
    arguments = {
        "clusterName": world.name, "namespace": "ringfence-system", "serviceAccount": "agent",
    }  # fmt: skip
    made = world.eks.create_pod_identity_association(**arguments, roleArn=closer)["association"]
    assert made["roleArn"] == closer
    listed = world.eks.list_pod_identity_associations(clusterName=world.name)["associations"]
    assert [one["associationId"] for one in listed] == [made["associationId"]]
    foreign = f"arn:aws:iam::{CUSTOMER}:role/customer-admin"
    assert (
        code_of(lambda: world.eks.create_pod_identity_association(**arguments, roleArn=foreign))
        == "AccessDeniedException"
    )
    world.eks.delete_pod_identity_association(
        clusterName=world.name, associationId=made["associationId"]
    )


def pod_token(world: World, namespace: str, account: str, audience: str) -> str:
    """Make a service account's token as a kubelet does for a pod's volume."""
    data = world.gate.root / "data/clusters" / world.name
    admin = attach_cluster(world.name, data, world.gate.root / "run").admin()
    admin.send("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    admin.send("POST", accounts, {"metadata": {"name": account}})
    body = {"spec": {"audiences": [audience], "expirationSeconds": 3600}}
    made = admin.request("POST", f"{accounts}/{account}/token", body)
    return str(made["status"]["token"])


def exchange(world: World, bearer: str) -> dict[str, Any]:
    """Exchange a pod's token as the node agent does; an error gives its message."""
    request = urllib.request.Request(
        f"{world.gate.endpoint}/clusters/{world.name}/assume-role-for-pod-identity",
        data=json.dumps({"token": bearer}).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except urllib.error.HTTPError as error:
        with error:
            return {"status": error.code, **json.load(error)}


POD_AUDIENCE = "pods.eks.amazonaws.com"


def check_anchoring(agent: Any, vendor: Any, bucket: str) -> None:
    """The agent writes a checkpoint once and reads it; nobody writes over it, least of all we."""
    place = {"Bucket": bucket, "Key": "audit/checkpoints/1.json"}
    assert code_of(lambda: agent.put_object(**place, Body=b"1")) == "AccessDenied"
    agent.put_object(**place, Body=b"1", IfNoneMatch="*")
    again = code_of(lambda: agent.put_object(**place, Body=b"2", IfNoneMatch="*"))
    assert again == "PreconditionFailed"
    assert agent.get_object(**place)["Body"].read() == b"1"
    assert code_of(lambda: agent.delete_object(**place)) == "AccessDenied"
    for key in ("audit/checkpoints/1.json", "audit/checkpoints/2.json"):
        forged = code_of(lambda key=key: vendor.put_object(Bucket=bucket, Key=key, Body=b"x"))
        assert forged == "AccessDenied"


def test_the_agent_alone_becomes_the_closer_and_can_only_delete_the_role(world: World) -> None:
    gate, boundary = world.gate, world.boundary
    closer = f"arn:aws:iam::{CUSTOMER}:role/ringfence-{boundary.name}-closer"
    for account in ("agent", "operator"):
        world.eks.create_pod_identity_association(
            clusterName=world.name, namespace="ringfence-system", serviceAccount=account,
            roleArn=closer,
        )  # fmt: skip
    wrong = exchange(world, pod_token(world, "ringfence-system", "agent", "other"))
    assert wrong["status"] == 400
    # The closer's own trust names the agent: an association for another account does not help.
    other = exchange(world, pod_token(world, "ringfence-system", "operator", POD_AUDIENCE))
    assert other["status"] == 403
    nobody = exchange(world, pod_token(world, "default", "default", POD_AUDIENCE))
    assert nobody["status"] == 404
    bearer = pod_token(world, "ringfence-system", "agent", POD_AUDIENCE)
    keys = exchange(world, bearer)["credentials"]
    for file in (world.gate.root / "data").glob("*.jsonl"):
        assert bearer not in file.read_text()
    assert bearer not in world.gate.log.read_text()
    session = {
        "access_key_id": keys["accessKeyId"],
        "secret_access_key": keys["secretAccessKey"],
        "session_token": keys["sessionToken"],
    }
    iam = gate.client("iam", session)
    assert code_of(gate.client("ec2", session).describe_vpcs) == "UnauthorizedOperation"
    foreign = gate.boundary().create().open()
    assert code_of(lambda: iam.delete_role(RoleName=f"ringfence-{foreign.name}-g1")) == (
        "AccessDenied"
    )
    bucket = make_bucket(gate.client("s3", world.session), boundary)
    s3 = gate.client("s3", session)
    s3.put_object(Bucket=bucket, Key=f"agent/{boundary.name}.pub", Body=b"key")
    assert code_of(lambda: s3.put_object(Bucket=bucket, Key="x", Body=b"x")) == "AccessDenied"
    check_anchoring(s3, gate.client("s3", world.session), bucket)
    name = f"ringfence-{boundary.name}-g1"
    assert code_of(
        lambda: iam.attach_role_policy(
            RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess"
        )
    ) == ("AccessDenied")
    assert len(iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]) >= 1


def test_the_cluster_survives_a_restart_of_the_account(entered: World) -> None:
    entered.gate.stop()
    entered.gate.start()

    def running() -> bool:
        with urllib.request.urlopen(f"{entered.gate.endpoint}/_rehearsal/health") as answer:
            clusters = json.load(answer)["clusters"]
        return all(one["running"] for one in clusters)

    assert wait_for(running, 60)
    assert entered.status() == 200


def test_the_closer_deletes_the_role_and_its_sessions_end(world: World) -> None:
    boundary, gate = world.boundary, world.gate
    name = f"ringfence-{boundary.name}-g1"
    gate.client("iam", world.session).attach_role_policy(
        RoleName=name, PolicyArn="arn:aws:iam::aws:policy/AWSDenyAll"
    )
    keys = exchange(world, pod_token(world, "ringfence-system", "agent", POD_AUDIENCE))
    session = {
        "access_key_id": keys["credentials"]["accessKeyId"],
        "secret_access_key": keys["credentials"]["secretAccessKey"],
        "session_token": keys["credentials"]["sessionToken"],
    }
    iam = gate.client("iam", session)
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    for one in sorted(attached, key=lambda p: p["PolicyName"] == "AWSDenyAll"):
        iam.detach_role_policy(RoleName=name, PolicyArn=one["PolicyArn"])
    iam.delete_role(RoleName=name)
    assert code_of(boundary.assume) == "AccessDenied"
    assert code_of(gate.client("sts", world.session).get_caller_identity) == "InvalidClientTokenId"
    boundary.open(2)
    world.session = boundary.session(2)


def test_an_entry_dies_with_its_role(world: World) -> None:
    boundary = world.boundary
    world.eks.create_access_entry(
        clusterName=world.name, principalArn=role_of(boundary, 2), type="STANDARD"
    )
    boundary.open(3)
    session = boundary.session(3)
    assert code_of(world.eks.list_clusters) == "UnrecognizedClientException"
    bearer = token(boundary, session, world.name)
    world.session = session
    assert api(world.cluster, bearer, "/api/v1/namespaces") == 401
    world.eks.delete_access_entry(clusterName=world.name, principalArn=role_of(boundary, 2))
