"""The calls an install makes, under exactly the template's policies."""

from __future__ import annotations

import base64
import hashlib
import json
import time
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox_aws.conftest import CUSTOMER, REGION, Boundary, GateProcess
from tests.sandbox_aws.test_sessions import code_of

EKS_TRUST = json.dumps(
    {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"Service": "eks.amazonaws.com"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
)


def wait_for(what: Any, seconds: float = 20) -> Any:
    """Poll until a value is true."""
    deadline = time.monotonic() + seconds
    while True:
        found = what()
        if found or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def make_vpc(ec2: Any, boundary: Boundary) -> str:
    answer = ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=boundary.tags("vpc"))
    return str(answer["Vpc"]["VpcId"])


def bucket_of(boundary: Boundary) -> str:
    return f"ringfence-{boundary.name}-{CUSTOMER}-artifacts"


def make_bucket(s3: Any, boundary: Boundary) -> str:
    name = bucket_of(boundary)
    s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
    return name


def boundary_policy(boundary: Boundary) -> str:
    return f"arn:aws:iam::{CUSTOMER}:policy/ringfence-{boundary.name}-boundary"


def test_a_whole_network_is_built_and_removed(opened: Boundary) -> None:
    ec2 = opened.gate.client("ec2", opened.session())
    vpc = make_vpc(ec2, opened)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": True})
    subnet = ec2.create_subnet(
        VpcId=vpc, CidrBlock="10.20.0.0/20", AvailabilityZone=f"{REGION}a",
        TagSpecifications=opened.tags("subnet"),
    )["Subnet"]["SubnetId"]  # fmt: skip
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": False})
    internet = ec2.create_internet_gateway(TagSpecifications=opened.tags("internet-gateway"))
    gateway = internet["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    address = ec2.allocate_address(Domain="vpc", TagSpecifications=opened.tags("elastic-ip"))
    nat = ec2.create_nat_gateway(
        SubnetId=subnet, AllocationId=address["AllocationId"],
        TagSpecifications=opened.tags("natgateway"),
    )["NatGateway"]  # fmt: skip
    assert nat["State"] == "pending"

    def state() -> bool:
        found = ec2.describe_nat_gateways(NatGatewayIds=[nat["NatGatewayId"]])["NatGateways"]
        return bool(found[0]["State"] == "available")

    assert wait_for(state)
    for boundary, expected in ((opened.name, [nat["NatGatewayId"]]), ("another", [])):
        mine = [{"Name": "tag:ringfence:boundary", "Values": [boundary]}]
        listed = ec2.describe_nat_gateways(Filters=mine)["NatGateways"]
        assert [one["NatGatewayId"] for one in listed] == expected
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=opened.tags("route-table"))
    table_id = table["RouteTable"]["RouteTableId"]
    ec2.create_route(
        RouteTableId=table_id,
        DestinationCidrBlock="0.0.0.0/0",
        NatGatewayId=nat["NatGatewayId"],
    )
    association = ec2.associate_route_table(RouteTableId=table_id, SubnetId=subnet)
    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc, ServiceName=f"com.amazonaws.{REGION}.s3", VpcEndpointType="Gateway",
        RouteTableIds=[table_id], TagSpecifications=opened.tags("vpc-endpoint"),
    )["VpcEndpoint"]  # fmt: skip
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
    ec2.disassociate_route_table(AssociationId=association["AssociationId"])
    ec2.delete_route(RouteTableId=table_id, DestinationCidrBlock="0.0.0.0/0")
    ec2.delete_route_table(RouteTableId=table_id)
    ec2.delete_nat_gateway(NatGatewayId=nat["NatGatewayId"])
    ec2.release_address(AllocationId=address["AllocationId"])
    ec2.detach_internet_gateway(InternetGatewayId=gateway, VpcId=vpc)
    ec2.delete_internet_gateway(InternetGatewayId=gateway)
    ec2.delete_subnet(SubnetId=subnet)
    ec2.delete_vpc(VpcId=vpc)


def test_a_resource_without_the_boundary_tag_is_refused(opened: Boundary) -> None:
    ec2 = opened.gate.client("ec2", opened.session())
    assert code_of(lambda: ec2.create_vpc(CidrBlock="10.1.0.0/16")) == "UnauthorizedOperation"


def test_another_boundarys_network_is_out_of_reach(gate: GateProcess) -> None:
    one, other = gate.boundary().create().open(), gate.boundary().create().open()
    vpc = make_vpc(gate.client("ec2", one.session()), one)
    ec2 = gate.client("ec2", other.session())
    assert code_of(lambda: ec2.delete_vpc(VpcId=vpc)) == "UnauthorizedOperation"
    tags = [{"Key": "ringfence:boundary", "Value": other.name}]
    assert code_of(lambda: ec2.create_tags(Resources=[vpc], Tags=tags)) == "UnauthorizedOperation"


def test_the_roles_own_tag_binds_a_session_that_brings_none(gate: GateProcess) -> None:
    one, other = gate.boundary().create().open(), gate.boundary().create().open()
    ec2 = gate.client("ec2", one.session(Tags=None))
    make_vpc(ec2, one)
    assert code_of(lambda: make_vpc(ec2, other)) == "UnauthorizedOperation"


def test_the_boundary_tag_cannot_be_removed(opened: Boundary) -> None:
    ec2 = opened.gate.client("ec2", opened.session())
    vpc = make_vpc(ec2, opened)
    tags = [{"Key": "ringfence:boundary"}]
    assert code_of(lambda: ec2.delete_tags(Resources=[vpc], Tags=tags)) == "UnauthorizedOperation"
    ec2.delete_tags(Resources=[vpc], Tags=[{"Key": "Name"}])


def test_the_bucket_is_configured_and_filled(opened: Boundary) -> None:
    s3 = opened.gate.client("s3", opened.session())
    name = make_bucket(s3, opened)
    s3.put_bucket_tagging(
        Bucket=name, Tagging={"TagSet": [{"Key": "ringfence:boundary", "Value": opened.name}]}
    )
    s3.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms"}}
    s3.put_bucket_encryption(Bucket=name, ServerSideEncryptionConfiguration={"Rules": [rule]})
    s3.put_public_access_block(
        Bucket=name,
        PublicAccessBlockConfiguration={
            "BlockPublicAcls": True, "IgnorePublicAcls": True, "BlockPublicPolicy": True,
            "RestrictPublicBuckets": True,
        },
    )  # fmt: skip
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny", "Principal": "*", "Action": "s3:*",
                "Resource": [f"arn:aws:s3:::{name}", f"arn:aws:s3:::{name}/*"],
                "Condition": {"Bool": {"aws:SecureTransport": "false"}},
            }
        ],
    }  # fmt: skip
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(document))
    body = bytes(range(256)) * 1024
    s3.put_object(Bucket=name, Key="models/tiny coder/weights+1.gguf", Body=body)
    answer = s3.get_object(Bucket=name, Key="models/tiny coder/weights+1.gguf")
    assert answer["Body"].read() == body
    s3.head_bucket(Bucket=name)
    assert s3.list_objects_v2(Bucket=name, Prefix="models/")["KeyCount"] == 1
    versions = s3.list_object_versions(Bucket=name)["Versions"]
    objects = [{"Key": one["Key"], "VersionId": one["VersionId"]} for one in versions]
    s3.delete_objects(Bucket=name, Delete={"Objects": objects})
    s3.delete_bucket(Bucket=name)


def test_another_boundarys_bucket_is_denied(gate: GateProcess) -> None:
    one, other = gate.boundary().create().open(), gate.boundary().create().open()
    name = make_bucket(gate.client("s3", one.session()), one)
    s3 = gate.client("s3", other.session())
    assert code_of(lambda: s3.list_objects_v2(Bucket=name)) == "AccessDenied"
    assert code_of(lambda: s3.put_object(Bucket=name, Key="x", Body=b"x")) == "AccessDenied"
    assert code_of(lambda: s3.create_bucket(Bucket=bucket_of(one))) == "AccessDenied"


def test_a_bucket_policy_deny_binds_the_owners_administrator_too(opened: Boundary) -> None:
    s3 = opened.gate.client("s3", opened.session())
    name = make_bucket(s3, opened)
    s3.put_object(Bucket=name, Key="a", Body=b"a")
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Deny", "Principal": "*", "Action": "s3:GetObject",
                "Resource": f"arn:aws:s3:::{name}/*",
            }
        ],
    }  # fmt: skip
    s3.put_bucket_policy(Bucket=name, Policy=json.dumps(document))
    admin = opened.gate.client("s3", "customer-admin")
    assert code_of(lambda: admin.get_object(Bucket=name, Key="a")) == "AccessDenied"


def test_a_key_and_its_alias_work_only_for_their_boundary(gate: GateProcess) -> None:
    one, other = gate.boundary().create().open(), gate.boundary().create().open()
    kms = gate.client("kms", one.session())
    tags = [{"TagKey": "ringfence:boundary", "TagValue": one.name}]
    document = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{CUSTOMER}:root"},
                "Action": "kms:*", "Resource": "*",
            }
        ],
    }  # fmt: skip
    key = kms.create_key(Tags=tags, Policy=json.dumps(document))["KeyMetadata"]["KeyId"]
    kms.enable_key_rotation(KeyId=key)
    kms.create_alias(AliasName=f"alias/ringfence-{one.name}", TargetKeyId=key)
    assert kms.describe_key(KeyId=f"alias/ringfence-{one.name}")["KeyMetadata"]["KeyId"] == key
    foreign = gate.client("kms", other.session())
    assert code_of(lambda: foreign.describe_key(KeyId=key)) == "AccessDeniedException"
    assert (
        code_of(lambda: kms.create_alias(AliasName="alias/other", TargetKeyId=key))
        == "AccessDeniedException"
    )
    kms.schedule_key_deletion(KeyId=key, PendingWindowInDays=7)


def test_an_upload_with_a_wrong_checksum_is_refused(opened: Boundary) -> None:
    s3 = opened.gate.client("s3", opened.session())
    name, wrong = make_bucket(s3, opened), base64.b64encode(b"0" * 32).decode()

    def put(checksum: str) -> Any:
        return s3.put_object(
            Bucket=name, Key="a", Body=b"weights", ChecksumAlgorithm="SHA256",
            ChecksumSHA256=checksum,
        )  # fmt: skip

    assert code_of(lambda: put(wrong)) == "BadDigest"
    right = base64.b64encode(hashlib.sha256(b"weights").digest()).decode()
    put(right)
    head = s3.head_object(Bucket=name, Key="a", ChecksumMode="ENABLED")
    assert head["ChecksumSHA256"] == right


def test_the_vendor_cannot_write_the_agents_public_key(opened: Boundary) -> None:
    s3 = opened.gate.client("s3", opened.session())
    name, key = make_bucket(s3, opened), f"agent/{opened.name}.pub"
    assert code_of(lambda: s3.put_object(Bucket=name, Key=key, Body=b"forged")) == "AccessDenied"


def test_an_encrypted_object_needs_its_key_too(opened: Boundary) -> None:
    gate, session = opened.gate, opened.session()
    kms, s3 = gate.client("kms", session), gate.client("s3", session)
    tags = [{"TagKey": "ringfence:boundary", "TagValue": opened.name}]
    key = kms.create_key(Tags=tags)["KeyMetadata"]["Arn"]
    name = make_bucket(s3, opened)
    default = {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": key}
    s3.put_bucket_encryption(
        Bucket=name,
        ServerSideEncryptionConfiguration={
            "Rules": [{"ApplyServerSideEncryptionByDefault": default}]
        },
    )
    s3.put_object(Bucket=name, Key="a", Body=b"weights")
    assert s3.get_object(Bucket=name, Key="a")["Body"].read() == b"weights"
    iam = gate.client("iam", "customer-admin")
    no_key = {"Effect": "Deny", "Action": "kms:*", "Resource": "*"}
    step = iam.create_policy(
        PolicyName=f"nokey-{opened.name}",
        PolicyDocument=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}, no_key],
            }
        ),
    )["Policy"]["Arn"]
    narrowed = gate.client("s3", opened.session(PolicyArns=[{"arn": step}]))
    assert code_of(lambda: narrowed.get_object(Bucket=name, Key="a")) == "AccessDenied"
    assert code_of(lambda: narrowed.put_object(Bucket=name, Key="b", Body=b"")) == "AccessDenied"


def test_roles_need_path_and_permissions_boundary(opened: Boundary) -> None:
    iam = opened.gate.client("iam", opened.session())
    tags = [{"Key": "ringfence:boundary", "Value": opened.name}]

    def create(**changes: Any) -> Any:
        arguments = {
            "RoleName": f"ringfence-{opened.name}-node", "Path": f"/ringfence/{opened.name}/",
            "AssumeRolePolicyDocument": EKS_TRUST, "Tags": tags,
            "PermissionsBoundary": boundary_policy(opened), **changes,
        }  # fmt: skip
        return iam.create_role(**{k: v for k, v in arguments.items() if v is not None})

    assert code_of(lambda: create(PermissionsBoundary=None)) == "AccessDenied"
    assert code_of(lambda: create(Path="/")) == "AccessDenied"
    admin_policy = "arn:aws:iam::aws:policy/AdministratorAccess"
    assert code_of(lambda: create(PermissionsBoundary=admin_policy)) == "AccessDenied"
    name = create()["Role"]["RoleName"]
    attached = "arn:aws:iam::aws:policy/AmazonEKSWorkerNodePolicy"
    iam.attach_role_policy(RoleName=name, PolicyArn=attached)
    listed = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    assert [one["PolicyArn"] for one in listed] == [attached]
    deny = {"Effect": "Deny", "Action": "*", "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    iam.put_role_policy(RoleName=name, PolicyName="p", PolicyDocument=document)
    iam.delete_role_policy(RoleName=name, PolicyName="p")
    iam.detach_role_policy(RoleName=name, PolicyArn=attached)
    assert code_of(lambda: iam.delete_role_permissions_boundary(RoleName=name)) == "AccessDenied"
    iam.delete_role(RoleName=name)


@pytest.mark.parametrize(
    "escalation",
    [
        lambda iam, b: iam.put_role_policy(
            RoleName=f"ringfence-{b.name}-g1", PolicyName="x", PolicyDocument="{}"
        ),
        lambda iam, b: iam.attach_role_policy(
            RoleName=f"ringfence-{b.name}-g1",
            PolicyArn="arn:aws:iam::aws:policy/AdministratorAccess",
        ),
        lambda iam, b: iam.update_assume_role_policy(
            RoleName=f"ringfence-{b.name}-g1", PolicyDocument=EKS_TRUST
        ),
        lambda iam, b: iam.detach_role_policy(
            RoleName=f"ringfence-{b.name}-g1", PolicyArn="arn:aws:iam::aws:policy/AWSDenyAll"
        ),
        lambda iam, b: iam.delete_role(RoleName=f"ringfence-{b.name}-g1"),
        lambda iam, b: iam.create_policy_version(
            PolicyArn=boundary_policy(b), PolicyDocument="{}", SetAsDefault=True
        ),
        lambda iam, b: iam.tag_role(
            RoleName=f"ringfence-{b.name}-closer",
            Tags=[{"Key": "ringfence:control-plane-key", "Value": "sha256:forged"}],
        ),
        lambda iam, b: iam.create_user(UserName="backdoor"),
        lambda iam, b: iam.create_access_key(UserName="customer-admin"),
    ],
)
def test_the_role_cannot_raise_itself(opened: Boundary, escalation: Any) -> None:
    iam = opened.gate.client("iam", opened.session())
    assert code_of(lambda: escalation(iam, opened)) == "AccessDenied"


def test_deny_all_on_ourselves_takes_power_from_live_sessions_at_once(opened: Boundary) -> None:
    first, second = opened.session(), opened.session()
    ec2 = opened.gate.client("ec2", first)
    ec2.describe_vpcs()
    opened.gate.client("iam", second).attach_role_policy(
        RoleName=f"ringfence-{opened.name}-g1", PolicyArn="arn:aws:iam::aws:policy/AWSDenyAll"
    )
    assert code_of(ec2.describe_vpcs) == "UnauthorizedOperation"
    assert opened.gate.client("sts", first).get_caller_identity()["Account"] == CUSTOMER


def test_an_operation_that_is_not_modelled_is_refused_by_name(gate: GateProcess) -> None:
    ec2 = gate.client("ec2", "customer-admin")
    with pytest.raises(ClientError) as caught:
        ec2.run_instances(MinCount=1, MaxCount=1, ImageId="ami-1")
    error = caught.value.response["Error"]
    assert error["Code"] == "UnauthorizedOperation"
    assert "ec2:RunInstances is not modelled" in error["Message"]


def test_a_service_that_is_not_modelled_is_refused_by_name(gate: GateProcess) -> None:
    with pytest.raises(ClientError) as caught:
        gate.client("lambda", "customer-admin").list_functions()
    assert "'lambda' is not modelled" in caught.value.response["Error"]["Message"]


def test_quotas_are_readable_for_preflight(opened: Boundary) -> None:
    quotas = opened.gate.client("service-quotas", opened.session())
    found = quotas.get_service_quota(ServiceCode="vpc", QuotaCode="L-F678F1CE")["Quota"]
    assert found["Value"] == 5
