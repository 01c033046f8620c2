"""Route table, route, association and VPC endpoint."""

import zlib

from sandbox.aws_provider.cloud import Cloud
from sandbox.aws_provider.schema import Kind, Prop, Properties, ResourceType
from sandbox.aws_provider.types.ec2_network import delete, describe, tags_updater
from sandbox.aws_provider.types.tagging import TAGS, ec2_specification, from_pairs

# --- Route table ---

_TABLE_GONE = ("InvalidRouteTableID.NotFound", "InvalidRouteTableId.Malformed")


def _find_table(cloud: Cloud, id_: str) -> Properties | None:
    return describe(cloud, "DescribeRouteTables", "RouteTables", _TABLE_GONE, RouteTableIds=[id_])


def _create_table(cloud: Cloud, inputs: Properties) -> str:
    tags = ec2_specification("route-table", inputs)
    made = cloud.call("ec2", "CreateRouteTable", VpcId=inputs["vpcId"], TagSpecifications=tags)
    return str(made["RouteTable"]["RouteTableId"])


def _read_table(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    table = _find_table(cloud, id_)
    if table is None:
        return None
    return {
        "vpcId": table["VpcId"],
        "tags": from_pairs(table.get("Tags")),
        "arn": cloud.arn("ec2", f"route-table/{id_}"),
        "ownerId": cloud.account,
    }


def _delete_table(cloud: Cloud, id_: str, known: Properties) -> None:
    delete(cloud, "DeleteRouteTable", _TABLE_GONE, RouteTableId=id_)


# --- Route ---

_TARGETS = {"gatewayId": "GatewayId", "natGatewayId": "NatGatewayId"}


def _route_parameters(inputs: Properties) -> Properties:
    targets = {api: inputs.get(name) for name, api in _TARGETS.items()}
    return {
        "RouteTableId": inputs["routeTableId"],
        "DestinationCidrBlock": inputs["destinationCidrBlock"],
        **targets,
    }


def _create_route(cloud: Cloud, inputs: Properties) -> str:
    # A gateway made a moment ago may not be visible to the routing service yet.
    lag = ("InvalidGatewayID.NotFound", "InvalidNatGatewayID.NotFound")
    parameters = _route_parameters(inputs)
    cloud.retry(lag, 60, lambda: cloud.call("ec2", "CreateRoute", **parameters))
    # The official provider's id: the table and a checksum of the destination.
    checksum = zlib.crc32(inputs["destinationCidrBlock"].encode())
    return f"r-{inputs['routeTableId']}{checksum}"


def _read_route(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    table_id, destination = _route_key(id_, known)
    table = _find_table(cloud, table_id)
    for route in (table or {}).get("Routes", []):
        if route.get("DestinationCidrBlock") == destination:
            return {
                "routeTableId": table_id,
                "destinationCidrBlock": destination,
                "gatewayId": route.get("GatewayId"),
                "natGatewayId": route.get("NatGatewayId"),
                "origin": route.get("Origin"),
                "state": route.get("State"),
            }
    return None


def _route_key(id_: str, known: Properties) -> tuple[str, str]:
    """Return table and destination, from the state or from an import id `TABLE_DESTINATION`."""
    if "routeTableId" in known:
        return known["routeTableId"], known["destinationCidrBlock"]
    table_id, _, destination = id_.partition("_")
    return table_id, destination


def _update_route(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    cloud.call("ec2", "ReplaceRoute", **_route_parameters(new))


def _delete_route(cloud: Cloud, id_: str, known: Properties) -> None:
    table_id, destination = _route_key(id_, known)
    gone = (*_TABLE_GONE, "InvalidRoute.NotFound")
    ids = {"RouteTableId": table_id, "DestinationCidrBlock": destination}
    cloud.find("ec2", "DeleteRoute", gone, **ids)


# --- Association ---

_ASSOCIATION_GONE = ("InvalidAssociationID.NotFound",)


def _create_association(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "ec2",
        "AssociateRouteTable",
        RouteTableId=inputs["routeTableId"],
        SubnetId=inputs["subnetId"],
    )
    return str(made["AssociationId"])


def _read_association(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    wanted = {"Name": "association.route-table-association-id", "Values": [id_]}
    table = describe(cloud, "DescribeRouteTables", "RouteTables", (), Filters=[wanted])
    for association in (table or {}).get("Associations", []):
        if association["RouteTableAssociationId"] == id_:
            return {
                "routeTableId": association["RouteTableId"],
                "subnetId": association.get("SubnetId"),
            }
    return None


def _delete_association(cloud: Cloud, id_: str, known: Properties) -> None:
    cloud.find("ec2", "DisassociateRouteTable", _ASSOCIATION_GONE, AssociationId=id_)


# --- VPC endpoint ---

_ENDPOINT_GONE = ("InvalidVpcEndpointId.NotFound",)


def _create_endpoint(cloud: Cloud, inputs: Properties) -> str:
    made = cloud.call(
        "ec2",
        "CreateVpcEndpoint",
        VpcId=inputs["vpcId"],
        ServiceName=inputs["serviceName"],
        VpcEndpointType=inputs["vpcEndpointType"],
        RouteTableIds=inputs.get("routeTableIds"),
        PolicyDocument=inputs.get("policy"),
        TagSpecifications=ec2_specification("vpc-endpoint", inputs),
    )
    return str(made["VpcEndpoint"]["VpcEndpointId"])


def _find_endpoint(cloud: Cloud, id_: str) -> Properties | None:
    return describe(
        cloud, "DescribeVpcEndpoints", "VpcEndpoints", _ENDPOINT_GONE, VpcEndpointIds=[id_]
    )


def _settle_endpoint(cloud: Cloud, id_: str, inputs: Properties) -> None:
    def state() -> str:
        found = _find_endpoint(cloud, id_)
        return str(found["State"]).lower() if found else "not visible yet"

    failed = ("failed", "rejected", "expired", "deleted", "deleting")
    cloud.wait(f"VPC endpoint {id_}", state, ready=("available",), failed=failed, seconds=900)


def _read_endpoint(cloud: Cloud, id_: str, known: Properties) -> Properties | None:
    endpoint = _find_endpoint(cloud, id_)
    if endpoint is None or str(endpoint["State"]).lower() in ("deleting", "deleted"):
        return None
    name = {"Name": "prefix-list-name", "Values": [endpoint["ServiceName"]]}
    prefixes = describe(cloud, "DescribePrefixLists", "PrefixLists", (), Filters=[name])
    return {
        "vpcId": endpoint["VpcId"],
        "serviceName": endpoint["ServiceName"],
        "vpcEndpointType": endpoint["VpcEndpointType"],
        "routeTableIds": list(endpoint.get("RouteTableIds") or []),
        "policy": endpoint.get("PolicyDocument") or known.get("policy"),
        "tags": from_pairs(endpoint.get("Tags")),
        "arn": cloud.arn("ec2", f"vpc-endpoint/{id_}"),
        "ownerId": cloud.account,
        "prefixListId": (prefixes or {}).get("PrefixListId"),
        "state": str(endpoint["State"]).lower(),
    }


def _update_endpoint(cloud: Cloud, id_: str, new: Properties, changed: frozenset[str]) -> None:
    live = _read_endpoint(cloud, id_, new) or {}
    wanted, present = set(new.get("routeTableIds") or []), set(live.get("routeTableIds") or [])
    if wanted != present or "policy" in changed:
        cloud.call(
            "ec2",
            "ModifyVpcEndpoint",
            VpcEndpointId=id_,
            AddRouteTableIds=sorted(wanted - present) or None,
            RemoveRouteTableIds=sorted(present - wanted) or None,
            PolicyDocument=new.get("policy") if "policy" in changed else None,
        )
    tags_updater(_read_endpoint)(cloud, id_, new, changed)


def _delete_endpoint(cloud: Cloud, id_: str, known: Properties) -> None:
    def state() -> str:
        found = _find_endpoint(cloud, id_)
        return str(found["State"]).lower() if found else "deleted"

    cloud.find("ec2", "DeleteVpcEndpoints", _ENDPOINT_GONE, VpcEndpointIds=[id_])
    cloud.wait(f"VPC endpoint {id_}", state, ready=("deleted",), seconds=900)


ENTRIES = (
    ResourceType(
        type_name="aws:ec2/routeTable:RouteTable",
        inputs={"vpcId": Prop(required=True, replace=True), "tags": TAGS},
        outputs=("arn", "ownerId"),
        create=_create_table,
        read=_read_table,
        update=tags_updater(_read_table),
        delete=_delete_table,
    ),
    ResourceType(
        type_name="aws:ec2/route:Route",
        inputs={
            "routeTableId": Prop(required=True, replace=True),
            "destinationCidrBlock": Prop(required=True, replace=True),
            "gatewayId": Prop(),
            "natGatewayId": Prop(),
        },
        outputs=("origin", "state"),
        create=_create_route,
        read=_read_route,
        update=_update_route,
        delete=_delete_route,
        named=True,
    ),
    ResourceType(
        type_name="aws:ec2/routeTableAssociation:RouteTableAssociation",
        inputs={
            "routeTableId": Prop(required=True, replace=True),
            "subnetId": Prop(required=True, replace=True),
        },
        outputs=(),
        create=_create_association,
        read=_read_association,
        delete=_delete_association,
        named=True,
    ),
    ResourceType(
        type_name="aws:ec2/vpcEndpoint:VpcEndpoint",
        inputs={
            "vpcId": Prop(required=True, replace=True),
            "serviceName": Prop(required=True, replace=True),
            "vpcEndpointType": Prop(replace=True, default="Gateway"),
            "routeTableIds": Prop(Kind.SET),
            "policy": Prop(Kind.JSON),
            "tags": TAGS,
        },
        outputs=("arn", "ownerId", "prefixListId", "state"),
        create=_create_endpoint,
        settle=_settle_endpoint,
        read=_read_endpoint,
        update=_update_endpoint,
        delete=_delete_endpoint,
    ),
)
