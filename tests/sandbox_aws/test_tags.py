"""Tags of the boundary's objects: which of them our role may set right, and which never."""

from __future__ import annotations

from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.sandbox_aws.conftest import Boundary


@pytest.fixture
def owned(opened: Boundary) -> tuple[Boundary, Any, str]:
    """A VPC of the boundary, and EC2 as our role sees it."""
    ec2 = opened.gate.client("ec2", opened.session())
    made = ec2.create_vpc(CidrBlock="10.77.0.0/16", TagSpecifications=opened.tags("vpc"))
    return opened, ec2, made["Vpc"]["VpcId"]


def tags_of(boundary: Boundary, vpc: str) -> dict[str, str]:
    (found,) = boundary.gate.client("ec2", "customer-admin").describe_vpcs(VpcIds=[vpc])["Vpcs"]
    return {tag["Key"]: tag["Value"] for tag in found["Tags"]}


def test_a_tag_that_was_overwritten_is_set_right_without_the_boundarys_own(
    owned: tuple[Boundary, Any, str],
) -> None:
    boundary, ec2, vpc = owned
    customer = boundary.gate.client("ec2", "customer-admin")
    customer.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "theirs"}])
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Name", "Value": "ours"}])
    assert tags_of(boundary, vpc)["Name"] == "ours"


def test_the_boundarys_own_tag_may_be_written_again_and_never_with_another_value(
    owned: tuple[Boundary, Any, str],
) -> None:
    boundary, ec2, vpc = owned
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "ringfence:boundary", "Value": boundary.name}])
    with pytest.raises(ClientError, match="UnauthorizedOperation"):
        ec2.create_tags(Resources=[vpc], Tags=[{"Key": "ringfence:boundary", "Value": "other"}])
    assert tags_of(boundary, vpc)["ringfence:boundary"] == boundary.name


def test_what_does_not_carry_the_boundarys_tag_is_not_tagged_at_all(
    owned: tuple[Boundary, Any, str],
) -> None:
    boundary, ec2, _ = owned
    theirs = boundary.gate.client("ec2", "customer-admin").create_vpc(CidrBlock="10.78.0.0/16")
    vpc = theirs["Vpc"]["VpcId"]
    for tag in ({"Key": "Name", "Value": "ours"},
                {"Key": "ringfence:boundary", "Value": boundary.name}):  # fmt: skip
        with pytest.raises(ClientError, match="UnauthorizedOperation"):
            ec2.create_tags(Resources=[vpc], Tags=[tag])
