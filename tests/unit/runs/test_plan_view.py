"""A plan as a person reads it: reasons, operations, changes, times, prices, and no secret."""

from __future__ import annotations

import json
from typing import Any

import pytest

from blueprints.manifest import load
from controlplane.adapters.pulumi import constraint
from controlplane.adapters.pulumi.messages import UNKNOWN, PlannedResource, PropertyChange, Result
from controlplane.domains.runs.list_prices import HOURS_A_MONTH
from controlplane.domains.runs.plan_view import PlannedOut, PlanViewOut, plain, view

MANIFEST = load("eks-model-stack")
NODES: dict[str, Any] = {
    "instanceTypes": ["m7i.4xlarge"],
    "scalingConfig": {"desiredSize": 2.0, "minSize": 2.0, "maxSize": 2.0},
    "capacityType": "ON_DEMAND",
    "nodeRoleArn": UNKNOWN,
}


def planned(
    kind: str, name: str, op: str = "create", *changes: PropertyChange, **inputs: Any
) -> PlannedResource:
    urn = f"urn:pulumi:s::p::{kind}::{name}"
    return PlannedResource(urn=urn, type=kind, op=op, inputs=inputs, changes=changes)


def shown(
    foundation: list[PlannedResource] | None = None,
    cluster: list[PlannedResource] | None = None,
    **document: Any,
) -> PlanViewOut:
    """Show a plan that went through the same hands as a real one, and through JSON."""
    previews = [
        Result(operation="preview", stack=stack, ok=True, plan=tuple(found))
        for stack, found in (("cluster", cluster or []), ("foundation", foundation or []))
    ]
    stored = {
        "constraint": constraint.build(previews).model_dump(mode="json"),
        "changes": constraint.changes(previews),
        **document,
    }
    return view(json.loads(json.dumps(stored, sort_keys=True)), MANIFEST)


def only(found: PlanViewOut) -> PlannedOut:
    (resource,) = found.resources
    return resource


def test_a_resource_says_what_it_is_and_what_the_blueprint_needs_it_for() -> None:
    nat = only(shown(cluster=[planned("aws:ec2/natGateway:NatGateway", "nat")]))
    assert (nat.what, nat.name, nat.component) == ("NAT gateway", "nat", "way-out")
    assert nat.why == "The one way out: the agent dials out, nothing dials in"


def test_every_type_of_the_blueprint_has_a_reason_and_plain_words() -> None:
    types = {
        (stack.name, kind)
        for stack in MANIFEST.stacks
        for kind in stack.resource_types
        if not kind.startswith("pulumi:")
    }
    for stack, kind in types:
        one = [planned(kind, "x")]
        found = only(shown(one) if stack == "foundation" else shown(cluster=one))
        assert found.why, kind
        assert " " in found.what or found.what.islower(), found.what
        assert ":" not in found.what


def test_a_type_without_words_of_its_own_is_read_from_its_name() -> None:
    assert plain("aws:ec2/internetGateway:InternetGateway") == "internet gateway"


def test_a_type_outside_the_manifest_has_no_reason_rather_than_a_guess() -> None:
    found = only(shown([planned("aws:sqs/queue:Queue", "q")]))
    assert (found.component, found.why, found.what) == (None, "", "queue")


def test_stacks_come_in_the_order_of_their_applies_and_losses_first() -> None:
    found = shown(
        [
            planned("aws:ec2/vpc:Vpc", "vpc", "same"),
            planned("aws:kms/key:Key", "old", "delete"),
            planned("aws:ec2/subnet:Subnet", "a"),
        ],
        [planned("aws:iam/role:Role", "node")],
    )
    assert [r.name for r in found.resources] == ["old", "a", "vpc", "node"]
    assert found.operations == {"delete": 1, "create": 2, "same": 1}


def test_what_the_engine_keeps_for_itself_is_no_resource() -> None:
    assert shown([planned("pulumi:providers:aws", "aws")]).resources == []


def test_an_update_shows_each_property_old_beside_new() -> None:
    change = PropertyChange(path="scalingConfig.desiredSize", kind="update", old=2.0, new=3.0)
    group = only(
        shown(cluster=[planned("aws:eks/nodeGroup:NodeGroup", "nodes", "update", change, **NODES)])
    )
    assert group.operation == "update"
    assert [(c.path, c.old, c.new) for c in group.changes] == [
        ("scalingConfig.desiredSize", 2.0, 3.0)
    ]
    assert group.replaced_for == []


@pytest.mark.parametrize("op", ["replace", "create-replacement", "delete-replaced"])
def test_a_replacement_names_the_property_that_forces_it(op: str) -> None:
    changes = (
        PropertyChange(path="cidrBlock", kind="update-replace", old="10.0.0.0/16", new=UNKNOWN),
        PropertyChange(path="tags.team", kind="add", new="a"),
    )
    vpc = only(shown([planned("aws:ec2/vpc:Vpc", "vpc", op, *changes)]))
    assert (vpc.operation, vpc.replaced_for) == ("replace", ["cidrBlock"])
    assert vpc.changes[0].new == {"$hole": "computed"}


def test_a_secret_is_a_hole_before_and_after() -> None:
    changes = (
        PropertyChange(path="password", kind="update", old="[secret]", new="[secret]"),
        PropertyChange(
            path="token",
            kind="update",
            old={"4dabf18193072939515e22adb298388d": "x", "plaintext": "canary"},
            new="[secret]",
        ),
    )
    found = shown([planned("aws:kms/key:Key", "k", "update", *changes, password="[secret]")])
    assert {str(c.old) for c in only(found).changes} == {"{'$hole': 'secret'}"}
    assert "canary" not in found.model_dump_json()
    assert only(found).holes == 1


def test_the_time_is_what_was_published_at_the_deployments_scale_with_its_source() -> None:
    cluster = planned("aws:eks/cluster:Cluster", "cluster")
    whole = only(shown(cluster=[cluster])).time
    assert whole is not None
    assert (whole.p50_seconds, whole.p90_seconds) == (606, 780)
    assert whole.source.startswith("11 published creations")
    rehearsed = shown(cluster=[cluster], time_scale=0.02)
    assert rehearsed.time_scale == 0.02
    time = only(rehearsed).time
    assert time is not None
    assert time.p90_seconds == pytest.approx(15.6)


def test_what_is_only_kept_takes_no_time() -> None:
    assert only(shown(cluster=[planned("aws:eks/cluster:Cluster", "c", "same")])).time is None


def test_the_month_is_the_sum_of_what_is_there_after_the_apply() -> None:
    found = shown(
        [
            planned("aws:ec2/natGateway:NatGateway", "nat"),
            planned("aws:kms/key:Key", "data", "same"),
            planned("aws:ec2/eip:Eip", "gone", "delete"),
            planned("aws:ec2/vpc:Vpc", "vpc"),
        ],
        [planned("aws:eks/nodeGroup:NodeGroup", "nodes", **NODES)],
        region="eu-central-1",
    ).cost
    nat, nodes = 0.045 * HOURS_A_MONTH, 2 * 0.8064 * HOURS_A_MONTH
    assert found.added == pytest.approx(nat + nodes, abs=0.02)
    assert found.monthly == pytest.approx(nat + nodes + 1.0, abs=0.02)
    assert found.ended == pytest.approx(0.005 * HOURS_A_MONTH, abs=0.01)
    assert found.unpriced == 1
    assert (found.region, found.installed_in) == ("US East (N. Virginia)", "eu-central-1")
    assert found.as_of == "2026-01-19"


def test_every_price_has_a_source_and_the_day_it_was_read() -> None:
    for kind in ("eks/cluster:Cluster", "ec2/natGateway:NatGateway", "ec2/eip:Eip", "kms/key:Key"):
        cost = only(shown([planned(f"aws:{kind}", "x")])).cost
        assert cost is not None
        assert cost.source.startswith("aws.amazon.com/")
        assert len(cost.as_of) == len("2026-01-19")


@pytest.mark.parametrize(
    "changed",
    [
        {"instanceTypes": ["x9.unheard"]},
        {"instanceTypes": ["m7i.large", "m7i.xlarge"]},
        {"scalingConfig": {"desiredSize": UNKNOWN}},
        {"scalingConfig": UNKNOWN},
        {"capacityType": "SPOT"},
    ],
)
def test_nodes_whose_price_is_not_known_have_none(changed: dict[str, Any]) -> None:
    nodes = planned("aws:eks/nodeGroup:NodeGroup", "nodes", **{**NODES, **changed})
    found = shown(cluster=[nodes])
    assert only(found).cost is None
    assert (found.cost.monthly, found.cost.unpriced, found.cost.as_of) == (0, 1, None)


def test_a_document_of_an_older_worker_is_shown_without_what_it_did_not_keep() -> None:
    stored = {
        "counts": {"foundation": {"create": 1}},
        "constraint": {"stacks": {"foundation": [
            {"urn": "urn:pulumi:s::p::aws:ec2/vpc:Vpc::vpc", "type": "aws:ec2/vpc:Vpc",
             "op": "delete-replaced", "properties": {"a": {"$hole": "computed"}}},
        ]}},
    }  # fmt: skip
    vpc = only(view(stored, None))
    assert (vpc.operation, vpc.changes, vpc.why, vpc.holes) == ("replace", [], "", 1)
    assert view({"constraint": {}}, None).resources == []
