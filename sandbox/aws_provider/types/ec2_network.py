"""VPC, subnet and internet gateway; and what all types of EC2 share."""

from collections.abc import Callable
from typing import Any

from sandbox.aws_provider.cloud import Cloud
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.tagging import TAGS, ec2_specification, from_pairs, set_ec2_tags

# A parent can be deleted only after its children, whose removal EC2 reports a little late.
STILL_USED = ("DependencyViolation", "InvalidIPAddress.InUse", "AuthFailure")
DELETE_SECONDS = 300.0


def describe(
    cloud: Cloud, operation: str, key: str, gone: tuple[str, ...], **parameters: Any
) -> Properties | None:
    """Return the first described object, or None when there is none."""
    answer = cloud.find("ec2", operation, gone, **parameters)
    found = (answer or {}).get(key) or []
    return found[0] if found else None


def delete(cloud: Cloud, operation: str, gone: tuple[str, ...], **parameters: Any) -> None:
    """Delete, waiting while the object is still in use; gone already is success."""
    cloud.retry(
        STILL_USED,
        DELETE_SECONDS,
        lambda: cloud.find("ec2", operation, gone, **parameters),
    )


def tags_updater(
    read: Callable[[Cloud, str, Properties], Properties | None],
) -> Callable[[Cloud, str, Properties, frozenset[str]], None]:
    """Return an update function for a type of which only the tags change in place."""

    def update(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
        if "tags" in changed:
            live = read(cloud, id_, new) or {}
            set_ec2_tags(cloud, id_, live.get("tags", {}), new)

    return update


# --- VPC ---

_VPC_GONE = ("InvalidVpcID.NotFound",)
_VPC_SWITCHES = {
    "enableDnsSupport": ("EnableDnsSupport", "enableDnsSupport"),
    "enableDnsHostnames": ("EnableDnsHostnames", "enableDnsHostnames"),
}


def _create_vpc(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "ec2",
        "CreateVpc",
        CidrBlock=inputs["cidrBlock"],
        InstanceTenancy=inputs["instanceTenancy"],
        TagSpecifications=ec2_specification("vpc", inputs),
    )
    return str(made["Vpc"]["VpcId"])


def _settle_vpc(cloud: Cloud, id_: str, inputs: Properties) -> None:
    def state() -> str:
        found = describe(cloud, "DescribeVpcs", "Vpcs", _VPC_GONE, VpcIds=[id_])
        return str(found["State"]) if found else "not visible yet"

    cloud.wait(f"VPC {id_}", state, ready=("available",), seconds=300)
    _set_switches(cloud, id_, inputs, frozenset(_VPC_SWITCHES))


def _set_switches(cloud: Cloud, id_: str, inputs: Properties, changed: frozenset[str]) -> None:
    for name, (attribute, _) in _VPC_SWITCHES.items():
        if name in changed and name in inputs:
            value = {attribute: {"Value": inputs[name]}}
            cloud.call("ec2", "ModifyVpcAttribute", VpcId=id_, **value)


def _read_vpc(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    vpc = describe(cloud, "DescribeVpcs", "Vpcs", _VPC_GONE, VpcIds=[id_])
    if vpc is None:
        return None
    live: Properties = {
        "cidrBlock": vpc["CidrBlock"],
        "instanceTenancy": vpc["InstanceTenancy"],
        "tags": from_pairs(vpc.get("Tags")),
        "arn": cloud.arn("ec2", f"vpc/{id_}"),
        "ownerId": cloud.account,
        "dhcpOptionsId": vpc.get("DhcpOptionsId"),
    }
    for name, (attribute, query) in _VPC_SWITCHES.items():
        answer = cloud.call("ec2", "DescribeVpcAttribute", VpcId=id_, Attribute=query)
        live[name] = answer[attribute]["Value"]
    return live | _vpc_defaults(cloud, id_)


def _vpc_defaults(cloud: Cloud, id_: str) -> Properties:
    """Return the ids of what EC2 makes with every VPC."""
    in_vpc = {"Name": "vpc-id", "Values": [id_]}
    group = {"Name": "group-name", "Values": ["default"]}
    main = {"Name": "association.main", "Values": ["true"]}
    default = {"Name": "default", "Values": ["true"]}
    table = describe(cloud, "DescribeRouteTables", "RouteTables", (), Filters=[in_vpc, main])
    groups = describe(
        cloud, "DescribeSecurityGroups", "SecurityGroups", (), Filters=[in_vpc, group]
    )
    acl = describe(cloud, "DescribeNetworkAcls", "NetworkAcls", (), Filters=[in_vpc, default])
    return {
        "mainRouteTableId": (table or {}).get("RouteTableId"),
        "defaultRouteTableId": (table or {}).get("RouteTableId"),
        "defaultSecurityGroupId": (groups or {}).get("GroupId"),
        "defaultNetworkAclId": (acl or {}).get("NetworkAclId"),
    }


def _update_vpc(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    _set_switches(cloud, id_, new, changed)
    tags_updater(_read_vpc)(cloud, id_, new, changed)


def _delete_vpc(cloud: Cloud, id_: str, known: Properties) -> None:
    delete(cloud, "DeleteVpc", _VPC_GONE, VpcId=id_)


# --- Subnet ---

_SUBNET_GONE = ("InvalidSubnetID.NotFound",)


def _create_subnet(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "ec2",
        "CreateSubnet",
        VpcId=inputs["vpcId"],
        CidrBlock=inputs["cidrBlock"],
        AvailabilityZone=inputs.get("availabilityZone"),
        TagSpecifications=ec2_specification("subnet", inputs),
    )
    return str(made["Subnet"]["SubnetId"])


def _settle_subnet(cloud: Cloud, id_: str, inputs: Properties) -> None:
    def state() -> str:
        found = describe(cloud, "DescribeSubnets", "Subnets", _SUBNET_GONE, SubnetIds=[id_])
        return str(found["State"]) if found else "not visible yet"

    cloud.wait(f"subnet {id_}", state, ready=("available",), seconds=300)
    if inputs["mapPublicIpOnLaunch"]:
        _set_public_ip(cloud, id_, inputs)


def _set_public_ip(cloud: Cloud, id_: str, inputs: Properties) -> None:
    value = {"Value": inputs["mapPublicIpOnLaunch"]}
    cloud.call("ec2", "ModifySubnetAttribute", SubnetId=id_, MapPublicIpOnLaunch=value)


def _read_subnet(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    subnet = describe(cloud, "DescribeSubnets", "Subnets", _SUBNET_GONE, SubnetIds=[id_])
    if subnet is None:
        return None
    return {
        "vpcId": subnet["VpcId"],
        "cidrBlock": subnet["CidrBlock"],
        "availabilityZone": subnet["AvailabilityZone"],
        "mapPublicIpOnLaunch": subnet.get("MapPublicIpOnLaunch", False),
        "tags": from_pairs(subnet.get("Tags")),
        "arn": cloud.arn("ec2", f"subnet/{id_}"),
        "ownerId": cloud.account,
        "availabilityZoneId": subnet.get("AvailabilityZoneId"),
    }


def _update_subnet(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    if "mapPublicIpOnLaunch" in changed:
        _set_public_ip(cloud, id_, new)
    tags_updater(_read_subnet)(cloud, id_, new, changed)


def _delete_subnet(cloud: Cloud, id_: str, known: Properties) -> None:
    delete(cloud, "DeleteSubnet", _SUBNET_GONE, SubnetId=id_)


# --- Internet gateway ---

_GATEWAY_GONE = ("InvalidInternetGatewayID.NotFound",)


def _create_gateway(cloud: Cloud, inputs: Properties) -> str:
    tags = ec2_specification("internet-gateway", inputs)
    made = cloud.call("ec2", "CreateInternetGateway", TagSpecifications=tags)
    return str(made["InternetGateway"]["InternetGatewayId"])


def _settle_gateway(cloud: Cloud, id_: str, inputs: Properties) -> None:
    live = _read_gateway(cloud, id_, inputs)
    if inputs.get("vpcId") and not (live or {}).get("vpcId"):
        ids = {"InternetGatewayId": id_, "VpcId": inputs["vpcId"]}
        # The gateway was made a moment ago.
        cloud.retry(_GATEWAY_GONE, 60, lambda: cloud.call("ec2", "AttachInternetGateway", **ids))


def _read_gateway(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    gateway = describe(
        cloud,
        "DescribeInternetGateways",
        "InternetGateways",
        _GATEWAY_GONE,
        InternetGatewayIds=[id_],
    )
    if gateway is None:
        return None
    attached = gateway.get("Attachments") or [{}]
    return {
        "vpcId": attached[0].get("VpcId"),
        "tags": from_pairs(gateway.get("Tags")),
        "arn": cloud.arn("ec2", f"internet-gateway/{id_}"),
        "ownerId": cloud.account,
    }


def _update_gateway(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    live = _read_gateway(cloud, id_, new) or {}
    if "vpcId" in changed and live.get("vpcId") not in (None, new.get("vpcId")):
        ids = {"InternetGatewayId": id_, "VpcId": live["vpcId"]}
        delete(cloud, "DetachInternetGateway", ("Gateway.NotAttached",), **ids)
    # Attached again, where it should be, by the settling that follows every update.
    tags_updater(_read_gateway)(cloud, id_, new, changed)


def _delete_gateway(cloud: Cloud, id_: str, known: Properties) -> None:
    live = _read_gateway(cloud, id_, known)
    if live is None:
        return
    if live["vpcId"]:
        gone = (*_GATEWAY_GONE, "Gateway.NotAttached")
        ids = {"InternetGatewayId": id_, "VpcId": live["vpcId"]}
        delete(cloud, "DetachInternetGateway", gone, **ids)
    delete(cloud, "DeleteInternetGateway", _GATEWAY_GONE, InternetGatewayId=id_)


ENTRIES = (
    ResourceType(
        type_name="aws:ec2/vpc:Vpc",
        inputs={
            "cidrBlock": Prop(required=True, replace=True),
            "instanceTenancy": Prop(replace=True, default="default"),
            "enableDnsSupport": Prop(Kind.BOOLEAN, default=True),
            "enableDnsHostnames": Prop(Kind.BOOLEAN, default=False),
            "tags": TAGS,
        },
        outputs=(
            "arn",
            "ownerId",
            "dhcpOptionsId",
            "mainRouteTableId",
            "defaultRouteTableId",
            "defaultSecurityGroupId",
            "defaultNetworkAclId",
        ),
        create=_create_vpc,
        settle=_settle_vpc,
        read=_read_vpc,
        update=_update_vpc,
        delete=_delete_vpc,
    ),
    ResourceType(
        type_name="aws:ec2/subnet:Subnet",
        inputs={
            "vpcId": Prop(required=True, replace=True),
            "cidrBlock": Prop(required=True, replace=True),
            "availabilityZone": Prop(replace=True),
            "mapPublicIpOnLaunch": Prop(Kind.BOOLEAN, default=False),
            "tags": TAGS,
        },
        outputs=("arn", "ownerId", "availabilityZoneId"),
        create=_create_subnet,
        settle=_settle_subnet,
        read=_read_subnet,
        update=_update_subnet,
        delete=_delete_subnet,
    ),
    ResourceType(
        type_name="aws:ec2/internetGateway:InternetGateway",
        inputs={"vpcId": Prop(), "tags": TAGS},
        outputs=("arn", "ownerId"),
        create=_create_gateway,
        settle=_settle_gateway,
        read=_read_gateway,
        update=_update_gateway,
        delete=_delete_gateway,
    ),
)
