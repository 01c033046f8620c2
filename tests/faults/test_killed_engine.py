"""SIGKILL of worker and engine in the middle of an apply: the install finishes once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.sessions import RoleTarget
from controlplane.adapters.pulumi.adoption import ADOPTIONS
from controlplane.adapters.pulumi.recovery import NeedsAttentionError, Recovery, RecoveryReport
from tests.faults.slow_aws import SlowAws
from tests.integration.adapters.support import KEYS, REGION, Bench, ignore, stack, until

ROOT = Path(__file__).resolve().parents[2]
WORKER = """
import sys
from pathlib import Path
from uuid import UUID
from controlplane.adapters.pulumi.state import StateStore
from tests.integration.adapters.support import Bench, stack
root, url, aws, boundary, run, cidr = sys.argv[1:]
state = StateStore.from_file(Path(url))
bench = Bench(Path(root), state, aws, UUID(boundary), UUID(run), keep=True)
bench.state.claim(bench.boundary_id, bench.run_id, 1)
with bench.broker() as broker, bench.engine().open(bench.run(broker)) as session:
    session.up(stack("network", cidr=cidr), lambda event: print(event.urn, flush=True))
"""


def account(bench: Bench) -> Account:
    target = RoleTarget("arn:aws:iam::123456789012:role/r-g1", "x", REGION, "payments")
    return Account.fixed(target, KEYS, bench.aws_url)


def kill_worker_during(bench: Bench, state_url: str, slow: SlowAws, cidr: str, call: str) -> None:
    """Start a worker process, hold the answer of `call`, and kill the worker while it waits."""
    secret = bench.root / "state-url"
    secret.write_text(state_url)
    arguments = (bench.root, secret, slow.url, bench.boundary_id, bench.run_id, cidr)
    worker = subprocess.Popen(
        [sys.executable, "-c", WORKER, *map(str, arguments)],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOME": os.environ["HOME"]},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        slow.hold(call)
        until(
            lambda: slow.held.is_set() or worker.poll() is not None,
            seconds=60,
            what=f"call of {call}",
        )
        held = slow.held.is_set()
    finally:
        worker.send_signal(signal.SIGKILL)
        said = worker.communicate()[0]
        slow.release()
    assert held, f"{call} was never made: {said[-3000:]}"


def recover(bench: Bench, fence: int = 2) -> RecoveryReport:
    with bench.broker() as broker:
        recovery = Recovery(bench.engine(), bench.state, absence_seconds=0.5)
        return recovery.run(bench.run(broker, fence), ["network"], account(bench))


def finish(bench: Bench, cidr: str, fence: int = 2) -> dict[str, object]:
    with bench.broker() as broker, bench.engine().open(bench.run(broker, fence)) as session:
        return session.up(stack("network", cidr=cidr), ignore).outputs


@pytest.mark.slow
def test_a_worker_killed_while_a_vpc_is_made_finishes_with_one_vpc(
    bench: Bench, state_url: str
) -> None:
    cidr = "10.71.0.0/16"
    with SlowAws(bench.aws_url) as slow:
        kill_worker_during(bench, state_url, slow, cidr, "CreateVpc")
    until(lambda: len(bench.vpcs(cidr)) == 1, seconds=5, what="the VPC of the killed engine")
    report = recover(bench)
    assert list(report.adopted.values()) == bench.vpcs(cidr)
    assert report.locks_cleared == 1
    outputs = finish(bench, cidr)
    assert bench.vpcs(cidr) == [outputs["vpc_id"]]
    assert len(outputs["subnet_ids"]) == 2  # type: ignore[arg-type]  # a list of strings
    assert not recover(bench, fence=3).was_needed


@pytest.mark.slow
def test_a_creation_that_never_reached_aws_is_dropped_and_made_again(
    bench: Bench, state_url: str
) -> None:
    cidr = "10.72.0.0/16"
    with SlowAws(bench.aws_url, swallow=True) as slow:
        kill_worker_during(bench, state_url, slow, cidr, "CreateSubnet")
    report = recover(bench)
    assert report.dropped
    outputs = finish(bench, cidr)
    assert bench.vpcs(cidr) == [outputs["vpc_id"]]


@pytest.mark.slow
def test_what_cannot_be_told_apart_is_left_for_a_person(bench: Bench, state_url: str) -> None:
    cidr = "10.73.0.0/16"
    with SlowAws(bench.aws_url) as slow:
        kill_worker_during(bench, state_url, slow, cidr, "CreateVpc")
    tags = bench.aws("ec2").describe_tags(
        Filters=[{"Name": "resource-id", "Values": bench.vpcs(cidr)}]
    )["Tags"]
    twin = [{"Key": tag["Key"], "Value": tag["Value"]} for tag in tags]
    bench.aws("ec2").create_vpc(
        CidrBlock=cidr, TagSpecifications=[{"ResourceType": "vpc", "Tags": twin}]
    )
    with pytest.raises(NeedsAttentionError) as caught:
        recover(bench)
    assert caught.value.items[0].call.startswith("ec2:DescribeVpcs")


def test_every_type_of_the_blueprint_has_a_rule_of_adoption() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "blueprints.manifest", "eks-model-stack"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    stacks = json.loads(done.stdout)["stacks"]
    types = {kind for one in stacks for kind in one["resource_types"]}
    types -= {"pulumi:providers:aws"}
    assert types <= set(ADOPTIONS)
