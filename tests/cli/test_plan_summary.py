"""`ringfence run plan --summary` prints what a person decides on, from the server's view."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.domains.runs.plan_view import view
from ringfence.cli.plans import print_plan

NODES = "urn:pulumi:s::p::aws:eks/nodeGroup:NodeGroup::nodes"
SUBNET = "urn:pulumi:s::p::aws:ec2/subnet:Subnet::a"


def printed(capsys: pytest.CaptureFixture[str], **document: Any) -> list[str]:
    print_plan(view(document, None).model_dump(mode="json"))
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def planned(urn: str, op: str, **properties: Any) -> dict[str, Any]:
    return {"urn": urn, "type": urn.split("::")[2], "op": op, "properties": properties}


def test_a_plan_is_printed_with_changes_reasons_and_its_estimate(
    capsys: pytest.CaptureFixture[str],
) -> None:
    nodes = planned(
        NODES, "update", instanceTypes=["m7i.4xlarge"], capacityType="ON_DEMAND",
        scalingConfig={"desiredSize": 2.0},
    )  # fmt: skip
    lines = printed(
        capsys,
        constraint={"stacks": {"s": [nodes, planned(SUBNET, "replace")]}},
        changes={
            NODES: [{"path": "k", "kind": "update", "old": {"$hole": "secret"}, "new": None}],
            SUBNET: [{"path": "cidrBlock", "kind": "update-replace", "old": "a",
                      "new": {"$hole": "computed"}}],
        },
        region="eu-central-1",
        time_scale=0.02,
    )  # fmt: skip
    assert lines[0] == "1 to replace, 1 to update"
    assert "replace subnet a, replaced because of cidrBlock" in lines
    assert '  cidrBlock: "a" -> (known after the apply)' in lines
    assert "  k: (secret) -> not set" in lines
    (estimate,) = [line for line in lines if line.startswith("estimate: ")]
    assert "1177.34 USD a month" in " ".join(lines)
    assert estimate
    assert "from 2026-01-19" in " ".join(lines)
    assert lines[-1] == "times are simulated, at 0.02 of those published"


def test_a_plan_without_prices_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(capsys, constraint={"stacks": {"s": [planned(SUBNET, "create")]}})
    assert lines[-1] == "no list price is known for anything in this plan"


@pytest.mark.parametrize(
    ("shared", "line"),
    [
        ({"cluster": "ringfence-core", "host": "core", "guests": []},
         "cluster ringfence-core of boundary core: its control plane and its nodes are shared"),
        ({"cluster": "ringfence-core", "host": None, "guests": ["payments", "research"]},
         "cluster ringfence-core is shared with payments, research, if they are installed"),
    ],
    ids=["guest", "host"],
)  # fmt: skip
def test_a_plan_says_with_whom_a_cluster_is_shared(
    shared: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert line in " ".join(printed(capsys, constraint={}, shared=shared))
    assert "shared" not in " ".join(printed(capsys, constraint={}))


def test_an_empty_plan_says_that_nothing_is_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, constraint={})[0] == "nothing to do"
