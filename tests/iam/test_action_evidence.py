"""The reasons beside the permissions are those of the code: no call without one, none made up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from iam.action_evidence import (
    CONTROL_PLANE,
    PROVIDER,
    evidence_of,
    levels_of,
)
from iam.condition_words import in_words
from iam.containment import covers
from iam.guest_statements import GUEST_TABLES
from iam.image_statements import IMAGES
from iam.policy_atoms import ConditionTest
from iam.role_permissions import PARTS, RolePermissions, read_permissions
from iam.role_statements import ROLE_TABLES
from iam.role_template import render_template
from iam.runner_statements import RUNNER
from iam.statement_reasons import REASONS
from sandbox.aws.operations.s3 import _BUCKET, _OBJECT

ROOT = Path(__file__).parents[2]
OPERATIONS = ROOT / "sandbox" / "aws_provider" / "OPERATIONS.md"
ADAPTERS = ROOT / "controlplane" / "adapters"
S3_ACTIONS = {
    **_BUCKET,
    **_OBJECT,
    "DeleteObjects": "DeleteObject",
    "ListBuckets": "ListAllMyBuckets",
}
NO_CALLS = {"CREATE_FAILED", "ResourceNotFoundException", "PermissionsBoundary"}
UNEVIDENCED = 31
"""Actions of the role that nothing is known to need; the next table of the role drops them."""


def listed(value: Any) -> list[str]:
    """Give an element of a statement as a list."""
    return [value] if isinstance(value, str) else list(value)


def allowed_actions() -> dict[str, None]:
    """The actions that the role is allowed."""
    return {
        action: None
        for table in (*ROLE_TABLES.values(), *GUEST_TABLES.values(), RUNNER, IMAGES)
        for statement in table
        if statement["Effect"] == "Allow"
        for action in listed(statement["Action"])
    }


def test_the_calls_of_the_provider_are_those_of_its_table() -> None:
    found = {}
    for line in OPERATIONS.read_text().splitlines():
        row = re.match(r"\| aws:(\w+)/(\w+):", line)
        if row is None:
            continue
        calls = []
        for cell in line.strip().strip("|").split("|")[1:]:
            names = re.findall(r"\b[A-Z][a-z]+[A-Z]\w*\b", cell)
            calls.append(
                {
                    S3_ACTIONS[name] if row.group(1) == "s3" else name
                    for name in names
                    if name not in NO_CALLS
                }
            )
        found[f"{row.group(1)}/{row.group(2)}"] = calls
    assert found == {name: [set(c.split()) for c in calls] for name, calls in PROVIDER.items()}


@pytest.mark.parametrize("module", CONTROL_PLANE)
def test_the_calls_of_the_control_plane_are_those_of_its_code(module: str) -> None:
    text = (ADAPTERS / f"{module}.py").read_text()
    claimed = set(CONTROL_PLANE[module][1].split())
    named = {
        f"s3:{S3_ACTIONS[call[3:]]}" if call.startswith("s3:") else call
        for call in re.findall(r"translated\(\"([^\"]+)\"", text)
    }
    assert named <= claimed
    for action in claimed - named:
        words = re.sub(r"(?<!^)(?=[A-Z])", "_", action.split(":")[1]).lower()
        assert words in text, f"{module} does not call {action}"


def test_every_module_that_calls_the_account_has_its_reasons() -> None:
    callers = {
        path.relative_to(ADAPTERS).with_suffix("").as_posix()
        for path in ADAPTERS.rglob("*.py")
        if 'translated("' in path.read_text()
    }
    # The session is asked for with the control plane's own identity, not with the role.
    assert callers - {"aws/sessions"} == set(CONTROL_PLANE)


def test_every_call_that_is_claimed_is_allowed_or_denied_on_purpose() -> None:
    actions = allowed_actions()
    for resource, calls in PROVIDER.items():
        for name in " ".join(calls).split():
            action = f"{resource.split('/')[0]}:{name}"
            if action != "iam:DeleteRolePermissionsBoundary":  # NoSharingOutward denies it
                assert any(covers(a.lower(), action.lower()) for a in actions), action


def test_every_action_of_the_role_has_a_level_and_the_unexplained_do_not_grow() -> None:
    actions = allowed_actions()
    assert [action for action in actions if len(levels_of(action)) != 1] == []
    assert sum(not evidence_of(action) for action in actions) == UNEVIDENCED
    assert levels_of("iam:PutRolePolicy") == ("permissions management",)
    assert levels_of("ec2:DescribeVpcs") == ("list",)
    assert set(levels_of("s3:*")) == {
        "list", "read", "write", "permissions management", "tagging",
    }  # fmt: skip


def test_the_evidence_of_a_pattern_is_that_of_its_actions() -> None:
    found = {(e.kind, e.action) for e in evidence_of("ec2:Describe*")}
    assert ("control plane", "ec2:DescribeVpcs") in found
    assert ("provider", "ec2:DescribeSubnets") in found
    assert [e.kind for e in evidence_of("kms:CreateGrant")] == ["dependent"]
    assert evidence_of("iam:GetAccountSummary") == ()


def permissions_of(host: str | None) -> RolePermissions:
    """Read the template of a boundary with a runner and copied images, guest or not."""
    template = render_template(
        "payments",
        vendor_principal="arn:aws:iam::999988887777:role/plane",
        external_id="0" * 32,
        control_plane_key="sha256:a",
        release_key="sha256:b",
        reach="in-vpc-runner",
        host=host,
        images="copied",
    )
    return read_permissions(template, partition="aws", account="111122223333")


def test_every_statement_of_the_template_says_what_it_is_for() -> None:
    statements = {
        (part, statement.sid)
        for host in (None, "research")
        for part, policies in permissions_of(host).policies.items()
        for policy in policies
        for statement in policy.statements
    }
    assert statements == set(REASONS)
    assert {part for part, _ in statements} == set(PARTS)


@pytest.mark.parametrize(
    ("operator", "key", "values", "words"),
    [
        ("stringequals", "aws:resourcetag/ringfence:boundary",
         ["${aws:PrincipalTag/ringfence:boundary}"],
         "the tag ringfence:boundary of the resource is the tag ringfence:boundary of the session"),
        ("datelessthan", "aws:currenttime", ["<end of the grant>"],
         "the time is before the end of the grant"),
        ("null", "sts:sourceidentity", ["false"], "the name of the person is given"),
        ("stringequals", "iam:passedtoservice", ["eks.amazonaws.com", "ec2.amazonaws.com"],
         "the service that the role is handed to is eks.amazonaws.com or ec2.amazonaws.com"),
        ("stringnotequalsifexists", "x:key", ["a"], "x:key is not a, if it is given"),
        ("foranyvalue:stringequals", "aws:tagkeys", ["ringfence:boundary"],
         "one of the tags named in the request is ringfence:boundary"),
    ],
)  # fmt: skip
def test_conditions_are_said_in_words(
    operator: str, key: str, values: list[str], words: str
) -> None:
    assert in_words(ConditionTest(operator, key, tuple(values))) == words
