"""Every call of an install under every fault of its kind: a programme of FAULT_MINUTES.

`FAULT_MINUTES=60 pytest -m faults tests/faults/test_every_call.py`. Each fault walks k upward, one
fresh account and install per k, until the plan no longer strikes: then every call was struck.
"""

from __future__ import annotations

import os
import time
from typing import Any

import pytest

from tests.faults.conftest import OpenScene
from tests.faults.install import judge

BOTH = ("foundation", "cluster")
MINUTES = float(os.environ.get("FAULT_MINUTES", "0"))
FAULTS: dict[str, dict[str, Any]] = {
    "deny": {"kind": "deny"},
    "reply-lost": {"kind": "execute-and-timeout", "changes_only": True},
    "expire": {"kind": "expire"},
    "error-though-done": {"kind": "error-though-done", "changes_only": True},
}
pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(not MINUTES, reason="a programme of minutes: set FAULT_MINUTES"),
    pytest.mark.timeout(MINUTES * 60 + 600),
]


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stacks", [BOTH[:1], BOTH], ids=len)
def test_every_call_under_one_fault(
    open_install: OpenScene, fault: str, stacks: tuple[str, ...]
) -> None:
    deadline = time.monotonic() + MINUTES * 60 / (len(FAULTS) * 2)
    runs, k = 0, 1
    while time.monotonic() < deadline:
        scene = open_install(*stacks)
        scene.put({**FAULTS[fault], "call": k})
        state = scene.go()
        met = bool(scene.struck())
        scene.clear()
        judge(scene, state)
        runs += 1
        if not met:
            break
        k += 1
    print(f"{fault} on {'+'.join(stacks)}: 0 failures in {runs} runs, calls 1 to {k}")
    assert runs > 0


@pytest.mark.parametrize("percent", [1, 5, 20, 50])
def test_throttling_of_a_share_of_all_calls(open_install: OpenScene, percent: int) -> None:
    scene = open_install("foundation", "cluster")
    scene.put({"kind": "throttle", "probability": percent / 100}, seed=percent)
    judge(scene, scene.go())


@pytest.mark.parametrize("operation", ["CreateCluster", "CreateNodegroup", "CreateAddon"])
@pytest.mark.parametrize("kind", ["create-failed-late", "stuck-creating"])
def test_a_cluster_part_that_fails_late_or_takes_its_time(
    open_install: OpenScene, operation: str, kind: str
) -> None:
    scene = open_install("foundation", "cluster")
    # Longer than published, and over in the end: what never ends is ended by the step's budget.
    late = {"seconds": 3000} if kind == "stuck-creating" else {}
    scene.put({"kind": kind, "operation": operation, "call": 1, **late})
    state = scene.go()
    assert scene.struck() == [operation]
    judge(scene, state)


@pytest.mark.parametrize(
    ("operation", "stacks"),
    [("AllocateAddress", BOTH), ("CreateNatGateway", BOTH), ("CreateKey", BOTH[:1])],
)
def test_a_lost_reply_is_told_or_answered_again(
    open_install: OpenScene, operation: str, stacks: tuple[str, ...]
) -> None:
    scene = open_install(*stacks)
    scene.put({"kind": "execute-and-timeout", "operation": operation, "call": 1})
    state = scene.go()
    assert scene.struck() == [operation]
    judge(scene, state)


def test_a_third_of_all_calls_throttled_is_ridden_out(open_install: OpenScene) -> None:
    scene = open_install("foundation")
    scene.put({"kind": "throttle", "probability": 0.3}, seed=7)
    state = scene.go()
    assert len(scene.struck()) > 10
    judge(scene, state)
    assert state == "succeeded", scene.why()


@pytest.mark.parametrize(
    "rule",
    [
        {"kind": "create-failed-late", "operation": "CreateNatGateway", "call": 1},
        {"kind": "quota", "operation": "AllocateAddress", "every": True},
        {"kind": "error-though-done", "operation": "CreateRouteTable", "call": 1},
        {"kind": "lag", "operation": "CreateVpc", "call": 1, "seconds": 1500},
        {"kind": "external-id-rotated", "operation": "CreateSubnet", "call": 1},
        {"kind": "role-deleted", "operation": "CreateSubnet", "call": 2},
    ],
    ids=["failed-late", "quota", "error-though-done", "lag", "external-id", "role-deleted"],
)
def test_what_goes_wrong_in_the_account_ends_or_parks_the_run_by_name(
    open_install: OpenScene, rule: dict[str, Any]
) -> None:
    # The way out is built beside the control plane.
    way_out = rule["operation"] in ("CreateNatGateway", "AllocateAddress")
    scene = open_install(*(BOTH if way_out else BOTH[:1]))
    scene.put(rule)
    state = scene.go()
    assert scene.struck(), f"{state}: the fault was never met\n{scene.why()}"
    judge(scene, state)


def test_an_object_deleted_behind_our_back_is_noticed(open_install: OpenScene) -> None:
    scene = open_install("foundation")
    act = {
        "service": "ec2",
        "operation": "DeleteSubnet",
        "parameters": {"SubnetId": "$created"},
    }
    rule = {"kind": "out-of-band", "operation": "CreateSubnet", "call": 2, "act": act}
    scene.put(rule)
    state = scene.go()
    assert scene.struck() == ["CreateSubnet"]
    judge(scene, state)
