"""Objects that carry our tags and that no state knows: twins made by a repeated call.

Called by the steps that apply and destroy stacks. A client whose reply was lost repeats the call,
and an API without client tokens (`CreateVpc`, `CreateSubnet`, `AllocateAddress`, `CreateKey` …)
then makes a second object; the engine keeps the id of one. Neither a plan nor a destroy ever sees
the other. Separate from the engine's adoption, which looks for one object after a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import DENIED, error_code, translated

_BOUNDARY, _INSTALL, _URN = "ringfence:boundary", "ringfence:install", "ringfence:urn"
_GOING = frozenset({"deleting", "deleted", "failed"})


@dataclass(frozen=True)
class Stray:
    """One object nobody keeps: what it is, and the call that deletes it."""

    id: str
    made_for: str
    """The resource of the blueprint whose tags it carries."""
    delete_call: str


@dataclass(frozen=True)
class _Kind:
    """How one kind of object is listed by tag, and how it is deleted."""

    operation: str
    result: str
    key: str
    delete: str


# Only kinds whose names AWS chooses: of a named kind there cannot be two.
_KINDS = (
    _Kind("describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId", "ec2:DeleteVpcEndpoints"),
    _Kind("describe_nat_gateways", "NatGateways", "NatGatewayId", "ec2:DeleteNatGateway"),
    _Kind("describe_addresses", "Addresses", "AllocationId", "ec2:ReleaseAddress"),
    _Kind("describe_route_tables", "RouteTables", "RouteTableId", "ec2:DeleteRouteTable"),
    _Kind("describe_subnets", "Subnets", "SubnetId", "ec2:DeleteSubnet"),
    _Kind(
        "describe_internet_gateways",
        "InternetGateways",
        "InternetGatewayId",
        "ec2:DeleteInternetGateway",
    ),
    _Kind("describe_vpcs", "Vpcs", "VpcId", "ec2:DeleteVpc"),
)


def find_strays(account: Account, install: str, known: Collection[str]) -> list[Stray]:
    """Return what carries the install's tags and is not among the `known` ids.

    Raises: the classes of `translated`.
    """
    wanted = {_BOUNDARY: account.target.boundary, _INSTALL: install}
    found: list[Stray] = []
    for kind in _KINDS:
        filters = [{"Name": f"tag:{name}", "Values": [value]} for name, value in wanted.items()]
        with translated(f"ec2:{kind.operation}"):
            answer = getattr(account.client("ec2"), kind.operation)(Filters=filters)
        found += [
            Stray(item[kind.key], _made_for(item), kind.delete)
            for item in answer[kind.result]
            # Looked at once more: a filter that the service left out must not make another
            # boundary's object ours to delete.
            if wanted.items() <= _tags(item).items()
            and item[kind.key] not in known
            and str(item.get("State", "")).lower() not in _GOING
        ]
    return found + _stray_keys(account, wanted, known)


def _stray_keys(account: Account, wanted: dict[str, str], known: Collection[str]) -> list[Stray]:
    kms = account.client("kms")
    with translated("kms:ListKeys"):
        pages = kms.get_paginator("list_keys").paginate()
        keys = [item["KeyId"] for page in pages for item in page["Keys"]]
    found = []
    for key in keys:
        if key in known:
            continue
        tags = _readable(partial(kms.list_resource_tags, KeyId=key), "kms:ListResourceTags")
        values = {tag["TagKey"]: tag["TagValue"] for tag in (tags or {}).get("Tags", [])}
        if not wanted.items() <= values.items():
            continue
        shown = _readable(partial(kms.describe_key, KeyId=key), "kms:DescribeKey") or {}
        if shown.get("KeyMetadata", {}).get("KeyState") != "PendingDeletion":
            found.append(Stray(key, _name(values), "kms:ScheduleKeyDeletion"))
    return found


def _readable(call: Callable[[], dict[str, Any]], action: str) -> dict[str, Any] | None:
    """Make a read that our role may make of the boundary's own keys only; None of another's."""
    with translated(action):
        try:
            return call()
        except ClientError as error:
            if error_code(error) in DENIED:
                return None
            raise


def _tags(item: dict[str, Any]) -> dict[str, str]:
    return {tag["Key"]: tag["Value"] for tag in item.get("Tags", [])}


def _made_for(item: dict[str, Any]) -> str:
    return _name(_tags(item))


def _name(tags: dict[str, str]) -> str:
    return tags.get(_URN, "").rpartition("::")[2] or "an unnamed resource"
