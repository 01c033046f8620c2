"""What the program declares, by Pulumi's mocks: no engine, no account."""

import json
import subprocess
import sys
from functools import cache
from ipaddress import IPv4Network
from typing import Any

import pytest

from blueprints.manifest import load
from tests.blueprints.engine import INPUTS, PROGRAM, ROOT

UPSTREAM = {
    "private_subnet_ids": ["subnet-1", "subnet-2"],
    "public_subnet_id": "subnet-3",
    "private_route_table_id": "rtb-1",
    "kms_key_arn": "arn:test:kms:::key/1",
    "artifact_bucket_arn": "arn:test:s3:::artifacts",
}
CHINA = INPUTS | {
    "region": "cn-north-1",
    "partition": "aws-cn",
    "zones": ["cn-north-1a", "cn-north-1b"],
}
COPIED = INPUTS | {
    "images": "copied",
    "image_names": ["ringfence/agent", "ringfence/engine-llamacpp"],
}
# The types AWS gives no tags.
UNTAGGED = {
    "aws:ec2/route:Route",
    "aws:ec2/routeTableAssociation:RouteTableAssociation",
    "aws:iam/rolePolicy:RolePolicy",
    "aws:iam/rolePolicyAttachment:RolePolicyAttachment",
    "aws:kms/alias:Alias",
    "aws:s3/bucketPolicy:BucketPolicy",
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock",
    "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration",
    "aws:s3/bucketVersioning:BucketVersioning",
    "pulumi:providers:aws",
}


@cache
def _run(request: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "tests.blueprints.mocks"],
        input=request,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _answer(
    stack: str, inputs: Any = INPUTS, upstream: Any = None, *, preview: bool = False
) -> Any:
    request = {
        "entry": f"{PROGRAM}:{stack}",
        "inputs": inputs,
        "upstream": upstream,
        "preview": preview,
    }
    return _run(json.dumps(request, sort_keys=True))


def _resources(inputs: dict[str, Any] = INPUTS) -> list[dict[str, Any]]:
    foundation = _answer("foundation", inputs)
    cluster = _answer("cluster", inputs, UPSTREAM)
    assert "error" not in foundation | cluster, foundation | cluster
    found: list[dict[str, Any]] = [*foundation["resources"], *cluster["resources"]]
    return [item for item in found if item["type"] != "pulumi:pulumi:Stack"]


def _only(kind: str, name: str | None = None) -> dict[str, Any]:
    found = [
        item
        for item in _resources()
        if item["type"] == kind and (name is None or item["name"] == name)
    ]
    assert len(found) == 1, f"{kind} {name}: {len(found)}"
    inputs: dict[str, Any] = found[0]["inputs"]
    return inputs


def test_a_boundary_is_37_resources_in_two_stacks() -> None:
    assert len(_answer("foundation")["resources"]) == 20
    assert len(_answer("cluster", INPUTS, UPSTREAM)["resources"]) == 17


def test_every_type_is_in_the_manifest_and_every_manifest_type_is_used() -> None:
    manifest = load("eks-model-stack")
    for stack, upstream in (("foundation", None), ("cluster", UPSTREAM)):
        used = {item["type"] for item in _answer(stack, COPIED, upstream)["resources"]}
        assert used - {"pulumi:pulumi:Stack"} == set(manifest.stack(stack).resource_types)


def test_every_taggable_resource_carries_boundary_install_and_its_own_urn() -> None:
    for item in _resources():
        if item["type"] in UNTAGGED:
            continue
        tags = item["inputs"]["tags"]
        assert tags["ringfence:boundary"] == "payments"
        assert tags["ringfence:install"] == "ins_7"
        assert tags["ringfence:urn"] == (
            f"urn:pulumi:test::ringfence::{item['type']}::{item['name']}"
        )
        assert not any(character in tags["ringfence:urn"] for character in "$<>#%")


@pytest.mark.parametrize("partition", ["aws-cn", "aws-us-gov"])
def test_no_arn_of_another_partition_appears(partition: str) -> None:
    gov = {"region": "us-gov-west-1", "zones": ["us-gov-west-1a", "us-gov-west-1b"]}
    inputs = CHINA if partition == "aws-cn" else INPUTS | gov | {"partition": partition}
    text = json.dumps(_resources(inputs))
    assert "arn:aws:" not in text
    assert f"arn:{partition}:iam::aws:policy/AmazonEKSClusterPolicy" in text


def test_nodes_in_china_are_trusted_by_their_own_service_name() -> None:
    text = json.dumps([item for item in _resources(CHINA) if item["name"] == "node"])
    assert "ec2.amazonaws.com.cn" in text


def test_the_subnets_do_not_overlap_and_lie_in_the_vpc() -> None:
    blocks = [
        IPv4Network(item["inputs"]["cidrBlock"])
        for item in _resources()
        if item["type"] == "aws:ec2/subnet:Subnet"
    ]
    assert len(blocks) == 3
    assert all(block.subnet_of(IPv4Network(INPUTS["cidr"])) for block in blocks)
    pairs = [(one, two) for one in blocks for two in blocks if one is not two]
    assert not any(one.overlaps(two) for one, two in pairs)


def test_no_subnet_gives_out_public_addresses() -> None:
    subnets = [item for item in _resources() if item["type"] == "aws:ec2/subnet:Subnet"]
    assert not any(item["inputs"]["mapPublicIpOnLaunch"] for item in subnets)


def test_the_bucket_is_encrypted_versioned_closed_and_tls_only() -> None:
    kind = "bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    (rule,) = _only(f"aws:s3/{kind}")["rules"]
    default = rule["applyServerSideEncryptionByDefault"]
    assert default == {"sseAlgorithm": "aws:kms", "kmsMasterKeyId": "arn:test:service:::data"}
    versioning = _only("aws:s3/bucketVersioning:BucketVersioning")["versioningConfiguration"]
    assert versioning == {"status": "Enabled"}
    block = _only("aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock")
    assert {key for key, value in block.items() if value is True} == {
        "blockPublicAcls",
        "blockPublicPolicy",
        "ignorePublicAcls",
        "restrictPublicBuckets",
    }
    policy = json.loads(_only("aws:s3/bucketPolicy:BucketPolicy")["policy"])
    (statement,) = policy["Statement"]
    assert statement["Effect"] == "Deny"
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_key_rotates_and_delegates_to_the_account_only() -> None:
    key = _only("aws:kms/key:Key")
    assert key["enableKeyRotation"] is True
    (statement,) = json.loads(key["policy"])["Statement"]
    assert statement["Principal"] == {"AWS": f"arn:aws:iam::{INPUTS['account']}:root"}


def test_no_policy_names_the_role_of_a_grant() -> None:
    assert "ringfence-payments-g" not in json.dumps(_resources())


def test_the_cluster_takes_access_entries_only_and_makes_its_creator_no_admin() -> None:
    cluster = _only("aws:eks/cluster:Cluster")
    assert cluster["accessConfig"] == {
        "authenticationMode": "API",
        "bootstrapClusterCreatorAdminPermissions": False,
    }
    assert cluster["vpcConfig"]["endpointPrivateAccess"] is True
    assert cluster["vpcConfig"]["publicAccessCidrs"] == INPUTS["control_plane_cidrs"]
    assert cluster["encryptionConfig"]["provider"] == {"keyArn": UPSTREAM["kms_key_arn"]}


def test_with_a_runner_the_endpoint_is_private_from_its_first_second() -> None:
    (cluster,) = [
        one
        for one in _resources(INPUTS | {"reach": "in-vpc-runner"})
        if one["type"] == "aws:eks/cluster:Cluster"
    ]
    openness = cluster["inputs"]["vpcConfig"]
    assert openness["endpointPrivateAccess"] is True
    assert openness["endpointPublicAccess"] is False
    assert "publicAccessCidrs" not in openness


def test_the_program_makes_no_access_entry_of_ours() -> None:
    assert not [
        item for item in _resources() if "access" in item["type"].lower().split("/")[-1][:6]
    ]


def test_every_role_is_bounded_and_below_the_boundarys_path() -> None:
    roles = [item["inputs"] for item in _resources() if item["type"] == "aws:iam/role:Role"]
    assert {role["name"] for role in roles} == {
        "ringfence-payments-cluster",
        "ringfence-payments-node",
        "ringfence-payments-fetcher",
    }
    for role in roles:
        assert role["path"] == "/ringfence/payments/"
        assert role["permissionsBoundary"] == (
            f"arn:aws:iam::{INPUTS['account']}:policy/ringfence-payments-boundary"
        )


def test_the_fetcher_may_only_read_the_one_bucket() -> None:
    policy = json.loads(_only("aws:iam/rolePolicy:RolePolicy")["policy"])
    bucket, key = UPSTREAM["artifact_bucket_arn"], UPSTREAM["kms_key_arn"]
    allowed = {
        (action, resource)
        for statement in policy["Statement"]
        for action in statement["Action"]
        for resource in statement["Resource"]
    }
    assert allowed == {
        ("s3:ListBucket", bucket),
        ("s3:GetObject", f"{bucket}/*"),
        ("s3:GetObjectVersion", f"{bucket}/*"),
        ("kms:Decrypt", key),
    }


def test_pods_get_their_roles_by_namespace_and_service_account() -> None:
    kind = "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    fetcher, agent = _only(kind, "fetcher"), _only(kind, "agent")
    assert (fetcher["namespace"], fetcher["serviceAccount"]) == ("boundary-payments", "fetcher")
    assert (agent["namespace"], agent["serviceAccount"]) == ("ringfence-system", "agent")
    closer = f"arn:aws:iam::{INPUTS['account']}:role/ringfence-payments-closer"
    assert agent["roleArn"] == closer


def test_two_boundaries_share_no_name_in_one_account() -> None:
    other = INPUTS | {"boundary": "research", "cidr": "10.30.0.0/16"}
    keys = ("name", "bucket", "nodeGroupName")

    def names(inputs: dict[str, Any]) -> set[tuple[str, str]]:
        return {
            (item["type"], item["inputs"][key])
            for item in _resources(inputs)
            for key in keys
            if key in item["inputs"]
            # An inline policy's name counts within its role only, a setting has its bucket's.
            if item["type"] != "aws:iam/rolePolicy:RolePolicy"
            and (key != "bucket" or item["type"] == "aws:s3/bucket:Bucket")
        }

    assert len(names(INPUTS)) == len(names(other))
    assert not names(INPUTS) & names(other)


def test_the_provider_is_bound_to_the_account() -> None:
    providers = [item for item in _resources() if item["type"] == "pulumi:providers:aws"]
    assert len(providers) == 2
    for provider in providers:
        assert json.loads(provider["inputs"]["allowedAccountIds"]) == [INPUTS["account"]]


def test_a_plan_of_the_cluster_works_before_the_foundation_exists() -> None:
    planned = _answer("cluster", preview=True)["resources"]
    assert len(planned) == 17
    (cluster,) = [item for item in planned if item["type"] == "aws:eks/cluster:Cluster"]
    assert cluster["inputs"]["vpcConfig"]["subnetIds"] == "<unknown>"
    assert cluster["inputs"]["encryptionConfig"]["provider"] == {"keyArn": "<unknown>"}
    assert cluster["inputs"]["name"] == "ringfence-payments"


def test_an_apply_of_the_cluster_without_upstream_is_refused() -> None:
    error = _answer("cluster")["error"]
    assert "UpstreamMissingError: upstream: apply foundation first" in error


def test_an_upstream_without_a_needed_output_is_refused_by_name() -> None:
    error = _answer("cluster", INPUTS, {"kms_key_arn": "x"})["error"]
    assert "upstream.private_subnet_ids" in error


GUEST = {k: v for k, v in INPUTS.items() if k != "zones"} | {
    "cluster": "existing",
    "host": "research",
    "reach": "in-vpc-runner",
}


def test_a_guest_makes_its_key_its_bucket_and_the_roles_of_its_pods_and_nothing_of_its_host() -> (
    None
):
    kinds = {item["type"] for item in _resources(GUEST)} - {"pulumi:providers:aws"}
    assert {kind for kind in kinds if kind.startswith(("aws:ec2/", "aws:eks/"))} == {
        "aws:eks/podIdentityAssociation:PodIdentityAssociation"
    }
    assert {kind for kind in kinds if kind.startswith("aws:iam/")} == {
        "aws:iam/role:Role",
        "aws:iam/rolePolicy:RolePolicy",
    }
    associations = [
        item["inputs"] for item in _resources(GUEST) if item["type"].endswith("Association")
    ]
    assert {one["clusterName"] for one in associations} == {"ringfence-research"}
    assert {(one["namespace"], one["serviceAccount"]) for one in associations} == {
        ("boundary-payments", "fetcher"),
        ("ringfence-system-payments", "agent"),
    }


@pytest.mark.parametrize("inputs", [INPUTS, GUEST], ids=["own-cluster", "guest"])
def test_images_that_are_copied_have_a_repository_each_that_goes_with_the_boundary(
    inputs: dict[str, Any],
) -> None:
    kind = "aws:ecr/repository:Repository"
    assert not [item for item in _resources(inputs) if item["type"] == kind]
    copied = inputs | {key: COPIED[key] for key in ("images", "image_names")}
    found = [item["inputs"] for item in _resources(copied) if item["type"] == kind]
    assert {one["name"] for one in found} == {
        "ringfence/payments/agent", "ringfence/payments/engine-llamacpp",
    }  # fmt: skip
    for one in found:
        assert (one["imageTagMutability"], one["forceDelete"]) == ("IMMUTABLE", True)
        assert one["encryptionConfigurations"] == [{"encryptionType": "AES256"}]
        assert one["tags"]["ringfence:boundary"] == "payments"
        assert one["tags"]["ringfence:urn"].endswith(f"::image-{one['name'].split('/')[-1]}")


def test_a_guests_stacks_wait_for_nothing_slow() -> None:
    manifest = load("eks-model-stack")
    assert manifest.stack_seconds("cluster", "p50", INPUTS) > 600
    assert manifest.stack_seconds("cluster", "p90", GUEST) == 0
