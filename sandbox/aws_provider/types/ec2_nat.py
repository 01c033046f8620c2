"""Elastic address and NAT gateway."""

from sandbox.aws_provider.cloud import Cloud
from sandbox.aws_provider.schema import Prop, Properties, ResourceType
from sandbox.aws_provider.types.ec2_network import delete, describe, tags_updater
from sandbox.aws_provider.types.tagging import TAGS, ec2_specification, from_pairs

# --- Elastic address ---

_ADDRESS_GONE = ("InvalidAllocationID.NotFound",)


def _create_address(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "ec2",
        "AllocateAddress",
        Domain=inputs["domain"],
        TagSpecifications=ec2_specification("elastic-ip", inputs),
    )
    return str(made["AllocationId"])


def _read_address(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    address = describe(cloud, "DescribeAddresses", "Addresses", _ADDRESS_GONE, AllocationIds=[id_])
    if address is None:
        return None
    return {
        "domain": address["Domain"],
        "tags": from_pairs(address.get("Tags")),
        "allocationId": id_,
        "arn": cloud.arn("ec2", f"elastic-ip/{id_}"),
        "associationId": address.get("AssociationId") or "",
        "publicIp": address["PublicIp"],
    }


def _delete_address(cloud: Cloud, id_: str, known: Properties) -> None:
    delete(cloud, "ReleaseAddress", _ADDRESS_GONE, AllocationId=id_)


# --- NAT gateway ---

_NAT_GONE = ("NatGatewayNotFound",)


def _create_nat(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "ec2",
        "CreateNatGateway",
        SubnetId=inputs["subnetId"],
        AllocationId=inputs.get("allocationId"),
        ConnectivityType=inputs["connectivityType"],
        TagSpecifications=ec2_specification("natgateway", inputs),
    )
    return str(made["NatGateway"]["NatGatewayId"])


def _find_nat(cloud: Cloud, id_: str) -> Properties | None:
    return describe(cloud, "DescribeNatGateways", "NatGateways", _NAT_GONE, NatGatewayIds=[id_])


def _settle_nat(cloud: Cloud, id_: str, inputs: Properties) -> None:
    def state() -> str:
        found = _find_nat(cloud, id_)
        return str(found["State"]) if found else "not visible yet"

    failed = ("failed", "deleting", "deleted")
    cloud.wait(f"NAT gateway {id_}", state, ready=("available",), failed=failed)


def _read_nat(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    nat = _find_nat(cloud, id_)
    if nat is None or nat["State"] in ("deleting", "deleted"):
        return None
    address = (nat.get("NatGatewayAddresses") or [{}])[0]
    return {
        "subnetId": nat["SubnetId"],
        "allocationId": address.get("AllocationId"),
        "connectivityType": nat.get("ConnectivityType", "public"),
        "tags": from_pairs(nat.get("Tags")),
        "publicIp": address.get("PublicIp"),
        "privateIp": address.get("PrivateIp"),
        "networkInterfaceId": address.get("NetworkInterfaceId"),
    }


def _delete_nat(cloud: Cloud, id_: str, known: Properties) -> None:
    def state() -> str:
        found = _find_nat(cloud, id_)
        return str(found["State"]) if found else "deleted"

    if state() not in ("deleting", "deleted"):
        cloud.find("ec2", "DeleteNatGateway", _NAT_GONE, NatGatewayId=id_)
    cloud.wait(f"NAT gateway {id_}", state, ready=("deleted",), failed=("failed",))


ENTRIES = (
    ResourceType(
        type_name="aws:ec2/eip:Eip",
        inputs={"domain": Prop(replace=True, default="vpc"), "tags": TAGS},
        outputs=("allocationId", "arn", "associationId", "publicIp"),
        create=_create_address,
        read=_read_address,
        update=tags_updater(_read_address),
        delete=_delete_address,
    ),
    ResourceType(
        type_name="aws:ec2/natGateway:NatGateway",
        inputs={
            "subnetId": Prop(required=True, replace=True),
            "allocationId": Prop(replace=True),
            "connectivityType": Prop(replace=True, default="public"),
            "tags": TAGS,
        },
        outputs=("publicIp", "privateIp", "networkInterfaceId"),
        create=_create_nat,
        settle=_settle_nat,
        read=_read_nat,
        update=tags_updater(_read_nat),
        delete=_delete_nat,
    ),
)
