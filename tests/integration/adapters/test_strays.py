"""What a repeated call made twice is found by its tags, under the role's own policies."""

from __future__ import annotations

import functools
from typing import Any

from botocore.stub import Stubber

from controlplane.adapters.aws.inventory import take
from controlplane.adapters.aws.strays import find_strays
from tests.integration.adapters.rehearsal import account
from tests.sandbox_aws.conftest import Boundary, GateProcess, gate, opened
from tests.sandbox_aws.conftest import boundary as boundary

__all__ = ["boundary", "gate", "opened"]


def tagged(boundary: Boundary, kind: str, install: str) -> list[dict[str, Any]]:
    tags = {
        "ringfence:boundary": boundary.name,
        "ringfence:install": install,
        "ringfence:urn": f"urn:pulumi:foundation::p::aws:ec2:X::{kind}",
    }
    pairs = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": pairs}]


def test_the_twin_is_named_and_what_the_state_knows_is_not(opened: Boundary) -> None:
    ours = account(opened)
    ec2 = ours.client("ec2")
    kept, twin, other = (
        ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=tagged(opened, "vpc", install))[
            "Vpc"
        ]["VpcId"]
        for install in ("install-1", "install-1", "an-earlier-install")
    )
    (stray,) = find_strays(ours, "install-1", {kept})
    assert (stray.id, stray.made_for, stray.delete_call) == (twin, "vpc", "ec2:DeleteVpc")
    assert other not in {stray.id}
    ec2.delete_vpc(VpcId=twin)
    assert find_strays(ours, "install-1", {kept}) == []


def test_a_second_key_is_named_until_it_is_to_be_deleted(opened: Boundary) -> None:
    ours = account(opened)
    kms = ours.client("kms")
    pairs = tagged(opened, "key", "install-2")[0]["Tags"]
    tags = [{"TagKey": one["Key"], "TagValue": one["Value"]} for one in pairs]
    kept, twin = (kms.create_key(Tags=tags)["KeyMetadata"]["KeyId"] for _ in range(2))
    assert [stray.id for stray in find_strays(ours, "install-2", {kept})] == [twin]
    kms.schedule_key_deletion(KeyId=twin, PendingWindowInDays=7)
    assert find_strays(ours, "install-2", {kept}) == []


def test_a_neighbours_object_is_nobodys_twin(gate: GateProcess) -> None:
    one, other = gate.boundary().create().open(), gate.boundary().create().open()
    made = []
    for each in (one, other):
        ec2 = account(each).client("ec2")
        tags = functools.partial(tagged, each, install="install-3")
        vpc = ec2.create_vpc(CidrBlock="10.20.0.0/16", TagSpecifications=tags("vpc"))["Vpc"]
        subnet = ec2.create_subnet(
            VpcId=vpc["VpcId"], CidrBlock="10.20.1.0/24", TagSpecifications=tags("subnet")
        )["Subnet"]
        address = ec2.allocate_address(Domain="vpc", TagSpecifications=tags("elastic-ip"))
        gateway = ec2.create_nat_gateway(
            AllocationId=address["AllocationId"],
            SubnetId=subnet["SubnetId"],
            TagSpecifications=tags("natgateway"),
        )["NatGateway"]
        made.append(
            {
                vpc["VpcId"],
                subnet["SubnetId"],
                address["AllocationId"],
                gateway["NatGatewayId"],
            }
        )
    found = {stray.id for stray in find_strays(account(one), "install-3", ())}
    assert made[0] <= found
    assert not made[1] & found
    held = {item.name for item in take(account(one), {})}
    assert made[0] <= held
    assert not made[1] & held


def test_a_filter_that_the_account_leaves_out_makes_nothing_ours(opened: Boundary) -> None:
    ours = account(opened)
    foreign = {"VpcId": "vpc-foreign", "Tags": [{"Key": "ringfence:boundary", "Value": "other"}]}
    with Stubber(ours.client("ec2")) as stubber:
        for operation, listed in (
            ("describe_vpc_endpoints", "VpcEndpoints"),
            ("describe_nat_gateways", "NatGateways"),
            ("describe_addresses", "Addresses"),
            ("describe_route_tables", "RouteTables"),
            ("describe_subnets", "Subnets"),
            ("describe_internet_gateways", "InternetGateways"),
            ("describe_vpcs", "Vpcs"),
        ):
            items = [foreign] if listed == "Vpcs" else []
            stubber.add_response(operation, {listed: items})
        assert find_strays(ours, "install-1", ()) == []
