"""KMS operations; a key's policy must allow, or delegate to the account.

Source: https://docs.aws.amazon.com/kms/latest/developerguide/kms-api-permissions-reference.html
"""

from __future__ import annotations

from typing import Any

from iam.documents import Policy, parse_policy
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

_ON_KEY = (
    "DescribeKey", "GetKeyPolicy", "PutKeyPolicy", "ListKeyPolicies", "GetKeyRotationStatus",
    "EnableKeyRotation", "DisableKeyRotation", "ListResourceTags", "ScheduleKeyDeletion",
    "CancelKeyDeletion", "UpdateKeyDescription", "EnableKey", "DisableKey", "Encrypt", "Decrypt",
    "GenerateDataKey", "CreateGrant", "ListGrants", "TagResource", "UntagResource",
)  # fmt: skip
_ON_ALIAS = ("CreateAlias", "UpdateAlias", "DeleteAlias")


def find_key(call: Call, identifier: str) -> Any:
    """Find a key by id, ARN or alias; None where there is none."""
    keys = backend("kms", call.account, call.region).keys
    name = identifier.rpartition(":")[2].removeprefix("key/")
    if name.startswith("alias/"):
        return next((one for one in list(keys.values()) if name in one.aliases), None)
    return keys.get(name)


def key_check(call: Call, action: str, identifier: str, extra: ContextValues) -> Check:
    """Make a check on a key with its tags and policy."""
    key = find_key(call, identifier)
    if key is None:
        arn = f"arn:aws:kms:{call.region}:{call.account}:key/{identifier.rpartition('/')[2]}"
        return Check(action, arn, extra)
    store = backend("kms", call.account, call.region)
    tags = store.list_resource_tags(key.id).get("Tags", [])
    context = resource_tags({one["TagKey"]: one["TagValue"] for one in tags})
    policies: tuple[Policy, ...] = ()
    if key.policy:
        policies = (parse_policy(key.policy, f"key {key.id}"),)
    return Check(
        action, str(key.arn), {**context, **extra}, policies, call.account, resource_must_allow=True
    )


def _tags_in(call: Call) -> dict[str, str]:
    """Collect the tags of a request."""
    return {one["TagKey"]: one["TagValue"] for one in call.params.get("Tags", [])}


def _on_key(call: Call) -> list[Check]:
    """Ask for an operation on one key."""
    extra = request_tags(_tags_in(call))
    if call.operation == "UntagResource":
        extra["aws:TagKeys"] = list(call.params.get("TagKeys", []))
    if call.operation == "CreateGrant":
        # Only a service acting for the caller sets this; a direct call never does.
        extra["kms:GrantIsForAWSResource"] = "false"
    identifier = str(call.params.get("KeyId", ""))
    return [key_check(call, f"kms:{call.operation}", identifier, extra)]


def _on_alias(call: Call) -> list[Check]:
    """Ask for the alias and for each key it points to, before and after."""
    action, alias = f"kms:{call.operation}", str(call.params.get("AliasName", ""))
    arn = f"arn:aws:kms:{call.region}:{call.account}:{alias}"
    checks = [Check(action, arn)]
    if call.operation != "CreateAlias" and find_key(call, alias) is not None:
        checks.append(key_check(call, action, alias, {}))
    if "TargetKeyId" in call.params:
        checks.append(key_check(call, action, str(call.params["TargetKeyId"]), {}))
    return checks


def _create(call: Call) -> list[Check]:
    """Ask for a new key, and for tagging it."""
    tags = request_tags(_tags_in(call))
    checks = [Check("kms:CreateKey", "*", tags)]
    if tags:
        checks.append(Check("kms:TagResource", "*", tags))
    return checks


OPERATIONS: dict[str, Asks] = {
    **dict.fromkeys(_ON_KEY, _on_key),
    **dict.fromkeys(_ON_ALIAS, _on_alias),
    "CreateKey": _create,
    "ListKeys": on_anything("kms:ListKeys"),
    "ListAliases": on_anything("kms:ListAliases"),
}
