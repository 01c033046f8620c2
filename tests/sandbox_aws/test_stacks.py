"""The template's stack: opening, extending, closing and deleting, as a customer does it."""

from __future__ import annotations

import json
from typing import Any

from iam.role_template import render_template
from tests.sandbox_aws.conftest import CUSTOMER, VENDOR_ROLE, Boundary, GateProcess, until
from tests.sandbox_aws.test_sessions import code_of

DENY_ALL = "arn:aws:iam::aws:policy/AWSDenyAll"


def roles(boundary: Boundary) -> list[str]:
    iam = boundary.gate.client("iam", "customer-admin")
    found: list[str] = []
    for page in iam.get_paginator("list_roles").paginate():
        found += [one["RoleName"] for one in page["Roles"]]
    return sorted(one for one in found if one.startswith(f"ringfence-{boundary.name}-"))


def strip_and_delete(boundary: Boundary, number: int) -> None:
    """Do what the closer does: deny-all last, then the role."""
    iam = boundary.gate.client("iam", "customer-admin")
    name = f"ringfence-{boundary.name}-g{number}"
    attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    for one in sorted(attached, key=lambda p: p["PolicyArn"] == DENY_ALL):
        iam.detach_role_policy(RoleName=name, PolicyArn=one["PolicyArn"])
    iam.delete_role(RoleName=name)


def test_the_stack_tells_role_closer_and_pins(boundary: Boundary) -> None:
    outputs = {one["OutputKey"]: one["OutputValue"] for one in boundary.stack()["Outputs"]}
    assert outputs["RoleArn"] == boundary.role_arn(0)
    iam = boundary.gate.client("iam", "customer-admin")
    closer = iam.get_role(RoleName=f"ringfence-{boundary.name}-closer")["Role"]
    tags = {one["Key"]: one["Value"] for one in closer["Tags"]}
    assert tags["ringfence:control-plane-key"] == "sha256:plane"
    assert tags["ringfence:release-key"] == "sha256:release"


def test_each_opening_makes_a_fresh_role_and_removes_the_old(boundary: Boundary) -> None:
    assert roles(boundary) == [f"ringfence-{boundary.name}-closer", f"ringfence-{boundary.name}-g0"]
    boundary.open(1)
    session = boundary.session(1)
    boundary.open(2)
    assert roles(boundary) == [f"ringfence-{boundary.name}-closer", f"ringfence-{boundary.name}-g2"]
    assert code_of(lambda: boundary.assume(1)) == "AccessDenied"
    sts = boundary.gate.client("sts", session)
    assert code_of(sts.get_caller_identity) == "InvalidClientTokenId"
    boundary.assume(2)


def test_extending_keeps_the_role_and_its_sessions(opened: Boundary) -> None:
    session = opened.session()
    opened.open(1, until(7200))
    opened.gate.client("ec2", session).describe_vpcs()
    assert opened.stack()["StackStatus"] == "UPDATE_COMPLETE"


def test_an_update_without_change_is_refused(opened: Boundary) -> None:
    end = next(
        one["ParameterValue"]
        for one in opened.stack()["Parameters"]
        if one["ParameterKey"] == "GrantUntil"
    )
    assert code_of(lambda: opened.open(1, end)) == "ValidationError"


def test_deleting_the_stack_after_the_closer_did_its_work_meets_no_conflict(
    opened: Boundary,
) -> None:
    opened.gate.client("iam", opened.session()).attach_role_policy(
        RoleName=f"ringfence-{opened.name}-g1", PolicyArn=DENY_ALL
    )
    strip_and_delete(opened, 1)
    client = opened.gate.client("cloudformation", "customer-admin")
    name = opened.stack()["StackId"]
    client.delete_stack(StackName=f"ringfence-{opened.name}")
    assert client.describe_stacks(StackName=name)["Stacks"][0]["StackStatus"] == "DELETE_COMPLETE"
    assert roles(opened) == []


def test_opening_again_after_the_closer_deleted_the_role_works(opened: Boundary) -> None:
    strip_and_delete(opened, 1)
    opened.open(2)
    assert opened.stack()["StackStatus"] == "UPDATE_COMPLETE"
    opened.assume(2)


def test_deleting_the_stack_with_a_foreign_policy_attached_is_a_conflict(opened: Boundary) -> None:
    opened.gate.client("iam", opened.session()).attach_role_policy(
        RoleName=f"ringfence-{opened.name}-g1", PolicyArn=DENY_ALL
    )
    client = opened.gate.client("cloudformation", "customer-admin")
    client.delete_stack(StackName=f"ringfence-{opened.name}")
    stack = opened.stack()
    assert stack["StackStatus"] == "DELETE_FAILED"
    assert "Role" in stack["StackStatusReason"]
    events = client.describe_stack_events(StackName=f"ringfence-{opened.name}")["StackEvents"]
    reasons = [one.get("ResourceStatusReason", "") for one in events]
    assert any("must detach all policies first" in one for one in reasons)


def test_a_stack_without_the_capability_is_refused(gate: GateProcess) -> None:
    client = gate.client("cloudformation", "customer-admin")
    body = json.dumps(template("nocaps"))
    assert (
        code_of(lambda: client.create_stack(StackName="ringfence-nocaps", TemplateBody=body))
        == "InsufficientCapabilitiesException"
    )


def template(name: str) -> dict[str, Any]:
    return render_template(
        name,
        vendor_principal=VENDOR_ROLE,
        external_id="0123456789abcdef0123456789abcdef",
        control_plane_key="sha256:a",
        release_key="sha256:b",
    )


def create(gate: GateProcess, name: str, body: dict[str, Any]) -> Any:
    return gate.client("cloudformation", "customer-admin").create_stack(
        StackName=f"ringfence-{name}",
        TemplateBody=json.dumps(body),
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )


def test_types_and_properties_that_are_not_modelled_are_refused(gate: GateProcess) -> None:
    body = template("odd")
    body["Resources"]["Extra"] = {"Type": "AWS::S3::Bucket"}
    assert code_of(lambda: create(gate, "odd", body)) == "ValidationError"
    body = template("odd")
    body["Resources"]["Role"]["Properties"]["Colour"] = "blue"
    assert code_of(lambda: create(gate, "odd", body)) == "ValidationError"


def test_a_failing_resource_rolls_the_stack_back(gate: GateProcess) -> None:
    body = template("toolarge")
    statements = body["Resources"]["BoundaryPolicy"]["Properties"]["PolicyDocument"]["Statement"]
    statements.append({"Effect": "Deny", "Action": ["s3:" + "x" * 6200], "Resource": "*"})
    create(gate, "toolarge", body)
    client = gate.client("cloudformation", "customer-admin")
    stack = client.describe_stacks(StackName="ringfence-toolarge")["Stacks"][0]
    assert stack["StackStatus"] == "ROLLBACK_COMPLETE"
    assert "6144" in stack["StackStatusReason"]
    assert roles(Boundary(gate, "toolarge")) == []


def test_parameters_of_another_boundary_are_refused(boundary: Boundary) -> None:
    client = boundary.gate.client("cloudformation", "customer-admin")

    def update() -> None:
        client.update_stack(
            StackName=f"ringfence-{boundary.name}",
            UsePreviousTemplate=True,
            Parameters=[{"ParameterKey": "Boundary", "ParameterValue": "other"}],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )

    assert code_of(update) == "ValidationError"


def test_our_role_cannot_touch_its_own_stack(opened: Boundary) -> None:
    client = opened.gate.client("cloudformation", opened.session())
    name = f"ringfence-{opened.name}"
    assert code_of(lambda: client.describe_stacks(StackName=name)) == "AccessDenied"
    assert code_of(lambda: client.delete_stack(StackName=name)) == "AccessDenied"


def test_two_boundaries_in_one_account_do_not_touch_each_other(gate: GateProcess) -> None:
    one, other = gate.boundary().create().open(), gate.boundary().create().open()
    one.open(2)
    assert code_of(lambda: one.assume(1)) == "AccessDenied"
    other.assume(1)
    session = other.session()
    iam = gate.client("iam", session)
    foreign = f"ringfence-{one.name}-g2"
    assert (
        code_of(lambda: iam.attach_role_policy(RoleName=foreign, PolicyArn=DENY_ALL))
        == "AccessDenied"
    )
    assert code_of(lambda: iam.get_role(RoleName=foreign)) == "AccessDenied"
    assert CUSTOMER in one.role_arn(2)
