"""Render the CloudFormation template that creates a boundary's one role.

Called by the control plane (to hand the customer a stack), by the command line and by tests. One
template serves every partition and region; it opens nothing until the customer sets `GrantNumber`
and `GrantUntil` (decision 2), and it carries the pins on the closer role (decision 13).
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Mapping
from typing import Any

from iam.closer_statements import CLOSER_POLICY
from iam.guest_statements import GUEST_TABLES
from iam.image_statements import IMAGES, IMAGES_COPIED, IMAGES_PULLED
from iam.role_statements import BOUNDARY_POLICY, ROLE_TABLES, Table
from iam.runner_statements import REACH_PUBLIC, REACH_RUNNER, RUNNER

MANAGED_POLICY_LIMIT = (
    6144  # https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html
)
INLINE_ROLE_LIMIT = 10240
MANAGED_POLICIES_PER_ROLE = 10
RUNNER_POLICY = "PermissionsRunner"
IMAGES_POLICY = "PermissionsImages"
CLOSED_UNTIL = "2000-01-01T00:00:00Z"
BOUNDARY_NAME = re.compile(r"^[a-z][a-z0-9-]{0,22}[a-z0-9]$")
# A boundary `pay-g1` would be covered by the patterns of a boundary `pay` (`ringfence-pay-g*`).
_RESERVED_PART = re.compile(r"(^|-)(g\d*|\d{12}|closer|boundary|permissions)(-|$)")
AGENT_NAMESPACE = "ringfence-system"
AGENT_SERVICE_ACCOUNT = "agent"

_SUBSTITUTED = {
    "<partition>": "${AWS::Partition}",
    "<account>": "${AWS::AccountId}",
    "<boundary>": "${Boundary}",
    "<host>": "${Host}",
}
# The longest values a placeholder can take, for the size limits.
_LONGEST = {
    "<partition>": "aws-us-gov",
    "<account>": "0" * 12,
    "<boundary>": "b" * 24,
    "<host>": "h" * 24,
}


def role_name(boundary: str, number: int) -> str:
    """Name the role of a boundary's opening number; 0 is the role that never opens."""
    return f"ringfence-{_checked(boundary)}-g{number}"


def closer_role_name(boundary: str) -> str:
    """Name the role that the agent uses to delete ours."""
    return f"ringfence-{_checked(boundary)}-closer"


def boundary_policy_name(boundary: str) -> str:
    """Name the permissions boundary that every role made by us must carry."""
    return f"ringfence-{_checked(boundary)}-boundary"


def stack_name(boundary: str) -> str:
    """Name the CloudFormation stack of a boundary."""
    return f"ringfence-{_checked(boundary)}"


def agent_namespace(boundary: str, *, host: str | None) -> str:
    """Name the namespace of a boundary's agent; the plain name is the cluster's own boundary's."""
    return AGENT_NAMESPACE if host is None else f"{AGENT_NAMESPACE}-{_checked(boundary)}"


def pod_role_path(boundary: str) -> str:
    """Give the IAM path under which we may create roles."""
    return f"/ringfence/{_checked(boundary)}/"


def role_arn(partition: str, account: str, boundary: str, number: int) -> str:
    """Give the ARN of the role of an opening."""
    return f"arn:{partition}:iam::{account}:role/{role_name(boundary, number)}"


def deny_all_arn(partition: str) -> str:
    """Give the ARN of the AWS-managed policy that takes all power."""
    return f"arn:{partition}:iam::aws:policy/AWSDenyAll"


def _checked(boundary: str) -> str:
    """Refuse a boundary name that would not fit into role, bucket and namespace names."""
    if not BOUNDARY_NAME.match(boundary):
        raise ValueError(
            f"boundary {boundary!r}: use 2 to 24 of a-z, 0-9 and '-', starting with a letter "
            "and not ending with '-'"
        )
    reserved = _RESERVED_PART.search(boundary)
    if reserved:
        raise ValueError(
            f"boundary {boundary!r}: the part {reserved.group(2)!r} is reserved, because names of "
            "roles and buckets are built with it; choose another name"
        )
    return boundary


def render_template(
    boundary: str,
    *,
    vendor_principal: str,
    external_id: str,
    control_plane_key: str,
    release_key: str,
    reach: str = REACH_PUBLIC,
    host: str | None = None,
    images: str = IMAGES_PULLED,
) -> dict[str, Any]:
    """Render the template of one boundary.

    `control_plane_key` and `release_key` are key fingerprints, put on the closer as tags. What the
    runner needs is in it only where the boundary's cluster is reached by one, and what copying
    images needs only where they are copied. `host` is the name of the boundary in whose cluster
    this one lives, if it has no cluster of its own; it is reached by a runner only.
    Raises ValueError for a boundary name that does not fit, and where a limit of IAM is passed.
    """
    _checked(boundary)
    if host is not None and _checked(host) == boundary:
        raise ValueError(f"boundary {boundary!r} cannot be its own host")
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": (
            f"Ringfence access for boundary {boundary}: one role, closed until you set "
            "GrantNumber and GrantUntil"
        ),
        "Parameters": _parameters(
            boundary, vendor_principal, external_id, control_plane_key, release_key, host
        ),
        "Conditions": {"Opened": {"Fn::Not": [{"Fn::Equals": [{"Ref": "GrantNumber"}, "0"]}]}},
        "Resources": _resources(boundary, reach, host, images),
        "Outputs": {
            "RoleArn": {"Value": {"Fn::GetAtt": ["Role", "Arn"]}},
            "RoleName": {"Value": {"Ref": "Role"}},
            "CloserRoleArn": {"Value": {"Fn::GetAtt": ["Closer", "Arn"]}},
            "BoundaryPolicyArn": {"Value": {"Ref": "BoundaryPolicy"}},
        },
    }


def _resources(boundary: str, reach: str, host: str | None, images: str) -> dict[str, Any]:
    """Render the policies, the role that has them and the closer."""
    groups = split_policies(ROLE_TABLES if host is None else GUEST_TABLES)
    resources: dict[str, Any] = {}
    for index, statements in enumerate(groups, start=1):
        resources[f"Permissions{index}"] = _managed_policy(
            f"ringfence-${{Boundary}}-permissions-{index}", statements, until_grant=True
        )
    attached = [f"Permissions{i}" for i in range(1, len(groups) + 1)]
    if reach == REACH_RUNNER or host is not None:
        name = "ringfence-${Boundary}-permissions-runner"
        resources[RUNNER_POLICY] = _managed_policy(name, RUNNER, until_grant=True)
        attached.append(RUNNER_POLICY)
    if images == IMAGES_COPIED:
        name = "ringfence-${Boundary}-permissions-images"
        resources[IMAGES_POLICY] = _managed_policy(name, IMAGES, until_grant=True)
        attached.append(IMAGES_POLICY)
    resources["BoundaryPolicy"] = _managed_policy(
        "ringfence-${Boundary}-boundary", BOUNDARY_POLICY, until_grant=False
    )
    resources["Role"] = _role(attached)
    resources["Closer"] = _closer(agent_namespace(boundary, host=host))
    return resources


def _parameters(
    boundary: str,
    vendor_principal: str,
    external_id: str,
    plane_key: str,
    release_key: str,
    host: str | None,
) -> dict[str, Any]:
    """Describe the parameters; the defaults are closed and belong to this boundary alone."""
    fixed = {
        "Boundary": (boundary, "The security boundary this stack belongs to"),
        "VendorPrincipal": (vendor_principal, "The one role that may assume ours"),
        "ControlPlaneKey": (plane_key, "Fingerprint of the key that signs bundles"),
        "ReleaseKey": (release_key, "Fingerprint of the key that signs blueprints"),
    }
    if host is not None:
        fixed["Host"] = (host, "The boundary in whose cluster this one lives")
    parameters: dict[str, Any] = {
        name: {"Type": "String", "Default": value, "AllowedValues": [value], "Description": text}
        for name, (value, text) in fixed.items()
    }
    parameters["ExternalId"] = {
        "Type": "String",
        "Default": external_id,
        "AllowedPattern": "^[A-Za-z0-9+=,.@:/_-]{22,128}$",
        "Description": "Made by the vendor for this connection, at least 128 bits",
    }
    parameters["GrantUntil"] = {
        "Type": "String",
        "Default": CLOSED_UNTIL,
        "AllowedPattern": r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}Z$",
        "Description": "Nothing works after this time (UTC); in the past by default",
    }
    parameters["GrantNumber"] = {
        "Type": "Number",
        "Default": 0,
        "MinValue": 0,
        "Description": "Raise by one for each opening; 0 never opens",
    }
    return parameters


def _until() -> dict[str, Any]:
    """Give the end of access: GrantUntil, or a time in the past while the number is 0."""
    return {"Fn::If": ["Opened", {"Ref": "GrantUntil"}, CLOSED_UNTIL]}


def split_policies(tables: Mapping[str, Table] = ROLE_TABLES) -> list[Table]:
    """Pack a role's statements into as few managed policies as their size limit allows.

    Raises ValueError where one statement is too large or more than ten policies are needed.
    """
    groups: list[Table] = []
    for statement in (one for table in tables.values() for one in table):
        if policy_size([statement], until_grant=True) > MANAGED_POLICY_LIMIT:
            raise ValueError(f"statement {statement['Sid']} alone passes {MANAGED_POLICY_LIMIT}")
        if groups and policy_size([*groups[-1], statement], until_grant=True) <= (
            MANAGED_POLICY_LIMIT
        ):
            groups[-1].append(statement)
        else:
            groups.append([statement])
    # Two more are for the runner and for images, where the customer wants them.
    if len(groups) + 2 > MANAGED_POLICIES_PER_ROLE:
        raise ValueError(f"{len(groups) + 2} managed policies, a role can have ten")
    return groups


def policy_size(statements: Table, *, until_grant: bool) -> int:
    """Count the characters IAM counts (no white space) with the longest values filled in."""
    document = {"Version": "2012-10-17", "Statement": _timed(statements, CLOSED_UNTIL, until_grant)}
    text = json.dumps(document, separators=(",", ":"))
    for placeholder, longest in _LONGEST.items():
        text = text.replace(placeholder, longest)
    return len("".join(text.split()))


def _timed(statements: Table, until: Any, apply: bool) -> Table:
    """Add the end of access to every allow, so that permissions end with the trust."""
    timed = copy.deepcopy(statements)
    for statement in timed:
        if apply and statement["Effect"] == "Allow":
            conditions = statement.setdefault("Condition", {})
            conditions["DateLessThan"] = {"aws:CurrentTime": until}
    return timed


def _managed_policy(name: str, statements: Table, *, until_grant: bool) -> dict[str, Any]:
    """Render one managed policy resource."""
    document = {
        "Version": "2012-10-17",
        "Statement": _substitute(_timed(statements, _until(), until_grant)),
    }
    return {
        "Type": "AWS::IAM::ManagedPolicy",
        "Properties": {"ManagedPolicyName": {"Fn::Sub": name}, "PolicyDocument": document},
    }


def _substitute(value: Any) -> Any:
    """Turn placeholders into Fn::Sub; policy variables are escaped as ${!…} inside it."""
    if isinstance(value, dict):
        return {key: _substitute(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_substitute(one) for one in value]
    if not isinstance(value, str) or not any(mark in value for mark in _SUBSTITUTED):
        return value
    text = value.replace("${", "${!")
    for mark, reference in _SUBSTITUTED.items():
        text = text.replace(mark, reference)
    return {"Fn::Sub": text}


def _trust() -> dict[str, Any]:
    """Render who may assume the role: one principal, External ID and boundary, until an end."""
    principal = {"AWS": {"Ref": "VendorPrincipal"}}
    in_time = {"DateLessThan": {"aws:CurrentTime": _until()}}
    return {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "Assume",
                "Effect": "Allow",
                "Principal": principal,
                "Action": "sts:AssumeRole",
                "Condition": {
                    "StringEquals": {"sts:ExternalId": {"Ref": "ExternalId"}},
                    # The customer's trail must name a person for every session.
                    "Null": {"sts:SourceIdentity": "false"},
                    **in_time,
                },
            },
            {
                "Sid": "NameThePerson",
                "Effect": "Allow",
                "Principal": principal,
                "Action": "sts:SetSourceIdentity",
                "Condition": in_time,
            },
            {
                "Sid": "TagThisBoundaryOnly",
                "Effect": "Allow",
                "Principal": principal,
                "Action": "sts:TagSession",
                "Condition": {
                    "StringEquals": {"aws:RequestTag/ringfence:boundary": {"Ref": "Boundary"}},
                    "ForAllValues:StringEquals": {
                        "aws:TagKeys": ["ringfence:boundary", "ringfence:run"]
                    },
                    **in_time,
                },
            },
        ],
    }


def _role(policies: list[str]) -> dict[str, Any]:
    """Render the role with its trust and its policies."""
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": {"Fn::Sub": "ringfence-${Boundary}-g${GrantNumber}"},
            "AssumeRolePolicyDocument": _trust(),
            "ManagedPolicyArns": [{"Ref": name} for name in policies],
            "MaxSessionDuration": 3600,
            "Tags": [{"Key": "ringfence:boundary", "Value": {"Ref": "Boundary"}}],
        },
    }


def _closer(namespace: str) -> dict[str, Any]:
    """Render the closer: usable by the agent's pod identity alone, carries the pins."""
    document = {"Version": "2012-10-17", "Statement": _substitute(CLOSER_POLICY)}
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Sid": "AgentOnly",
                "Effect": "Allow",
                "Principal": {"Service": "pods.eks.amazonaws.com"},
                "Action": ["sts:AssumeRole", "sts:TagSession"],
                "Condition": {
                    "StringEquals": {
                        "aws:RequestTag/kubernetes-namespace": namespace,
                        "aws:RequestTag/kubernetes-service-account": AGENT_SERVICE_ACCOUNT,
                    }
                },
            }
        ],
    }
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "RoleName": {"Fn::Sub": "ringfence-${Boundary}-closer"},
            "AssumeRolePolicyDocument": trust,
            "Policies": [{"PolicyName": "close", "PolicyDocument": document}],
            "Tags": [
                {"Key": "ringfence:boundary", "Value": {"Ref": "Boundary"}},
                {"Key": "ringfence:control-plane-key", "Value": {"Ref": "ControlPlaneKey"}},
                {"Key": "ringfence:release-key", "Value": {"Ref": "ReleaseKey"}},
            ],
        },
    }
