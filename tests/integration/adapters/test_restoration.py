"""What a restore needs of the state store and of the account: real PostgreSQL, real policies."""

from __future__ import annotations

import base64
import json
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from controlplane.adapters.pulumi.errors import StaleFenceError
from controlplane.adapters.pulumi.messages import UNKNOWN, PlannedResource
from controlplane.adapters.pulumi.restoration import look_up
from controlplane.adapters.pulumi.state import StateStore
from controlplane.core.errors import NotFoundError
from tests.integration.adapters.rehearsal import account
from tests.sandbox_aws.conftest import CUSTOMER, Boundary, gate, opened
from tests.sandbox_aws.conftest import boundary as boundary

__all__ = ["boundary", "gate", "opened"]

PROJECT = "ringfence-payments"


class Record:
    """A boundary's state, written as an engine under (run, fence) writes it."""

    def __init__(self, url: str) -> None:
        self.store, self.boundary = StateStore(url), uuid4()
        self.store.ensure(self.boundary)

    def write(self, run: UUID, fence: int, stack: str, ids: list[str]) -> None:
        address = self.store.backend_url(self.boundary, run, fence)
        password = self.store.pgpass_line().strip().rsplit(":", 1)[1]
        latest = {"resources": [{"urn": f"urn:{one}", "type": "aws:x:Y", "id": one} for one in ids]}
        data = base64.b64encode(json.dumps({"checkpoint": {"latest": latest}}).encode()).decode()
        database = address.rsplit("/", 1)[1].split("?")[0]
        with psycopg.connect(address.replace("@", f":{password}@", 1)) as connection:
            connection.execute(
                "INSERT INTO pulumi_state (key, data) VALUES (%s, %s)"
                " ON CONFLICT (key) DO UPDATE SET data = excluded.data",
                [f"{database}/.pulumi/stacks/{PROJECT}/{stack}.json", json.dumps({"data": data})],
            )

    def ids(self) -> set[str]:
        return self.store.identifiers(self.boundary, PROJECT)


def test_a_snapshot_is_put_back_whole_and_the_present_can_be_had_again(state_url: str) -> None:
    record, run = Record(state_url), uuid4()
    record.store.claim(record.boundary, run, 1)
    record.write(run, 1, "foundation", ["vpc-1"])
    record.store.snapshot(record.boundary, run, "before cluster")
    record.write(run, 1, "foundation", ["vpc-1", "subnet-1"])
    record.write(run, 1, "cluster", ["eks-1"])
    record.store.snapshot(record.boundary, run, "before restore")
    present, old = record.store.snapshots(record.boundary)
    assert (old.label, old.stacks) == ("before cluster", ("foundation",))
    assert present.stacks == ("cluster", "foundation")
    assert record.store.put_back(record.boundary, run, 1, old.number) == ("foundation",)
    assert record.ids() == {"vpc-1"}
    assert record.store.put_back(record.boundary, run, 1, None) == ()
    assert record.ids() == set()
    record.store.put_back(record.boundary, run, 1, present.number)
    assert record.ids() == {"vpc-1", "subnet-1", "eks-1"}


def test_a_stale_worker_puts_nothing_back(state_url: str) -> None:
    record, run = Record(state_url), uuid4()
    record.store.claim(record.boundary, run, 1)
    record.write(run, 1, "foundation", ["vpc-1"])
    record.store.claim(record.boundary, run, 2)
    with pytest.raises(StaleFenceError):
        record.store.put_back(record.boundary, run, 1, None)
    with pytest.raises(NotFoundError, match="no snapshot 99"):
        record.store.put_back(record.boundary, run, 2, 99)
    assert record.ids() == {"vpc-1"}


def planned(boundary: Boundary, kind: str, **inputs: Any) -> PlannedResource:
    urn = f"urn:pulumi:foundation::{PROJECT}::{kind}::one"
    tags = {"ringfence:boundary": boundary.name, "ringfence:install": "i-9", "ringfence:urn": urn}
    return PlannedResource(urn=urn, type=kind, op="create", inputs={"tags": tags, **inputs})


def test_a_key_about_to_go_is_unclear_and_names_the_call_that_keeps_it(opened: Boundary) -> None:
    ours = account(opened)
    kms = ours.client("kms")
    key = planned(opened, "aws:kms/key:Key")
    tags = [{"TagKey": name, "TagValue": value} for name, value in key.inputs["tags"].items()]
    made = kms.create_key(Tags=tags)["KeyMetadata"]["KeyId"]
    (found,) = look_up(ours, [key]).found
    assert found.id == made
    kms.schedule_key_deletion(KeyId=made, PendingWindowInDays=7)
    looked = look_up(ours, [key])
    assert not looked.found
    assert not looked.absent
    assert f"kms:CancelKeyDeletion and kms:EnableKey of {made}" in looked.unclear[0].call


def test_two_alike_are_unclear_and_what_hangs_on_the_unknown_waits(opened: Boundary) -> None:
    ours = account(opened)
    vpc = planned(opened, "aws:ec2/vpc:Vpc")
    pairs = [{"Key": name, "Value": value} for name, value in vpc.inputs["tags"].items()]
    made = {"ResourceType": "vpc", "Tags": pairs}
    for _ in range(2):
        ours.client("ec2").create_vpc(CidrBlock="10.79.0.0/16", TagSpecifications=[made])
    route = planned(
        opened, "aws:ec2/route:Route", routeTableId=UNKNOWN, destinationCidrBlock="0.0.0.0/0"
    )
    bucket = planned(
        opened, "aws:s3/bucket:Bucket", bucket=f"ringfence-{opened.name}-{CUSTOMER}-artifacts"
    )
    unknown = planned(opened, "aws:sqs/queue:Queue")
    looked = look_up(ours, [vpc, route, bucket, unknown])
    assert looked.found == ()
    assert [item.urn for item in looked.waiting] == [route.urn]
    assert [item.urn for item in looked.absent] == [bucket.urn]
    assert {item.urn: item.reason.split(":")[0] for item in looked.unclear} == {
        vpc.urn: "found more than one",
        unknown.urn: "no rule says how a aws",
    }
