"""A program of three resources for tests of the engine; loaded by reference in the child."""

from __future__ import annotations

import os
import threading
from typing import Any

import pulumi
import pulumi_aws as aws


def _tags(inputs: dict[str, Any], type_token: str, name: str) -> dict[str, str]:
    urn = f"urn:pulumi:{pulumi.get_stack()}::{pulumi.get_project()}::{type_token}::{name}"
    install = str(inputs.get("cidr") or inputs.get("prefix"))
    return {"ringfence:boundary": "payments", "ringfence:install": install, "ringfence:urn": urn}


def network(inputs: dict[str, Any], upstream: dict[str, Any] | None) -> dict[str, Any]:
    """Declare a VPC, a subnet in it and an internet gateway."""
    vpc = aws.ec2.Vpc(
        "vpc", cidr_block=inputs["cidr"], tags=_tags(inputs, "aws:ec2/vpc:Vpc", "vpc")
    )
    names = ["a"] if inputs.get("few") else ["a", "b"]
    subnets = [
        aws.ec2.Subnet(
            name,
            vpc_id=vpc.id,
            cidr_block=inputs["cidr"].replace(".0.0/16", f".{index}.0/24"),
            tags=_tags(inputs, "aws:ec2/subnet:Subnet", name),
        )
        for index, name in enumerate(names)
    ]
    secret = inputs.get("secret")
    return {
        "vpc_id": vpc.id,
        "subnet_ids": [subnet.id for subnet in subnets],
        **({"password": pulumi.Output.secret(secret)} if secret else {}),
    }


def buckets(inputs: dict[str, Any], upstream: dict[str, Any] | None) -> dict[str, Any]:
    """Declare buckets one after the other: a chain gives a test time between checkpoints."""
    before: list[Any] = []
    made = []
    for index in range(inputs["count"]):
        bucket = aws.s3.Bucket(
            f"b{index}",
            bucket=f"{inputs['prefix']}-{index}",
            force_destroy=True,
            tags=_tags(inputs, "aws:s3/bucket:Bucket", f"b{index}"),
            opts=pulumi.ResourceOptions(depends_on=before),
        )
        made.append(bucket)
        before = [bucket]
    return {"names": [bucket.bucket for bucket in made]}


def show_environment(inputs: dict[str, Any], upstream: dict[str, Any] | None) -> dict[str, Any]:
    """Export what the child's environment holds."""
    return {"environment": dict(os.environ)}


def hang(inputs: dict[str, Any], upstream: dict[str, Any] | None) -> dict[str, Any]:
    """Never return."""
    threading.Event().wait()
    return {}


def grow(inputs: dict[str, Any], upstream: dict[str, Any] | None) -> dict[str, Any]:
    """Use more memory than the test allows, then wait."""
    held = bytearray(inputs["bytes"])
    for index in range(0, len(held), 4096):
        held[index] = 1
    threading.Event().wait()
    return {}
