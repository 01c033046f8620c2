"""EC2 operations: networks of the blueprint, as AWS's authorization reference scopes them.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonec2.html
"""

from __future__ import annotations

import re

from sandbox.aws.messages import Call
from sandbox.aws.moto_store import backend
from sandbox.aws.operations.checks import Asks, Check, request_tags, resource_tags

_TYPES = {
    "vpc": "vpc",
    "subnet": "subnet",
    "igw": "internet-gateway",
    "eipalloc": "elastic-ip",
    "nat": "natgateway",
    "rtb": "route-table",
    "vpce": "vpc-endpoint",
    "sg": "security-group",
    "sgr": "security-group-rule",
    "acl": "network-acl",
    "eni": "network-interface",
}

# Operation → (created type, parameters that name existing resources).
_CREATES: dict[str, tuple[str, tuple[str, ...]]] = {
    "CreateVpc": ("vpc", ()),
    "CreateSubnet": ("subnet", ("VpcId",)),
    "CreateInternetGateway": ("internet-gateway", ()),
    "AllocateAddress": ("elastic-ip", ()),
    "CreateNatGateway": ("natgateway", ("SubnetId", "AllocationId")),
    "CreateRouteTable": ("route-table", ("VpcId",)),
    "CreateVpcEndpoint": ("vpc-endpoint", ("VpcId", "SubnetId", "RouteTableId", "SecurityGroupId")),
    "CreateSecurityGroup": ("security-group", ("VpcId",)),
}
# Operation → parameters that name the resources acted on.
_CHANGES: dict[str, tuple[str, ...]] = {
    "ModifyVpcAttribute": ("VpcId",),
    "DeleteVpc": ("VpcId",),
    "ModifySubnetAttribute": ("SubnetId",),
    "DeleteSubnet": ("SubnetId",),
    "AttachInternetGateway": ("InternetGatewayId", "VpcId"),
    "DetachInternetGateway": ("InternetGatewayId", "VpcId"),
    "DeleteInternetGateway": ("InternetGatewayId",),
    "ReleaseAddress": ("AllocationId",),
    "DeleteNatGateway": ("NatGatewayId",),
    "CreateRoute": ("RouteTableId",),
    "ReplaceRoute": ("RouteTableId",),
    "DeleteRoute": ("RouteTableId",),
    "DeleteRouteTable": ("RouteTableId",),
    "AssociateRouteTable": ("RouteTableId", "SubnetId"),
    "DisassociateRouteTable": ("AssociationId",),
    "ReplaceRouteTableAssociation": ("AssociationId", "RouteTableId"),
    "ModifyVpcEndpoint": ("VpcEndpointId",),
    "DeleteVpcEndpoints": ("VpcEndpointId",),
    "DeleteSecurityGroup": ("GroupId",),
    "AuthorizeSecurityGroupIngress": ("GroupId",),
    "AuthorizeSecurityGroupEgress": ("GroupId",),
    "RevokeSecurityGroupIngress": ("GroupId",),
    "RevokeSecurityGroupEgress": ("GroupId",),
}
_READS = (
    "DescribeAccountAttributes", "DescribeAddresses", "DescribeAddressesAttribute",
    "DescribeAvailabilityZones", "DescribeInternetGateways", "DescribeNatGateways",
    "DescribeNetworkAcls", "DescribeNetworkInterfaces", "DescribePrefixLists", "DescribeRegions",
    "DescribeRouteTables", "DescribeSecurityGroupRules", "DescribeSecurityGroups",
    "DescribeSubnets", "DescribeTags", "DescribeVpcAttribute", "DescribeVpcEndpointServices",
    "DescribeVpcEndpoints", "DescribeVpcs",
)  # fmt: skip
_TAG = re.compile(r"^(?:TagSpecification\.\d+\.)?Tag\.(\d+)\.(Key|Value)$")


def arn_of(call: Call, kind: str, identifier: str) -> str:
    """Give the ARN of an EC2 resource in the caller's account."""
    return f"arn:aws:ec2:{call.region}:{call.account}:{kind}/{identifier}"


def tags_of(call: Call, identifier: str) -> dict[str, str]:
    """Read the tags of a resource from the store."""
    return dict(backend("ec2", call.account, call.region).tags.get(identifier, {}))


def _values(call: Call, name: str) -> list[str]:
    """Collect a parameter and its numbered forms (SubnetId, SubnetId.1, …)."""
    return [
        str(value)
        for key, value in call.params.items()
        if key == name or (key.startswith(f"{name}.") and key[len(name) + 1 :].isdigit())
    ]


def _tags_in(call: Call) -> dict[str, str]:
    """Collect the tags of a request."""
    parts: dict[str, dict[str, str]] = {}
    for key, value in call.params.items():
        found = _TAG.match(key)
        if found:
            place = key.rpartition(".")[0]
            parts.setdefault(place, {})[found.group(2)] = str(value)
    return {one["Key"]: one.get("Value", "") for one in parts.values() if "Key" in one}


def _existing(call: Call, action: str, identifiers: list[str]) -> list[Check]:
    """Make a check for each existing resource, with its tags."""
    checks = []
    for identifier in identifiers:
        prefix = identifier.partition("-")[0]
        if prefix == "rtbassoc":
            checks.extend(_existing(call, action, _table_of(call, identifier)))
            continue
        context = resource_tags(tags_of(call, identifier), "ec2")
        checks.append(Check(action, arn_of(call, _TYPES.get(prefix, prefix), identifier), context))
    return checks


def _table_of(call: Call, association: str) -> list[str]:
    """Find the route table of an association; unknown ones are left to the service to refuse."""
    tables = backend("ec2", call.account, call.region).route_tables
    return [one for one, table in list(tables.items()) if association in table.all_associations_ids]


def _create(call: Call) -> list[Check]:
    """Ask for the new resource, for tagging it, and for each resource it is made in."""
    kind, parents = _CREATES[call.operation]
    action, tags = f"ec2:{call.operation}", _tags_in(call)
    new = arn_of(call, kind, "*")
    checks = [Check(action, new, request_tags(tags))]
    if tags:
        context = {**request_tags(tags), "ec2:CreateAction": call.operation}
        checks.append(Check("ec2:CreateTags", new, context))
    for name in parents:
        checks.extend(_existing(call, action, _values(call, name)))
    return checks


def _change(call: Call) -> list[Check]:
    """Ask for each resource acted on."""
    names = _CHANGES[call.operation]
    identifiers = [one for name in names for one in _values(call, name)]
    return _existing(call, f"ec2:{call.operation}", identifiers) or [Check(f"ec2:{call.operation}")]


def _tagging(call: Call) -> list[Check]:
    """Ask for each resource tagged or untagged, with old and new tags."""
    asked = request_tags(_tags_in(call))
    checks = _existing(call, f"ec2:{call.operation}", _values(call, "ResourceId"))
    return [Check(one.action, one.resource, {**one.context, **asked}) for one in checks]


def _read(call: Call) -> list[Check]:
    """Ask for a read; AWS does not scope these."""
    return [Check(f"ec2:{call.operation}")]


OPERATIONS: dict[str, Asks] = {
    **dict.fromkeys(_CREATES, _create),
    **dict.fromkeys(_CHANGES, _change),
    **dict.fromkeys(_READS, _read),
    "CreateTags": _tagging,
    "DeleteTags": _tagging,
}
