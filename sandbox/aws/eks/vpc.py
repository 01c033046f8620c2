"""The network side of an EKS cluster: subnets, and who may reach its endpoint.

Called by the EKS service when a cluster is created and when its endpoint's access changes.
"""

from __future__ import annotations

import ipaddress
import uuid
from typing import Any

from sandbox.aws.eks.state import bad_parameter
from sandbox.aws.messages import Call
from sandbox.aws.moto_store import backend


def check_endpoint(vpc: dict[str, Any]) -> None:
    """Refuse endpoint settings that EKS refuses."""
    if not vpc["endpointPublicAccess"] and not vpc["endpointPrivateAccess"]:
        raise bad_parameter("Private and public endpoint access cannot both be disabled")
    for one in vpc["publicAccessCidrs"]:
        try:
            ipaddress.ip_network(one)
        except ValueError as exc:
            raise bad_parameter(f"publicAccessCidrs: {one} is not a CIDR") from exc


def vpc_config(call: Call, given: dict[str, Any]) -> dict[str, Any]:
    """Check subnets and fill in defaults."""
    subnets = given.get("subnetIds") or []
    if len(subnets) < 2:
        raise bad_parameter("Subnets specified must be in at least two different AZs")
    store = backend("ec2", call.account, call.region)
    known = {one.id: one for zone in store.subnets.values() for one in zone.values()}
    missing = [one for one in subnets if one not in known]
    if missing:
        raise bad_parameter(f"The subnet ID '{missing[0]}' does not exist")
    if len({known[one].availability_zone for one in subnets}) < 2:
        raise bad_parameter("Subnets specified must be in at least two different AZs")
    config = {
        "subnetIds": subnets,
        "securityGroupIds": given.get("securityGroupIds") or [],
        "clusterSecurityGroupId": f"sg-{uuid.uuid4().hex[:17]}",
        "vpcId": known[subnets[0]].vpc_id,
        "endpointPublicAccess": given.get("endpointPublicAccess", True),
        "endpointPrivateAccess": given.get("endpointPrivateAccess", False),
        "publicAccessCidrs": given.get("publicAccessCidrs") or ["0.0.0.0/0"],
    }
    check_endpoint(config)
    return config
