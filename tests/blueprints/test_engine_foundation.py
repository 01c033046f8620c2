"""The foundation with the real engine and the stand-in, on moto."""

import json
from typing import Any

import pytest

from blueprints.manifest import load
from tests.blueprints.engine import ACCOUNT, INPUTS, Engine, resources

# In one process: what they look at takes ten seconds to make.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("foundation")]


@pytest.fixture(scope="module")
def applied(engine: Engine) -> list[dict[str, Any]]:
    """Preview, apply, apply again and refresh the foundation; give all answers."""
    return engine.succeed("foundation", "preview", "up", "up", "refresh", "preview", "export")


def test_the_preview_plans_what_the_apply_makes(applied: list[dict[str, Any]]) -> None:
    preview, up = applied[:2]
    assert preview["changes"] == up["changes"] == {"create": 21}


def test_a_second_apply_changes_nothing(applied: list[dict[str, Any]]) -> None:
    assert applied[2]["changes"] == {"same": 21}


def test_a_refresh_finds_no_drift_in_what_was_just_made(applied: list[dict[str, Any]]) -> None:
    assert applied[3]["changes"] == {"same": 21}
    assert applied[4]["changes"] == {"same": 21}


def test_the_outputs_are_what_the_manifest_says(applied: list[dict[str, Any]]) -> None:
    assert load("eks-model-stack").output_problems("foundation", applied[1]["outputs"]) == []


def test_the_urn_tag_is_the_engines_own_urn(applied: list[dict[str, Any]]) -> None:
    tagged = [item for item in resources(applied[5]).values() if item["outputs"].get("tags")]
    assert len(tagged) == 10
    for item in tagged:
        assert item["outputs"]["tags"]["ringfence:urn"] == item["urn"]


def test_the_account_holds_what_the_program_declares(
    engine: Engine, applied: list[dict[str, Any]]
) -> None:
    outputs = applied[1]["outputs"]
    s3, ec2 = engine.client("s3"), engine.client("ec2")
    bucket = outputs["artifact_bucket"]
    assert bucket == f"ringfence-payments-{ACCOUNT}-artifacts"
    assert s3.get_bucket_versioning(Bucket=bucket)["Status"] == "Enabled"
    rules = s3.get_bucket_encryption(Bucket=bucket)["ServerSideEncryptionConfiguration"]["Rules"]
    chosen = rules[0]["ApplyServerSideEncryptionByDefault"]
    assert chosen == {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": outputs["kms_key_arn"]}
    block = s3.get_public_access_block(Bucket=bucket)["PublicAccessBlockConfiguration"]
    assert all(block.values())
    policy = json.loads(s3.get_bucket_policy(Bucket=bucket)["Policy"])
    assert [item["Effect"] for item in policy["Statement"]] == ["Deny"]
    # The way out is of the stack `cluster`, so that it is built beside the control plane.
    assert "0.0.0.0/0" not in _routes(ec2, outputs["private_subnet_ids"][0])
    assert engine.client("kms").get_key_rotation_status(KeyId=outputs["kms_key_arn"])[
        "KeyRotationEnabled"
    ]


def _routes(ec2: Any, subnet: str) -> dict[str, str]:
    wanted = [{"Name": "association.subnet-id", "Values": [subnet]}]
    (table,) = ec2.describe_route_tables(Filters=wanted)["RouteTables"]
    return {
        route["DestinationCidrBlock"]: route.get("NatGatewayId") or route.get("GatewayId", "")
        for route in table["Routes"]
        if "DestinationCidrBlock" in route
    }


def test_what_someone_else_changed_is_seen_and_put_back(
    engine: Engine, applied: list[dict[str, Any]]
) -> None:
    outputs = applied[1]["outputs"]
    bucket, vpc = outputs["artifact_bucket"], outputs["vpc_id"]
    engine.client("s3").put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}
    )
    tag = [{"Key": "ringfence:boundary", "Value": "research"}]
    engine.client("ec2").create_tags(Resources=[vpc], Tags=tag)
    refresh, up = engine.succeed("foundation", "refresh", "up")
    assert refresh["changes"]["update"] == 2
    assert up["changes"]["update"] == 2
    versioning = engine.client("s3").get_bucket_versioning(Bucket=bucket)
    assert versioning["Status"] == "Enabled"


def test_what_was_made_only_half_is_completed_in_place(
    engine: Engine, applied: list[dict[str, Any]]
) -> None:
    # A run killed between two calls of one creation leaves just this: a gateway that is attached
    # to nothing, a key that does not rotate, a VPC without host names, a bucket without tags.
    outputs, ec2 = applied[1]["outputs"], engine.client("ec2")
    vpc, bucket = outputs["vpc_id"], outputs["artifact_bucket"]
    wanted = [{"Name": "attachment.vpc-id", "Values": [vpc]}]
    (gateway,) = ec2.describe_internet_gateways(Filters=wanted)["InternetGateways"]
    gateway_id = gateway["InternetGatewayId"]
    ec2.detach_internet_gateway(InternetGatewayId=gateway_id, VpcId=vpc)
    ec2.modify_vpc_attribute(VpcId=vpc, EnableDnsHostnames={"Value": False})
    engine.client("kms").disable_key_rotation(KeyId=outputs["kms_key_arn"])
    engine.client("s3").delete_bucket_tagging(Bucket=bucket)
    refresh, up, again = engine.succeed("foundation", "refresh", "up", "preview")
    assert refresh["changes"]["update"] == 4
    assert up["changes"] == {"update": 4, "same": 17}
    assert again["changes"] == {"same": 21}
    (gateway,) = ec2.describe_internet_gateways(Filters=wanted)["InternetGateways"]
    assert gateway["InternetGatewayId"] == gateway_id


def test_what_someone_else_deleted_is_made_again(
    engine: Engine, applied: list[dict[str, Any]]
) -> None:
    kms = engine.client("kms")
    kms.delete_alias(AliasName="alias/ringfence-payments")
    refresh, up = engine.succeed("foundation", "refresh", "up")
    assert refresh["changes"]["delete"] == 1
    assert up["changes"]["create"] == 1
    names = [alias["AliasName"] for alias in kms.list_aliases()["Aliases"]]
    assert "alias/ringfence-payments" in names


def test_a_change_that_needs_another_resource_replaces_it(
    engine: Engine, applied: list[dict[str, Any]]
) -> None:
    zones = ["eu-central-1a", "eu-central-1c"]
    (preview,) = engine.succeed("foundation", "preview", inputs=INPUTS | {"zones": zones})
    # The second private subnet, and with it the association that names it.
    assert preview["changes"]["replace"] == 2


def test_destroy_empties_the_bucket_and_leaves_nothing(
    engine: Engine, applied: list[dict[str, Any]]
) -> None:
    outputs = applied[1]["outputs"]
    s3 = engine.client("s3")
    # moto ignores the condition of the policy's TLS-only statement and denies every object.
    s3.delete_bucket_policy(Bucket=outputs["artifact_bucket"])
    for text in (b"one", b"two"):
        s3.put_object(Bucket=outputs["artifact_bucket"], Key="weights", Body=text)
    destroy, again = engine.succeed("foundation", "destroy", "destroy")
    assert destroy["changes"] == {"delete": 21}
    assert again["changes"] == {}
    assert s3.list_buckets()["Buckets"] == []
    vpcs = engine.client("ec2").describe_vpcs(VpcIds=[])["Vpcs"]
    assert [vpc for vpc in vpcs if not vpc["IsDefault"]] == []


def test_no_secret_is_in_the_state_or_in_a_message(
    engine: Engine, applied: list[dict[str, Any]]
) -> None:
    secret = engine.credentials["AWS_SECRET_ACCESS_KEY"]
    assert secret not in json.dumps(applied)
    for path in (engine.home / "state").rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path
