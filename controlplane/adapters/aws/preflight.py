"""Checks of the customer's account before the first resource is made.

Called by the saga's step `preflight`, which needs an active grant. Reads only. Separate so that
each check stands alone: one that cannot be answered is a warning with its reason, not a crash.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import ip_network
from typing import Any

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.checks import BOUNDARY_TAG, Check
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.adapters.aws.host import WantedHost, check_cluster, check_network
from controlplane.core.errors import ForbiddenError, RingfenceError

DENY_ALL = "AWSDenyAll"


@dataclass(frozen=True)
class Wanted:
    """What the install is going to need."""

    cidr: str
    zones: tuple[str, ...]
    bucket: str
    cluster: str
    host: WantedHost | None = None
    """Whose cluster it is; None: it gets a network and a cluster of its own."""


@dataclass(frozen=True)
class _Quota:
    service: str
    code: str
    what: str
    needed: int
    used: Callable[[Account], int]


def run_checks(account: Account, wanted: Wanted) -> list[Check]:
    """Return every check, in a fixed order; never raises for what AWS answers."""
    checks: list[tuple[str, Callable[[], Check]]] = [
        ("identity", lambda: _identity(account)),
        ("role", lambda: _role(account)),
        ("bucket", lambda: _bucket(account, wanted)),
        *_place(account, wanted),
    ]
    return [_answered(name, check) for name, check in checks]


def _place(account: Account, wanted: Wanted) -> list[tuple[str, Callable[[], Check]]]:
    """Return the checks of where it is to live: room for all of it, or a host that has it."""
    host = wanted.host
    if host is not None:
        return [
            ("host", lambda: check_cluster(account, host)),
            ("host-network", lambda: check_network(account, host)),
        ]
    return [
        ("cidr", lambda: _cidr(account, wanted)),
        ("zones", lambda: _zones(account, wanted)),
        ("cluster", lambda: _cluster(account, wanted)),
        *((f"quota.{quota.what}", _quota_check(account, quota)) for quota in _QUOTAS),
    ]


def read_pins(account: Account) -> dict[str, str]:
    """Return the key fingerprints that the customer's template pins on the closer role.

    Raises: the classes of `translated`.
    """
    name = f"ringfence-{account.target.boundary}-closer"
    with translated("iam:GetRole"):
        role = account.client("iam").get_role(RoleName=name)["Role"]
    tags = {tag["Key"]: tag["Value"] for tag in role.get("Tags", [])}
    return {
        key.removeprefix("ringfence:"): value
        for key, value in tags.items()
        if key in ("ringfence:control-plane-key", "ringfence:release-key")
    }


def _answered(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except ForbiddenError as error:
        return Check(
            name,
            "warn",
            f"not checked: {error.public_message}",
            "allow the read, or confirm this point yourself",
        )
    except RingfenceError as error:
        return Check(name, "fail", error.public_message, "repair this and run preflight again")


def _identity(account: Account) -> Check:
    with translated("sts:GetCallerIdentity"):
        caller = account.client("sts").get_caller_identity()
    wanted = account.target
    if caller["Account"] != wanted.account:
        return Check(
            "identity",
            "fail",
            f"the session belongs to account {caller['Account']}, expected {wanted.account}",
            "correct the account of the connection",
        )
    if f":assumed-role/{wanted.role_name}/" not in caller["Arn"]:
        return Check("identity", "fail", f"the caller is {caller['Arn']}", "verify the connection")
    return Check("identity", "pass", f"{wanted.role_name} in {wanted.account}, {wanted.region}")


def _role(account: Account) -> Check:
    name = account.target.role_name
    iam = account.client("iam")
    with translated("iam:ListAttachedRolePolicies"):
        attached = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
    names = [policy["PolicyName"] for policy in attached]
    if DENY_ALL in names:
        return Check("role", "fail", f"{name} carries {DENY_ALL}", "open the role with a new grant")
    return Check("role", "pass", f"{name} has {len(names)} policies and no {DENY_ALL}")


def _cidr(account: Account, wanted: Wanted) -> Check:
    block = ip_network(wanted.cidr)
    with translated("ec2:DescribeVpcs"):
        vpcs = account.client("ec2").describe_vpcs()["Vpcs"]
    for vpc in vpcs:
        tags = {tag["Key"]: tag["Value"] for tag in vpc.get("Tags", [])}
        if tags.get(BOUNDARY_TAG) == account.target.boundary:
            continue
        others = {vpc["CidrBlock"]} | {
            item["CidrBlock"] for item in vpc.get("CidrBlockAssociationSet", [])
        }
        for other in sorted(others):
            if block.overlaps(ip_network(other)):
                return Check(
                    "cidr",
                    "fail",
                    f"{wanted.cidr} overlaps {other} of {vpc['VpcId']}",
                    "choose another block for the boundary",
                )
    return Check("cidr", "pass", f"{wanted.cidr} is free among {len(vpcs)} VPCs")


def _zones(account: Account, wanted: Wanted) -> Check:
    with translated("ec2:DescribeAvailabilityZones"):
        zones = account.client("ec2").describe_availability_zones()["AvailabilityZones"]
    there = {zone["ZoneName"] for zone in zones if zone.get("State") == "available"}
    if missing := sorted(set(wanted.zones) - there):
        return Check(
            "zones",
            "fail",
            f"{', '.join(missing)} not available to this account",
            f"use two of {', '.join(sorted(there))}",
        )
    return Check("zones", "pass", f"{', '.join(wanted.zones)} available")


def _bucket(account: Account, wanted: Wanted) -> Check:
    s3 = account.client("s3")
    with translated("s3:HeadBucket"):
        try:
            s3.head_bucket(Bucket=wanted.bucket)
        except ClientError as error:
            code = error_code(error)
            if code in ("404", "NoSuchBucket", "NotFound"):
                return Check("bucket", "pass", f"{wanted.bucket} is free")
            if code == "403":
                return Check(
                    "bucket",
                    "fail",
                    f"{wanted.bucket} belongs to another account",
                    "bucket names are unique in the world: choose another boundary name",
                )
            raise
    return _found_bucket(account, s3, wanted.bucket)


def _found_bucket(account: Account, s3: Any, bucket: str) -> Check:
    with translated("s3:GetBucketTagging"):
        try:
            tag_set = s3.get_bucket_tagging(Bucket=bucket)["TagSet"]
        except ClientError as error:
            if error_code(error) != "NoSuchTagSet":
                raise
            tag_set = []
    tags = {tag["Key"]: tag["Value"] for tag in tag_set}
    if tags.get(BOUNDARY_TAG) == account.target.boundary:
        return Check("bucket", "pass", f"{bucket} is there already and belongs to the boundary")
    return Check(
        "bucket", "fail", f"{bucket} is there and is not the boundary's", "remove or rename it"
    )


def _cluster(account: Account, wanted: Wanted) -> Check:
    with translated("eks:ListClusters"):
        names = account.client("eks").list_clusters()["clusters"]
    if wanted.cluster not in names:
        return Check("cluster", "pass", f"no cluster {wanted.cluster} yet")
    with translated("eks:DescribeCluster"):
        cluster = account.client("eks").describe_cluster(name=wanted.cluster)["cluster"]
    if (cluster.get("tags") or {}).get(BOUNDARY_TAG) == account.target.boundary:
        return Check("cluster", "pass", f"{wanted.cluster} is there and belongs to the boundary")
    return Check(
        "cluster",
        "fail",
        f"a cluster {wanted.cluster} of somebody else is there",
        "remove it or rename the boundary",
    )


def _quota_check(account: Account, quota: _Quota) -> Callable[[], Check]:
    def check() -> Check:
        name = f"quota.{quota.what}"
        used = quota.used(account)
        try:
            with translated("servicequotas:GetServiceQuota"):
                answer = account.client("service-quotas").get_service_quota(
                    ServiceCode=quota.service, QuotaCode=quota.code
                )
        except RingfenceError as error:
            return Check(
                name,
                "warn",
                f"{used} in use, limit unknown: {error.public_message}",
                f"look at quota {quota.code} of {quota.service} in the console",
            )
        limit = int(answer["Quota"]["Value"])
        if used + quota.needed > limit:
            return Check(
                name,
                "fail",
                f"{used} of {limit} in use, {quota.needed} more needed",
                f"request an increase of quota {quota.code} of {quota.service}",
            )
        return Check(name, "pass", f"{used} of {limit} in use, {quota.needed} more needed")

    return check


def _count(service: str, operation: str, key: str) -> Callable[[Account], int]:
    def count(account: Account) -> int:
        with translated(f"{service}:{operation}"):
            answer = getattr(account.client(service), operation)()
        return len(answer[key])

    return count


# Codes: docs.aws.amazon.com/general/latest/gr, "Service endpoints and quotas".
_QUOTAS = (
    _Quota("vpc", "L-F678F1CE", "vpcs", 1, _count("ec2", "describe_vpcs", "Vpcs")),
    _Quota("ec2", "L-0263D0A3", "addresses", 1, _count("ec2", "describe_addresses", "Addresses")),
    _Quota("eks", "L-1194D53C", "clusters", 1, _count("eks", "list_clusters", "clusters")),
)
