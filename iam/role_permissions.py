"""Read a role's template as what it permits: parts with policies, and settings beside them.

Called by the control plane to keep and compare what a grant asks for. Nothing of the template is
left out: what is no policy is a setting, written as its path and value.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from iam.documents import Policy, parse_policy
from iam.policy_atoms import NormalForm, normalize

PARTS: Mapping[str, str] = {
    "permissions": "What the role may do",
    "trust": "Who may assume the role",
    "boundary": "The most that a role made by us can ever do",
    "closer": "What the agent may do to end our access",
    "closer-trust": "Who may use the closer",
}
"""The parts of the template, in order of reading."""
GRANT_END = "<end of the grant>"
_OWN_POLICY = re.compile(r"^Permissions(\d+|Runner|Images)$")
_SUBSTITUTION = re.compile(r"\$\{(!?)([^}]+)\}")


@dataclass(frozen=True)
class RolePermissions:
    """A template by meaning."""

    policies: Mapping[str, tuple[Policy, ...]]
    forms: Mapping[str, NormalForm]
    settings: Mapping[str, str]


def sealed_document(template: Mapping[str, Any], external_id_hash: str) -> dict[str, Any]:
    """Return the template to be kept: as it is, with the External ID's hash in its place."""
    document = copy.deepcopy(dict(template))
    document["Parameters"]["ExternalId"]["Default"] = external_id_hash
    return document


def opened_template(document: Mapping[str, Any], external_id: str) -> dict[str, Any]:
    """Return the template that a kept document stands for."""
    template = copy.deepcopy(dict(document))
    template["Parameters"]["ExternalId"]["Default"] = external_id
    return template


def read_permissions(
    document: Mapping[str, Any], *, partition: str, account: str
) -> RolePermissions:
    """Read a template. Raises: PolicyError for a policy that AWS would refuse."""
    values = {
        name: str(one["Default"])
        for name, one in document.get("Parameters", {}).items()
        if "Default" in one
    }
    values |= {"AWS::Partition": partition, "AWS::AccountId": account}
    rest = copy.deepcopy(dict(document))
    policies: dict[str, list[Policy]] = {part: [] for part in PARTS}
    for part, name, found in _take_policies(rest):
        policies[part].append(parse_policy(_resolve(found, values), name))
    return RolePermissions(
        {part: tuple(found) for part, found in policies.items()},
        {part: normalize(found) for part, found in policies.items()},
        dict(_flat("", rest)),
    )


def _take_policies(rest: dict[str, Any]) -> Iterator[tuple[str, str, Any]]:
    """Take the policies that we know out of a template; the rest stays for the settings."""
    for name, resource in rest.get("Resources", {}).items():
        properties = resource.get("Properties", {})
        if name == "BoundaryPolicy" or _OWN_POLICY.match(name):
            part = "boundary" if name == "BoundaryPolicy" else "permissions"
            yield part, name, properties.pop("PolicyDocument")
            if part == "permissions":
                # How statements are spread over policies means nothing.
                properties.pop("ManagedPolicyName", None)
                resource.pop("Type", None)
        elif name in ("Role", "Closer"):
            part = "permissions" if name == "Role" else "closer"
            trust = "trust" if name == "Role" else "closer-trust"
            yield trust, name, properties.pop("AssumeRolePolicyDocument")
            for inline in properties.pop("Policies", []):
                yield part, f"{name}/{inline['PolicyName']}", inline["PolicyDocument"]
            attached = properties.pop("ManagedPolicyArns", [])
            foreign = [one for one in attached if not _is_own(one)]
            if foreign:
                properties["ManagedPolicyArns"] = foreign


def _is_own(reference: Any) -> bool:
    """Tell whether an attached policy is one of the template, which is read already."""
    name = reference.get("Ref", "") if isinstance(reference, dict) else ""
    return bool(_OWN_POLICY.match(str(name)))


def _resolve(value: Any, values: Mapping[str, str]) -> Any:
    """Fill in the functions of CloudFormation that the template uses."""
    if isinstance(value, list):
        return [_resolve(one, values) for one in value]
    if not isinstance(value, dict):
        return value
    if set(value) == {"Ref"}:
        return values.get(str(value["Ref"]), f"<{value['Ref']}>")
    if set(value) == {"Fn::Sub"} and isinstance(value["Fn::Sub"], str):
        return _SUBSTITUTION.sub(
            lambda m: (
                "${" + m.group(2) + "}" if m.group(1) else values.get(m.group(2), f"<{m.group(2)}>")
            ),
            value["Fn::Sub"],
        )
    if set(value) == {"Fn::If"} and _is_grant_end(value["Fn::If"]):
        return GRANT_END
    if len(value) == 1 and next(iter(value)).startswith("Fn::"):
        return json.dumps(value, sort_keys=True)
    return {key: _resolve(one, values) for key, one in value.items()}


def _is_grant_end(branches: Any) -> bool:
    """Tell whether a choice is the end of access: the parameter, or long ago while closed."""
    return bool(
        isinstance(branches, list)
        and len(branches) == 3
        and branches[0] == "Opened"
        and branches[1] == {"Ref": "GrantUntil"}
        and isinstance(branches[2], str)
        and branches[2] < "2001"
    )


def _flat(path: str, value: Any) -> Iterator[tuple[str, str]]:
    """Write what is left as path and value."""
    if isinstance(value, dict) and value:
        for key, one in sorted(value.items()):
            yield from _flat(f"{path}.{key}" if path else str(key), one)
    elif isinstance(value, list) and value:
        for index, one in enumerate(value):
            yield from _flat(f"{path}[{index}]", one)
    elif value not in ({}, []):
        yield path, value if isinstance(value, str) else json.dumps(value)
