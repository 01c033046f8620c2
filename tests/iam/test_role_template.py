"""The template: closed by default, small enough, portable, and nothing more than it says."""

from __future__ import annotations

import json
from typing import Any

import pytest

from iam.closer_statements import CLOSER_POLICY
from iam.guest_statements import GUEST_TABLES, HOST_CLUSTER
from iam.image_statements import IMAGES, REPOSITORIES
from iam.role_statements import BOUNDARY_POLICY, ROLE_TABLES
from iam.role_template import (
    INLINE_ROLE_LIMIT,
    MANAGED_POLICY_LIMIT,
    closer_role_name,
    policy_size,
    render_template,
    role_arn,
    role_name,
    split_policies,
)
from iam.runner_statements import RUNNER, RUNNER_ROLES

VENDOR = "arn:aws:iam::999988887777:role/ringfence-control-plane"
READING = ("eks:Describe", "eks:List")
EXTERNAL = "0123456789abcdef0123456789abcdef"


@pytest.fixture
def template() -> dict[str, Any]:
    return render_template(
        "payments",
        vendor_principal=VENDOR,
        external_id=EXTERNAL,
        control_plane_key="sha256:plane",
        release_key="sha256:release",
    )


def trust(template: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = template["Resources"]["Role"]["Properties"][
        "AssumeRolePolicyDocument"
    ]["Statement"]
    return found


def test_it_is_closed_by_default(template: dict[str, Any]) -> None:
    parameters = template["Parameters"]
    assert parameters["GrantUntil"]["Default"] == "2000-01-01T00:00:00Z"
    assert parameters["GrantNumber"]["Default"] == 0


def test_every_allow_of_the_role_ends_with_the_grant(template: dict[str, Any]) -> None:
    until = {"Fn::If": ["Opened", {"Ref": "GrantUntil"}, "2000-01-01T00:00:00Z"]}
    for name, resource in template["Resources"].items():
        if name.startswith("Permissions"):
            for statement in resource["Properties"]["PolicyDocument"]["Statement"]:
                if statement["Effect"] == "Allow":
                    assert statement["Condition"]["DateLessThan"] == {"aws:CurrentTime": until}
    for statement in trust(template):
        assert statement["Condition"]["DateLessThan"] == {"aws:CurrentTime": until}


def test_trust_names_one_principal_one_external_id_and_three_actions(
    template: dict[str, Any],
) -> None:
    assert [one["Action"] for one in trust(template)] == [
        "sts:AssumeRole",
        "sts:SetSourceIdentity",
        "sts:TagSession",
    ]
    assert all(one["Principal"] == {"AWS": {"Ref": "VendorPrincipal"}} for one in trust(template))
    assert template["Parameters"]["VendorPrincipal"]["AllowedValues"] == [VENDOR]
    external = trust(template)[0]["Condition"]["StringEquals"]
    assert external == {"sts:ExternalId": {"Ref": "ExternalId"}}


def test_every_managed_policy_fits(template: dict[str, Any]) -> None:
    groups = split_policies()
    assert len(groups) + 2 <= 10
    assert policy_size(IMAGES, until_grant=True) <= MANAGED_POLICY_LIMIT
    assert policy_size(RUNNER, until_grant=True) <= MANAGED_POLICY_LIMIT
    assert all(policy_size(one, until_grant=True) <= MANAGED_POLICY_LIMIT for one in groups)
    assert policy_size(BOUNDARY_POLICY, until_grant=False) <= MANAGED_POLICY_LIMIT
    assert policy_size(CLOSER_POLICY, until_grant=False) <= INLINE_ROLE_LIMIT
    assert len(json.dumps(template)) <= 51200


def test_what_the_runner_needs_is_there_only_for_a_boundary_with_one(
    template: dict[str, Any],
) -> None:
    assert "ecs" not in json.dumps(template)
    with_runner = render_template(
        "payments",
        vendor_principal=VENDOR,
        external_id=EXTERNAL,
        control_plane_key="sha256:plane",
        release_key="sha256:release",
        reach="in-vpc-runner",
    )
    added = set(with_runner["Resources"]) - set(template["Resources"])
    assert added == {"PermissionsRunner"}
    attached = with_runner["Resources"]["Role"]["Properties"]["ManagedPolicyArns"]
    assert attached[-1] == {"Ref": "PermissionsRunner"}
    del with_runner["Resources"]["PermissionsRunner"], attached[-1]
    assert with_runner == template


def test_what_copying_images_needs_is_there_only_for_a_boundary_that_wants_it(
    template: dict[str, Any],
) -> None:
    pushes = {"ecr:PutImage", "ecr:CreateRepository", "ecr:InitiateLayerUpload"}
    assert not any(action in json.dumps(template) for action in pushes)
    copied = render_template(
        "payments",
        vendor_principal=VENDOR,
        external_id=EXTERNAL,
        control_plane_key="sha256:plane",
        release_key="sha256:release",
        images="copied",
    )
    added = set(copied["Resources"]) - set(template["Resources"])
    assert added == {"PermissionsImages"}
    attached = copied["Resources"]["Role"]["Properties"]["ManagedPolicyArns"]
    assert attached[-1] == {"Ref": "PermissionsImages"}
    del copied["Resources"]["PermissionsImages"], attached[-1]
    # What pods and nodes can ever do is the same: they pull, and nobody inside pushes.
    assert copied == template


def test_images_are_put_into_the_boundarys_own_repositories_only() -> None:
    allowed = [one for one in IMAGES if one["Effect"] == "Allow"]
    wide = {one["Sid"] for one in allowed if one["Resource"] != REPOSITORIES}
    assert wide == {"EnterRegistry", "SeeRepositories"}
    assert REPOSITORIES.endswith(":repository/ringfence/<boundary>/*")


@pytest.fixture
def guest() -> dict[str, Any]:
    return render_template(
        "research",
        vendor_principal=VENDOR,
        external_id=EXTERNAL,
        control_plane_key="sha256:plane",
        release_key="sha256:release",
        host="payments",
    )


def test_a_guest_has_no_action_that_makes_changes_or_deletes_a_cluster_or_a_network(
    guest: dict[str, Any],
) -> None:
    allowed = {
        action
        for table in GUEST_TABLES.values()
        for one in table
        if one["Effect"] == "Allow"
        for action in ([one["Action"]] if isinstance(one["Action"], str) else one["Action"])
    }
    assert {a for a in allowed if a.startswith("ec2:")} == {"ec2:Describe*"}
    assert {a for a in allowed if a.startswith("eks:") and "*" in a} == set()
    assert {a for a in allowed if a.startswith("eks:") and not a.startswith(READING)} == {
        "eks:CreateAccessEntry", "eks:CreatePodIdentityAssociation", "eks:DeleteAccessEntry",
        "eks:DeletePodIdentityAssociation", "eks:TagResource", "eks:UntagResource",
        "eks:UpdatePodIdentityAssociation",
    }  # fmt: skip
    assert json.dumps(guest).count("cluster/ringfence-${Host}") == 3
    assert "ringfence-${Boundary}-permissions-runner" in json.dumps(guest)


def test_a_guest_comes_in_as_one_principal_in_one_group(guest: dict[str, Any]) -> None:
    (entering,) = [one for one in HOST_CLUSTER if one["Action"] == "eks:CreateAccessEntry"]
    condition = entering["Condition"]
    assert condition["ForAllValues:StringEquals"] == {
        "eks:kubernetesGroups": "ringfence-guest-<boundary>"
    }
    assert condition["ArnEquals"]["eks:principalArn"].endswith(
        "role/ringfence/<boundary>/ringfence-<boundary>-runner"
    )
    assert condition["Null"] == {"eks:username": "true"}
    assert guest["Parameters"]["Host"]["AllowedValues"] == ["payments"]


def test_a_guests_closer_trusts_the_namespace_of_its_own_agent_only(
    template: dict[str, Any], guest: dict[str, Any]
) -> None:
    def trusted(one: dict[str, Any]) -> str:
        closer = one["Resources"]["Closer"]["Properties"]["AssumeRolePolicyDocument"]
        (statement,) = closer["Statement"]
        found: str = statement["Condition"]["StringEquals"]["aws:RequestTag/kubernetes-namespace"]
        return found

    assert trusted(template) == "ringfence-system"
    assert trusted(guest) == "ringfence-system-research"


def test_a_guests_policies_fit_and_nobody_is_its_own_host() -> None:
    groups = split_policies(GUEST_TABLES)
    assert all(policy_size(one, until_grant=True) <= MANAGED_POLICY_LIMIT for one in groups)
    with pytest.raises(ValueError, match="its own host"):
        render_template(
            "payments",
            vendor_principal=VENDOR,
            external_id=EXTERNAL,
            control_plane_key="sha256:plane",
            release_key="sha256:release",
            host="payments",
        )


def test_the_runner_gets_two_roles_by_name_and_only_tasks_get_them() -> None:
    (passing,) = [one for one in RUNNER if one["Action"] == "iam:PassRole"]
    assert passing["Resource"] == RUNNER_ROLES
    assert all("*" not in one for one in RUNNER_ROLES)
    assert passing["Condition"] == {
        "StringEquals": {"iam:PassedToService": "ecs-tasks.amazonaws.com"}
    }


def test_what_the_runner_needs_on_anything_is_tagged_here_or_cannot_be_narrowed() -> None:
    wide = {one["Sid"] for one in RUNNER if one["Resource"] == "*" and "Condition" not in one}
    assert wide == {"ForgetRunner"}


def test_no_partition_is_written_out(template: dict[str, Any]) -> None:
    text = json.dumps({k: v for k, v in template.items() if k != "Parameters"})
    assert "arn:aws" not in text


def test_the_only_write_on_ourselves_is_deny_all() -> None:
    writes = [
        (action, statement)
        for table in ROLE_TABLES.values()
        for statement in table
        if statement["Effect"] == "Allow" and "role/ringfence-" in json.dumps(statement["Resource"])
        for action in (
            statement["Action"] if isinstance(statement["Action"], list) else [statement["Action"]]
        )
        if not action.startswith(("iam:Get", "iam:List"))
    ]
    assert sorted(action for action, _ in writes) == ["iam:AttachRolePolicy", "iam:PassRole"]
    attach = next(statement for action, statement in writes if action == "iam:AttachRolePolicy")
    assert attach["Condition"] == {
        "ArnEquals": {"iam:PolicyARN": "arn:<partition>:iam::aws:policy/AWSDenyAll"}
    }


def test_the_closer_may_strip_and_delete_the_role_read_its_pins_and_leave_a_key(
    template: dict[str, Any],
) -> None:
    closer = template["Resources"]["Closer"]["Properties"]
    (policy,) = closer["Policies"]
    statement, pins, key, anchors, reads, encrypt = policy["PolicyDocument"]["Statement"]
    assert pins["Action"] == "iam:ListRoleTags"
    assert key["Action"] == "s3:PutObject"
    assert key["Resource"]["Fn::Sub"].endswith("/agent/*")
    assert (anchors["Action"], reads["Action"]) == ("s3:PutObject", "s3:GetObject")
    assert anchors["Condition"] == {"Null": {"s3:if-none-match": "false"}}
    for one in (anchors, reads):
        assert one["Resource"]["Fn::Sub"].endswith("/audit/checkpoints/*")
    assert encrypt["Condition"]["StringEquals"] == {
        "aws:ResourceTag/ringfence:boundary": {"Fn::Sub": "${Boundary}"}
    }
    assert set(statement["Action"]) == {
        "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy", "iam:GetRole",
        "iam:ListAttachedRolePolicies", "iam:ListRolePolicies",
    }  # fmt: skip
    assert statement["Resource"] == {
        "Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:role/ringfence-${Boundary}-g*"
    }
    (trusted,) = closer["AssumeRolePolicyDocument"]["Statement"]
    assert trusted["Principal"] == {"Service": "pods.eks.amazonaws.com"}
    tags = {one["Key"]: one["Value"] for one in closer["Tags"]}
    assert tags["ringfence:control-plane-key"] == {"Ref": "ControlPlaneKey"}
    assert template["Parameters"]["ControlPlaneKey"]["Default"] == "sha256:plane"


def test_what_the_audit_is_checked_against_never_comes_from_the_one_role() -> None:
    (never,) = [
        one
        for table in ROLE_TABLES.values()
        for one in table
        if one.get("Sid") == "NeverForgeTheAgentsKey"
    ]
    assert never["Effect"] == "Deny"
    assert [r.rsplit("/", 2)[1] for r in never["Resource"]] == ["agent", "audit"]


def test_roles_are_created_only_with_the_boundary_and_under_the_path() -> None:
    create = next(one for one in ROLE_TABLES["roles"] if "iam:CreateRole" in one["Action"])
    assert create["Resource"].endswith("role/ringfence/<boundary>/*")
    assert create["Condition"]["StringEquals"]["iam:PermissionsBoundary"].endswith(
        "policy/ringfence-<boundary>-boundary"
    )


def test_no_statement_allows_everything() -> None:
    for table in ROLE_TABLES.values():
        for statement in table:
            if statement["Effect"] == "Allow":
                actions = statement["Action"]
                assert "*" not in (actions if isinstance(actions, list) else [actions])
                assert "NotAction" not in statement


def test_names_are_built_in_one_place() -> None:
    assert role_name("payments", 3) == "ringfence-payments-g3"
    assert closer_role_name("payments") == "ringfence-payments-closer"
    assert role_arn("aws-us-gov", "1" * 12, "payments", 1) == (
        "arn:aws-us-gov:iam::111111111111:role/ringfence-payments-g1"
    )


@pytest.mark.parametrize(
    "name", ["", "P", "-x", "x-", "a" * 25, "a b", "pay-g1", "pay-g", "g7-x", "x-closer",
             "a-111122223333"],
)  # fmt: skip
def test_a_boundary_name_that_could_reach_anothers_names_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="boundary"):
        role_name(name, 1)
