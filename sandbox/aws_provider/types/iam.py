"""Role, inline policy and attachment."""

import json
from urllib.parse import unquote

from sandbox.aws_provider.cloud import Cloud
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.tagging import TAGS, from_pairs, pairs, split

_GONE = ("NoSuchEntity", "NoSuchEntityException")


def _document(value: object) -> str:
    """Return a policy document as JSON text; botocore decodes some of them, not all."""
    return unquote(value) if isinstance(value, str) else json.dumps(value)


def _create_role(cloud: Cloud, inputs: Properties) -> str:
    cloud.call(
        "iam",
        "CreateRole",
        RoleName=inputs["name"],
        Path=inputs["path"],
        AssumeRolePolicyDocument=inputs["assumeRolePolicy"],
        Description=inputs.get("description"),
        MaxSessionDuration=inputs["maxSessionDuration"],
        PermissionsBoundary=inputs.get("permissionsBoundary"),
        Tags=pairs(inputs.get("tags")),
    )
    return str(inputs["name"])


def _settle_role(cloud: Cloud, id_: str, inputs: Properties) -> None:
    cloud.retry(_GONE, 60, lambda: cloud.call("iam", "GetRole", RoleName=id_))


def _read_role(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    answer = cloud.find("iam", "GetRole", _GONE, RoleName=id_)
    if answer is None:
        return None
    role = answer["Role"]
    return {
        "name": role["RoleName"],
        "path": role["Path"],
        "assumeRolePolicy": _document(role["AssumeRolePolicyDocument"]),
        "description": role.get("Description") or None,
        "maxSessionDuration": role.get("MaxSessionDuration", 3600),
        "permissionsBoundary": role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn"),
        "tags": from_pairs(role.get("Tags")),
        "arn": role["Arn"],
        "uniqueId": role["RoleId"],
    }


def _update_role(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    if "assumeRolePolicy" in changed:
        document = new["assumeRolePolicy"]
        cloud.call("iam", "UpdateAssumeRolePolicy", RoleName=id_, PolicyDocument=document)
    if changed & {"description", "maxSessionDuration"}:
        cloud.call(
            "iam",
            "UpdateRole",
            RoleName=id_,
            Description=new.get("description") or "",
            MaxSessionDuration=new["maxSessionDuration"],
        )
    if "permissionsBoundary" in changed:
        boundary = new.get("permissionsBoundary")
        if boundary:
            ids = {"RoleName": id_, "PermissionsBoundary": boundary}
            cloud.call("iam", "PutRolePermissionsBoundary", **ids)
        else:
            cloud.call("iam", "DeleteRolePermissionsBoundary", RoleName=id_)
    if "tags" in changed:
        live = _read_role(cloud, id_, new) or {"tags": {}}
        wanted, removed = split(live["tags"], new.get("tags") or {})
        if removed:
            cloud.call("iam", "UntagRole", RoleName=id_, TagKeys=removed)
        if wanted:
            cloud.call("iam", "TagRole", RoleName=id_, Tags=pairs(wanted))


def _delete_role(cloud: Cloud, id_: str, known: Properties) -> None:
    # A policy detached a moment ago may still count against the role.
    cloud.retry(
        ("DeleteConflict",), 60, lambda: cloud.find("iam", "DeleteRole", _GONE, RoleName=id_)
    )


def _role_policy_key(id_: str) -> tuple[str, str]:
    role, _, name = id_.partition(":")
    return role, name


def _put_role_policy(cloud: Cloud, id_: str, inputs: Properties) -> None:
    role, name = _role_policy_key(id_)
    cloud.call(
        "iam", "PutRolePolicy", RoleName=role, PolicyName=name, PolicyDocument=inputs["policy"]
    )


def _create_role_policy(cloud: Cloud, inputs: Properties) -> str:
    id_ = f"{inputs['role']}:{inputs['name']}"
    _put_role_policy(cloud, id_, inputs)
    return id_


def _read_role_policy(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    role, name = _role_policy_key(id_)
    answer = cloud.find("iam", "GetRolePolicy", _GONE, RoleName=role, PolicyName=name)
    if answer is None:
        return None
    return {"role": role, "name": name, "policy": _document(answer["PolicyDocument"])}


def _delete_role_policy(cloud: Cloud, id_: str, known: Properties) -> None:
    role, name = _role_policy_key(id_)
    cloud.find("iam", "DeleteRolePolicy", _GONE, RoleName=role, PolicyName=name)


def _create_attachment(cloud: Cloud, inputs: Properties) -> str:
    role, policy = inputs["role"], inputs["policyArn"]
    cloud.call("iam", "AttachRolePolicy", RoleName=role, PolicyArn=policy)
    return f"{role}/{policy}"


def _attachment_key(id_: str) -> tuple[str, str]:
    role, _, policy = id_.partition("/")
    return role, policy


def _read_attachment(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    role, policy = _attachment_key(id_)
    marker: str | None = None
    while True:
        page = cloud.find("iam", "ListAttachedRolePolicies", _GONE, RoleName=role, Marker=marker)
        if page is None:
            return None
        if any(item["PolicyArn"] == policy for item in page["AttachedPolicies"]):
            return {"role": role, "policyArn": policy}
        if not page.get("IsTruncated"):
            return None
        marker = page["Marker"]


def _delete_attachment(cloud: Cloud, id_: str, known: Properties) -> None:
    role, policy = _attachment_key(id_)
    cloud.find("iam", "DetachRolePolicy", _GONE, RoleName=role, PolicyArn=policy)


ENTRIES = (
    ResourceType(
        type_name="aws:iam/role:Role",
        inputs={
            "name": Prop(required=True, replace=True),
            "path": Prop(replace=True, default="/"),
            "assumeRolePolicy": Prop(Kind.JSON, required=True),
            "description": Prop(),
            "maxSessionDuration": Prop(Kind.INTEGER, default=3600),
            "permissionsBoundary": Prop(),
            "tags": TAGS,
        },
        outputs=("arn", "uniqueId"),
        create=_create_role,
        settle=_settle_role,
        read=_read_role,
        update=_update_role,
        delete=_delete_role,
        named=True,
    ),
    ResourceType(
        type_name="aws:iam/rolePolicy:RolePolicy",
        inputs={
            "name": Prop(required=True, replace=True),
            "role": Prop(required=True, replace=True),
            "policy": Prop(Kind.JSON, required=True),
        },
        outputs=(),
        create=_create_role_policy,
        read=_read_role_policy,
        update=lambda cloud, id_, new, changed: _put_role_policy(cloud, id_, new),
        delete=_delete_role_policy,
        named=True,
    ),
    ResourceType(
        type_name="aws:iam/rolePolicyAttachment:RolePolicyAttachment",
        inputs={
            "role": Prop(required=True, replace=True),
            "policyArn": Prop(required=True, replace=True),
        },
        outputs=(),
        create=_create_attachment,
        read=_read_attachment,
        delete=_delete_attachment,
        named=True,
    ),
)
