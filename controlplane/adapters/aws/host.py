"""What must hold in the account before a boundary moves into another one's cluster.

Called by `preflight` in the place of the checks of room for a network and a cluster. Separate
because it looks at what is another boundary's: it reads, and the guest's role can do no more there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.checks import BOUNDARY_TAG, Check
from controlplane.adapters.aws.errors import translated
from controlplane.core.errors import NotFoundError


@dataclass(frozen=True)
class WantedHost:
    """In whose cluster a boundary is to live, and what its host's rows say of it."""

    boundary: str
    cluster: str
    cidr: str


def check_cluster(account: Account, wanted: WantedHost) -> Check:
    """See that the cluster stands, is the host's, and takes entries and callers from inside."""
    cluster = _cluster(account, wanted)
    if cluster is None:
        return Check(
            "host", "fail", f"there is no cluster {wanted.cluster}", "install the host first"
        )
    wrong = _wrong(cluster, wanted)
    if wrong:
        return Check(
            "host", "fail", f"cluster {wanted.cluster} {wrong[0]}", f"set it right: {wrong[1]}"
        )
    return Check("host", "pass", f"{wanted.cluster} stands and is the host's")


def check_network(account: Account, wanted: WantedHost) -> Check:
    """See that the cluster's network has the addresses that walls are built from."""
    cluster = _cluster(account, wanted)
    if cluster is None:
        return Check("host-network", "warn", "no cluster, so no network to look at")
    vpc_id, subnets = (cluster["resourcesVpcConfig"][key] for key in ("vpcId", "subnetIds"))
    ec2 = account.client("ec2")
    with translated("ec2:DescribeVpcs"):
        vpc = ec2.describe_vpcs(VpcIds=[vpc_id])["Vpcs"][0]
    with translated("ec2:DescribeSubnets"):
        found = ec2.describe_subnets(SubnetIds=subnets)["Subnets"]
    tags = {tag["Key"]: tag["Value"] for tag in vpc.get("Tags", [])}
    if vpc["CidrBlock"] != wanted.cidr or tags.get(BOUNDARY_TAG) != wanted.boundary:
        return Check(
            "host-network",
            "fail",
            f"{vpc_id} has {vpc['CidrBlock']} and the tag {tags.get(BOUNDARY_TAG)!r}, expected are"
            f" {wanted.cidr} and {wanted.boundary!r}",
            "look for drift of the host's install, and update it",
        )
    free = min(int(one["AvailableIpAddressCount"]) for one in found)
    if free < _ADDRESSES:
        return Check(
            "host-network",
            "fail",
            f"{free} addresses are free in a subnet of {wanted.cluster}",
            f"free {_ADDRESSES}: its pods and the runner need one each",
        )
    return Check("host-network", "pass", f"{wanted.cidr}, {len(found)} subnets, {free} free")


# Operator, agent, gateway, database, fetcher, two engines and the runner, twice while replaced.
_ADDRESSES = 16


def _cluster(account: Account, wanted: WantedHost) -> dict[str, Any] | None:
    try:
        with translated("eks:DescribeCluster"):
            found = account.client("eks").describe_cluster(name=wanted.cluster)["cluster"]
    except NotFoundError:
        return None
    cluster: dict[str, Any] = found
    return cluster


def _wrong(cluster: dict[str, Any], wanted: WantedHost) -> tuple[str, str] | None:
    """Return what is not as it must be, and what it must be."""
    owner = (cluster.get("tags") or {}).get(BOUNDARY_TAG)
    if owner != wanted.boundary:
        return f"has the tag {owner!r}", f"it must be {wanted.boundary!r}"
    if cluster["status"] != "ACTIVE":
        return f"is {cluster['status']}", "it must be ACTIVE"
    if not cluster["resourcesVpcConfig"]["endpointPrivateAccess"]:
        return "has no private endpoint", "switch private access on"
    mode = cluster.get("accessConfig", {}).get("authenticationMode", "API")
    if mode != "API":
        return f"has the authentication mode {mode}", "it must be API"
    return None
