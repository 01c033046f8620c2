"""What a repeated call made twice is found by its tags, under the role's own policies."""

from __future__ import annotations

from typing import Any

from controlplane.adapters.aws.strays import find_strays
from tests.integration.adapters.rehearsal import account
from tests.sandbox_aws.conftest import Boundary, gate, opened
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
