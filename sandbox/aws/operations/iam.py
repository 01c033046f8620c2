"""IAM operations on roles, policies and users.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_awsidentityandaccessmanagementiam.html
"""

from __future__ import annotations

from sandbox.aws.messages import Call
from sandbox.aws.moto_store import backend
from sandbox.aws.operations.checks import (
    Asks,
    Check,
    ContextValues,
    on_anything,
    request_tags,
    resource_tags,
)  # fmt: skip

_ON_ROLE = (
    "GetRole", "DeleteRole", "GetRolePolicy", "ListRolePolicies", "ListAttachedRolePolicies",
    "ListRoleTags", "ListInstanceProfilesForRole", "UpdateAssumeRolePolicy", "UpdateRole",
    "UpdateRoleDescription", "DeleteRolePermissionsBoundary",
)  # fmt: skip
# These know the boundary that the role carries (iam:PermissionsBoundary).
_WITH_BOUNDARY = ("PutRolePolicy", "DeleteRolePolicy", "AttachRolePolicy", "DetachRolePolicy")
_ON_POLICY = (
    "GetPolicy", "GetPolicyVersion", "ListPolicyVersions", "ListEntitiesForPolicy", "DeletePolicy",
    "CreatePolicyVersion", "DeletePolicyVersion", "SetDefaultPolicyVersion", "ListPolicyTags",
)  # fmt: skip
_ANYTHING = ("ListRoles", "ListPolicies", "ListUsers", "GetAccountSummary")


def tags_in(call: Call) -> dict[str, str]:
    """Collect Tags.member.N of a request."""
    tags = {}
    for key, value in call.params.items():
        if key.startswith("Tags.member.") and key.endswith(".Key"):
            tags[str(value)] = str(call.params.get(f"{key[:-4]}.Value", ""))
    return tags


def find_role(account: str, name: str) -> object | None:
    """Find a role by name in the store."""
    # A copy: another call may add a role while this one looks.
    for role in list(backend("iam", account, "aws").roles.values()):
        if role.name == name:
            found: object = role
            return found
    return None


def role_arn(account: str, name: str) -> str:
    """Give the ARN of a role with its path; of an absent role, without."""
    role = find_role(account, name)
    path = getattr(role, "path", "/")
    return f"arn:aws:iam::{account}:role{path}{name}"


def role_tags(account: str, name: str) -> dict[str, str]:
    """Read the tags of a role."""
    role = find_role(account, name)
    return {one["Key"]: one["Value"] for one in getattr(role, "tags", None) or []}


def _on_role(call: Call) -> list[Check]:
    """Ask for an operation on one role."""
    name = str(call.params.get("RoleName", ""))
    context = resource_tags(role_tags(call.account, name), "iam")
    if call.operation in _WITH_BOUNDARY:
        context.update(_boundary_of(call.account, name))
    if "PolicyArn" in call.params:
        context["iam:PolicyARN"] = str(call.params["PolicyArn"])
    return [Check(f"iam:{call.operation}", role_arn(call.account, name), context)]


def _boundary_of(account: str, name: str) -> ContextValues:
    """Give the permissions boundary a role carries."""
    arn = getattr(find_role(account, name), "permissions_boundary_arn", None)
    return {"iam:PermissionsBoundary": arn} if arn else {}


def _create_role(call: Call) -> list[Check]:
    """Ask for a new role, and for tagging it."""
    path = str(call.params.get("Path", "/"))
    arn = f"arn:aws:iam::{call.account}:role{path}{call.params.get('RoleName', '')}"
    tags = request_tags(tags_in(call))
    context: ContextValues = dict(tags)
    if call.params.get("PermissionsBoundary"):
        context["iam:PermissionsBoundary"] = str(call.params["PermissionsBoundary"])
    checks = [Check("iam:CreateRole", arn, context)]
    if tags:
        checks.append(Check("iam:TagRole", arn, tags))
    return checks


def _put_boundary(call: Call) -> list[Check]:
    """Ask for setting a role's boundary; the key holds the new one."""
    context: ContextValues = {
        "iam:PermissionsBoundary": str(call.params.get("PermissionsBoundary", ""))
    }
    name = str(call.params.get("RoleName", ""))
    return [Check("iam:PutRolePermissionsBoundary", role_arn(call.account, name), context)]


def _tag_role(call: Call) -> list[Check]:
    """Ask for tagging or untagging a role."""
    name = str(call.params.get("RoleName", ""))
    keys = [str(v) for k, v in call.params.items() if k.startswith("TagKeys.member.")]
    context = {**resource_tags(role_tags(call.account, name), "iam"), **request_tags(tags_in(call))}
    if keys:
        context["aws:TagKeys"] = keys
    return [Check(f"iam:{call.operation}", role_arn(call.account, name), context)]


def _on_policy(call: Call) -> list[Check]:
    """Ask for an operation on one managed policy."""
    return [Check(f"iam:{call.operation}", str(call.params.get("PolicyArn", "")))]


def _create_policy(call: Call) -> list[Check]:
    """Ask for a new managed policy."""
    path = str(call.params.get("Path", "/"))
    name = call.params.get("PolicyName", "")
    arn = f"arn:aws:iam::{call.account}:policy{path}{name}"
    return [Check("iam:CreatePolicy", arn, request_tags(tags_in(call)))]


def _on_user(call: Call) -> list[Check]:
    """Ask for an operation on one user."""
    name = call.params.get("UserName") or call.caller.name
    return [Check(f"iam:{call.operation}", f"arn:aws:iam::{call.account}:user/{name}")]


def _service_role(call: Call) -> list[Check]:
    """Ask for a service-linked role."""
    service = str(call.params.get("AWSServiceName", ""))
    arn = f"arn:aws:iam::{call.account}:role/aws-service-role/{service}/*"
    return [Check("iam:CreateServiceLinkedRole", arn, {"iam:AWSServiceName": service})]


OPERATIONS: dict[str, Asks] = {
    **dict.fromkeys((*_ON_ROLE, *_WITH_BOUNDARY), _on_role),
    **dict.fromkeys(_ON_POLICY, _on_policy),
    **{name: on_anything(f"iam:{name}") for name in _ANYTHING},
    "CreateRole": _create_role,
    "PutRolePermissionsBoundary": _put_boundary,
    "TagRole": _tag_role,
    "UntagRole": _tag_role,
    "CreatePolicy": _create_policy,
    "GetUser": _on_user,
    "CreateUser": _on_user,
    "CreateAccessKey": _on_user,
    "CreateServiceLinkedRole": _service_role,
}
