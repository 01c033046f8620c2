"""The resource types of the role template: create, update, delete through the IAM service.

Called by the stack engine. Every step asks the caller's own permissions, as CloudFormation does
without a service role.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree as ET

from sandbox.aws.authorize import Authorizer
from sandbox.aws.errors import AwsError
from sandbox.aws.messages import Call, Response
from sandbox.aws.moto_store import MotoStore, backend
from sandbox.aws.operations import Check
from sandbox.aws.operations.iam import find_role

Properties = dict[str, Any]
_ALLOWED = {
    "AWS::IAM::Role": {
        "RoleName", "Path", "AssumeRolePolicyDocument", "ManagedPolicyArns", "Policies", "Tags",
        "MaxSessionDuration", "PermissionsBoundary", "Description",
    },
    "AWS::IAM::ManagedPolicy": {"ManagedPolicyName", "Path", "PolicyDocument", "Description"},
}  # fmt: skip
_REPLACES = {
    "AWS::IAM::Role": ("RoleName", "Path"),
    "AWS::IAM::ManagedPolicy": ("ManagedPolicyName", "Path", "Description"),
}


def check_type(logical: str, kind: str, properties: Properties) -> None:
    """Refuse types and properties that are not modelled."""
    if kind not in _ALLOWED:
        raise AwsError("ValidationError", f"{logical}: {kind} is not modelled here")
    unknown = set(properties) - _ALLOWED[kind]
    if unknown:
        raise AwsError("ValidationError", f"{logical}: unknown properties {sorted(unknown)}")


def needs_replacement(kind: str, old: Properties, new: Properties) -> bool:
    """Tell whether a change makes a new physical resource."""
    return any(old.get(name) != new.get(name) for name in _REPLACES[kind])


class IamResources:
    """Create, update and delete IAM resources on behalf of a stack operation's caller."""

    def __init__(self, store: MotoStore, authorizer: Authorizer, call: Call) -> None:
        """Bind to the call whose caller pays with its permissions."""
        self._store, self._authorizer, self._call = store, authorizer, call
        self._account = call.account

    def create(self, kind: str, properties: Properties) -> str:
        """Create a resource and give its physical id. Raises AwsError."""
        if kind == "AWS::IAM::Role":
            return self._create_role(properties)
        return self._create_policy(properties)

    def update(self, kind: str, physical: str, old: Properties, new: Properties) -> None:
        """Update a resource in place. Raises AwsError."""
        if kind == "AWS::IAM::Role":
            self._update_role(physical, old, new)
        else:
            self._update_policy(physical, new)

    def delete(self, kind: str, physical: str, properties: Properties) -> None:
        """Delete a resource; one that is gone already is fine. Raises AwsError DeleteConflict."""
        if kind == "AWS::IAM::Role":
            self._delete_role(physical, properties)
        else:
            self._delete_policy(physical)

    def attribute(self, kind: str, physical: str, name: str) -> str:
        """Give an attribute of a resource."""
        if kind == "AWS::IAM::Role" and name == "Arn":
            return self._role_arn(physical)
        if kind == "AWS::IAM::Role" and name == "RoleId":
            return str(getattr(find_role(self._account, physical), "id", ""))
        if kind == "AWS::IAM::ManagedPolicy" and name == "PolicyArn":
            return physical
        raise AwsError("ValidationError", f"Template error: {kind} has no attribute {name}")

    def _iam(self, action: str, resource: str, **params: Any) -> Response:
        """Run one IAM call with the caller's permission. Raises AwsError."""
        check = Check(f"iam:{action}", resource)
        decision = self._authorizer.decide(self._call, check)
        if not decision.allowed:
            raise self._authorizer.refusal(self._call, check, decision)
        response = self._store.query(self._account, self._call.region, "iam", action, **params)
        if response.status >= 400:
            raise _as_error(response)
        return response

    def _role_arn(self, name: str, path: str = "/") -> str:
        """Give the ARN of a role."""
        path = getattr(find_role(self._account, name), "path", path)
        return f"arn:aws:iam::{self._account}:role{path}{name}"

    def _create_role(self, wanted: Properties) -> str:
        """Create a role with its policies."""
        name = str(wanted["RoleName"])
        arn = self._role_arn(name, wanted.get("Path", "/"))
        self._iam(
            "CreateRole", arn,
            RoleName=name,
            Path=wanted.get("Path", "/"),
            AssumeRolePolicyDocument=json.dumps(wanted["AssumeRolePolicyDocument"]),
            MaxSessionDuration=wanted.get("MaxSessionDuration", 3600),
            Description=wanted.get("Description"),
            PermissionsBoundary=wanted.get("PermissionsBoundary"),
            Tags=wanted.get("Tags", []),
        )  # fmt: skip
        self._set_policies(name, {}, wanted)
        return name

    def _update_role(self, name: str, old: Properties, new: Properties) -> None:
        """Bring a role to new properties."""
        arn = self._role_arn(name)
        if find_role(self._account, name) is None:
            raise AwsError("NoSuchEntity", f"The role with name {name} cannot be found.", 404)
        if old.get("AssumeRolePolicyDocument") != new.get("AssumeRolePolicyDocument"):
            document = json.dumps(new["AssumeRolePolicyDocument"])
            self._iam("UpdateAssumeRolePolicy", arn, RoleName=name, PolicyDocument=document)
        if old.get("MaxSessionDuration") != new.get("MaxSessionDuration"):
            seconds = new.get("MaxSessionDuration", 3600)
            self._iam("UpdateRole", arn, RoleName=name, MaxSessionDuration=seconds)
        if old.get("PermissionsBoundary") != new.get("PermissionsBoundary"):
            boundary = new.get("PermissionsBoundary")
            if boundary:
                self._iam(
                    "PutRolePermissionsBoundary", arn, RoleName=name, PermissionsBoundary=boundary
                )
            else:
                self._iam("DeleteRolePermissionsBoundary", arn, RoleName=name)
        if old.get("Tags") != new.get("Tags"):
            gone = {t["Key"] for t in old.get("Tags", [])} - {t["Key"] for t in new.get("Tags", [])}
            if gone:
                self._iam("UntagRole", arn, RoleName=name, TagKeys=sorted(gone))
            if new.get("Tags"):
                self._iam("TagRole", arn, RoleName=name, Tags=new["Tags"])
        self._set_policies(name, old, new)

    def _set_policies(self, name: str, old: Properties, new: Properties) -> None:
        """Attach, detach, put and delete a role's policies by difference."""
        arn = self._role_arn(name)
        before, after = old.get("ManagedPolicyArns", []), new.get("ManagedPolicyArns", [])
        for policy in (one for one in after if one not in before):
            self._iam("AttachRolePolicy", arn, RoleName=name, PolicyArn=policy)
        for policy in (one for one in before if one not in after):
            self._iam("DetachRolePolicy", arn, RoleName=name, PolicyArn=policy)
        inline_before = {p["PolicyName"]: p["PolicyDocument"] for p in old.get("Policies", [])}
        inline_after = {p["PolicyName"]: p["PolicyDocument"] for p in new.get("Policies", [])}
        for policy, document in inline_after.items():
            if inline_before.get(policy) != document:
                text = json.dumps(document)
                self._iam(
                    "PutRolePolicy", arn, RoleName=name, PolicyName=policy, PolicyDocument=text
                )
        for policy in inline_before.keys() - inline_after.keys():
            self._iam("DeleteRolePolicy", arn, RoleName=name, PolicyName=policy)

    def _delete_role(self, name: str, properties: Properties) -> None:
        """Delete a role and what the template attached to it.

        A policy that someone else attached stands in the way (DeleteConflict), as in IAM.
        """
        role: Any = find_role(self._account, name)
        if role is None:
            return
        arn = self._role_arn(name)
        for policy in list(role.managed_policies):
            if policy in properties.get("ManagedPolicyArns", []):
                self._iam("DetachRolePolicy", arn, RoleName=name, PolicyArn=policy)
        for policy in [p["PolicyName"] for p in properties.get("Policies", [])]:
            if policy in role.policies:
                self._iam("DeleteRolePolicy", arn, RoleName=name, PolicyName=policy)
        if role.managed_policies or role.policies:
            text = "Cannot delete entity, must detach all policies first."
            raise AwsError("DeleteConflict", f"{name}: {text}", 409)
        self._iam("DeleteRole", arn, RoleName=name)

    def _create_policy(self, wanted: Properties) -> str:
        """Create a managed policy; its size limit is IAM's."""
        name, path = str(wanted["ManagedPolicyName"]), wanted.get("Path", "/")
        arn = f"arn:aws:iam::{self._account}:policy{path}{name}"
        self._iam(
            "CreatePolicy", arn,
            PolicyName=name, Path=path, Description=wanted.get("Description"),
            PolicyDocument=_sized(wanted["PolicyDocument"]),
        )  # fmt: skip
        return arn

    def _update_policy(self, arn: str, wanted: Properties) -> None:
        """Make a new default version, dropping the oldest at the limit of five."""
        document = _sized(wanted["PolicyDocument"])
        stored = backend("iam", self._account, "aws").managed_policies.get(arn)
        if stored is None:
            raise AwsError("NoSuchEntity", f"Policy {arn} was not found.", 404)
        if len(stored.versions) >= 5:
            oldest = next(
                v.version_id for v in stored.versions if v.version_id != stored.default_version_id
            )
            self._iam("DeletePolicyVersion", arn, PolicyArn=arn, VersionId=oldest)
        self._iam(
            "CreatePolicyVersion", arn, PolicyArn=arn, PolicyDocument=document, SetAsDefault="true"
        )

    def _delete_policy(self, arn: str) -> None:
        """Delete a managed policy with its versions."""
        stored = backend("iam", self._account, "aws").managed_policies.get(arn)
        if stored is None:
            return
        if stored.attachment_count:
            raise AwsError("DeleteConflict", f"{arn} is attached to an entity.", 409)
        for version in list(stored.versions):
            if version.version_id != stored.default_version_id:
                self._iam("DeletePolicyVersion", arn, PolicyArn=arn, VersionId=version.version_id)
        self._iam("DeletePolicy", arn, PolicyArn=arn)


def _sized(document: Any) -> str:
    """Write a policy document; over 6,144 characters IAM refuses it."""
    text = json.dumps(document, separators=(",", ":"))
    if len("".join(text.split())) > 6144:
        raise AwsError("LimitExceeded", "Cannot exceed quota for PolicySize: 6144", 409)
    return text


def _as_error(response: Response) -> AwsError:
    """Read the error of an IAM answer."""
    root = ET.fromstring(response.body)  # noqa: S314 (from our own store)
    parts = {one.tag.rpartition("}")[2]: one.text or "" for one in root.iter()}
    return AwsError(parts.get("Code", "Error"), parts.get("Message", ""), response.status)
