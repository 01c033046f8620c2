"""The rules by which a fresh preview stays within an approved plan."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.adapters.pulumi.constraint import PlanConstraint, Violation, build, satisfies
from controlplane.adapters.pulumi.messages import UNKNOWN, PlannedResource, Result

VPC = "urn:pulumi:s::p::aws:ec2/vpc:Vpc::vpc"
SUBNET = "urn:pulumi:s::p::aws:ec2/subnet:Subnet::a"


def resource(urn: str, op: str = "create", **inputs: Any) -> PlannedResource:
    return PlannedResource(urn=urn, type=urn.split("::")[2], op=op, inputs=inputs)


def preview(*resources: PlannedResource, stack: str = "s") -> Result:
    return Result(operation="preview", stack=stack, ok=True, plan=resources)


APPROVED = build(
    [
        preview(
            resource(VPC, cidrBlock="10.0.0.0/16", tags={"a": "1"}),
            resource(SUBNET, vpcId=UNKNOWN, zones=["a", UNKNOWN], password="[secret]"),
        )
    ]
)


def rules(*resources: PlannedResource) -> list[tuple[str, str | None]]:
    return [(found.rule, found.path) for found in satisfies(APPROVED, preview(*resources))]


def vpc(**changes: Any) -> PlannedResource:
    return resource(VPC, **{"cidrBlock": "10.0.0.0/16", "tags": {"a": "1"}, **changes})


def subnet(**changes: Any) -> PlannedResource:
    inputs = {"vpcId": "vpc-1", "zones": ["a", "b"], "password": "[secret]"}
    return resource(SUBNET, **{**inputs, **changes})


def test_holes_may_be_filled_and_nothing_else_may_change() -> None:
    assert rules(vpc(), subnet()) == []
    assert APPROVED.holes() == 3


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        (vpc(cidrBlock="10.1.0.0/16"), ("value", "cidrBlock")),
        (vpc(tags={"a": "2"}), ("value", "tags.a")),
        (vpc(tags={"a": "1", "b": "2"}), ("property", "tags.b")),
        (vpc(tags={}), ("property", "tags.a")),
        (vpc(extra=True), ("property", "extra")),
        (vpc(cidrBlock=UNKNOWN), ("value", "cidrBlock")),
        (resource(VPC, "delete", cidrBlock="10.0.0.0/16"), ("other-operation", None)),
        (resource(VPC, "replace", cidrBlock="10.0.0.0/16"), ("other-operation", None)),
    ],
)
def test_each_way_out_of_the_plan_is_named(
    changed: PlannedResource, expected: tuple[str, str | None]
) -> None:
    assert rules(changed, subnet()) == [expected]


def test_a_list_of_another_length_is_a_change() -> None:
    assert rules(vpc(), subnet(zones=["a", "b", "c"])) == [("value", "zones")]


def test_what_nobody_approved_is_refused_and_what_is_missing_is_reported() -> None:
    extra = resource(VPC.replace("::vpc", "::other"), cidrBlock="10.9.0.0/16")
    assert rules(vpc(), extra) == [("not-approved", None), ("missing", None)]


def test_what_is_done_already_needs_no_approval() -> None:
    assert rules(resource(VPC, "same", cidrBlock="10.7.0.0/16"), subnet()) == []


def test_a_creation_that_was_cut_off_may_go_on_as_an_update_to_the_same_values() -> None:
    finished = resource(VPC, "update", cidrBlock="10.0.0.0/16", tags={"a": "1"})
    drifted = resource(VPC, "update", cidrBlock="10.0.0.0/8", tags={"a": "1"})
    assert rules(finished, subnet()) == []
    assert rules(drifted, subnet()) == [("value", "cidrBlock")]


def test_the_digest_is_of_the_meaning_and_survives_storage() -> None:
    other_order = build(
        [
            preview(
                resource(SUBNET, password="[secret]", zones=["a", UNKNOWN], vpcId=UNKNOWN),
                resource(VPC, tags={"a": "1"}, cidrBlock="10.0.0.0/16"),
            )
        ]
    )
    assert other_order.digest == APPROVED.digest
    stored = PlanConstraint.model_validate_json(APPROVED.model_dump_json())
    assert stored.digest == APPROVED.digest
    changed = build([preview(vpc(tags={"a": "2"}), subnet())])
    assert changed.digest != APPROVED.digest


def test_a_secret_leaves_no_value_in_the_constraint() -> None:
    marked = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270", "value": "x"}
    built = build([preview(resource(VPC, one="[secret]", two=marked))])
    assert built.holes() == 2
    assert "value" not in built.model_dump_json()


def test_a_violation_reads_as_a_sentence() -> None:
    found: list[Violation] = satisfies(APPROVED, preview(vpc(cidrBlock="10.1.0.0/16"), subnet()))
    assert found[0].message == "cidrBlock: approved '10.0.0.0/16', now '10.1.0.0/16'"
