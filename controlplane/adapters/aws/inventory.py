"""All of a boundary that the account holds: what a removal must leave empty.

Called by the steps `inventory` and `census` of a removal. It looks at the account by tag, name and
path, not at our own state: what a crashed or a dishonest run made is in no state of ours. Separate
from `census`, which looks for ways in after an install; this one looks for anything at all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.core.errors import NotFoundError
from wire.certificate import ResidueItem

BOUNDARY_TAG = "ringfence:boundary"
# Kind, operation of EC2, list in the answer, id of an item.
_NETWORK = (
    ("vpc", "describe_vpcs", "Vpcs", "VpcId"),
    ("subnet", "describe_subnets", "Subnets", "SubnetId"),
    ("route-table", "describe_route_tables", "RouteTables", "RouteTableId"),
    ("internet-gateway", "describe_internet_gateways", "InternetGateways", "InternetGatewayId"),
    ("elastic-ip", "describe_addresses", "Addresses", "AllocationId"),
    ("nat-gateway", "describe_nat_gateways", "NatGateways", "NatGatewayId"),
    ("vpc-endpoint", "describe_vpc_endpoints", "VpcEndpoints", "VpcEndpointId"),
    ("security-group", "describe_security_groups", "SecurityGroups", "GroupId"),
)
# A gateway that was deleted is listed for about an hour (EC2 API reference, DeleteNatGateway).
_GONE = frozenset({"deleted", "deleting"})


def take(
    account: Account, retained: Mapping[str, str], host: str | None = None, *, images: bool = False
) -> list[ResidueItem]:
    """Return what is left, sorted by kind and name.

    Shapes: `retained` is the cloud's id to the reason why it stays; `host` is the name of another
    boundary's cluster in which this one lived; with `images` the boundary has repositories, and its
    role may look for them. Raises: the classes of `translated`.
    """
    in_cluster = _cluster(account) if host is None else _in_host(account, host)
    items = [*_network(account), *in_cluster, *_roles(account)]
    items += [_judged("bucket", name, retained) for name in _buckets(account)]
    items += [_judged("kms-alias", name, retained) for name in _aliases(account)]
    if images:
        items += [_left("image-repository", name) for name in _repositories(account)]
    return sorted(items, key=lambda item: (item.kind, item.name))


def _judged(kind: str, name: str, retained: Mapping[str, str]) -> ResidueItem:
    reason = retained.get(name)
    return ResidueItem(
        kind=kind,
        name=name,
        expected=reason is not None,
        reason=reason or "still there after the removal",
    )


def _left(kind: str, name: str) -> ResidueItem:
    return _judged(kind, name, {})


def _repositories(account: Account) -> Iterator[str]:
    prefix = f"ringfence/{account.target.boundary}/"
    with translated("ecr:DescribeRepositories"):
        pages = account.client("ecr").get_paginator("describe_repositories").paginate()
        found = [one["repositoryName"] for page in pages for one in page["repositories"]]
    yield from (name for name in found if name.startswith(prefix))


def _network(account: Account) -> Iterator[ResidueItem]:
    wanted = [{"Name": f"tag:{BOUNDARY_TAG}", "Values": [account.target.boundary]}]
    ec2 = account.client("ec2")
    for kind, operation, listed, identifier in _NETWORK:
        call: Callable[..., dict[str, Any]] = getattr(ec2, operation)
        with translated(f"ec2:{operation}"):
            found = call(Filters=wanted)[listed]
        yield from (
            _left(kind, item[identifier])
            for item in found
            # Looked at once more: another boundary's object is nothing of this one's.
            if {"Key": BOUNDARY_TAG, "Value": account.target.boundary} in item.get("Tags", [])
            and str(item.get("State", "")).lower() not in _GONE
        )


def _cluster(account: Account) -> list[ResidueItem]:
    name = f"ringfence-{account.target.boundary}"
    with translated("eks:DescribeCluster"):
        try:
            account.client("eks").describe_cluster(name=name)
        except ClientError as error:
            if error_code(error) != "ResourceNotFoundException":
                raise
            return []
    return [_left("cluster", name)]


def _in_host(account: Account, cluster: str) -> Iterator[ResidueItem]:
    """Look for what a guest may have in its host's cluster as EKS has it."""
    boundary, eks = account.target.boundary, account.client("eks")
    try:
        with translated("eks:ListPodIdentityAssociations"):
            found = eks.list_pod_identity_associations(clusterName=cluster)["associations"]
        with translated("eks:ListAccessEntries"):
            entries = eks.list_access_entries(clusterName=cluster)["accessEntries"]
    except NotFoundError:
        return
    ours = (f"ringfence-system-{boundary}", f"boundary-{boundary}")
    for one in found:
        if one["namespace"] in ours:
            yield _left("pod-identity", f"{one['namespace']}/{one['serviceAccount']}")
    for principal in entries:
        if principal.endswith(f"/ringfence-{boundary}-runner"):
            reason = "the runner's way in; a later step removes it"
            yield ResidueItem(kind="access-entry", name=principal, expected=True, reason=reason)


def _roles(account: Account) -> Iterator[ResidueItem]:
    target = account.target
    with translated("iam:ListRoles"):
        pages = account.client("iam").get_paginator("list_roles").paginate()
        roles = [role for page in pages for role in page["Roles"]]
    earlier, pods = f"ringfence-{target.boundary}-g", f"/ringfence/{target.boundary}/"
    for role in roles:
        name = role["RoleName"]
        if name == target.role_name:
            reason = "this grant's role; it ends with the access"
            yield ResidueItem(kind="role", name=name, expected=True, reason=reason)
        elif name.removesuffix("-execution") == f"ringfence-{target.boundary}-runner":
            reason = "the runner's; it goes when the way in is shut"
            yield ResidueItem(kind="role", name=name, expected=True, reason=reason)
        elif name.startswith(earlier) or role["Path"] == pods:
            yield _left("role", name)


def _buckets(account: Account) -> list[str]:
    prefix = f"ringfence-{account.target.boundary}-{account.target.account}-"
    with translated("s3:ListBuckets"):
        found = account.client("s3").list_buckets()["Buckets"]
    return [bucket["Name"] for bucket in found if bucket["Name"].startswith(prefix)]


def _aliases(account: Account) -> list[str]:
    wanted = f"alias/ringfence-{account.target.boundary}"
    with translated("kms:ListAliases"):
        pages = account.client("kms").get_paginator("list_aliases").paginate()
        found = [alias["AliasName"] for page in pages for alias in page["Aliases"]]
    return [alias for alias in found if alias == wanted]
