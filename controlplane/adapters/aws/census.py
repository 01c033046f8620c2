"""The residue census: what of ours is left in the account while we can still read it.

Called by the saga's step `census`, the first of the close (decision 4). Each item is expected, with
the reason, or a finding. Separate because it has to look at the account, not at our own state:
what a crashed or a dishonest run left behind is in no state of ours.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from controlplane.adapters.aws.account import Account
from controlplane.adapters.aws.errors import error_code, translated
from controlplane.core.errors import NotFoundError
from wire.certificate import ResidueItem


@dataclass(frozen=True)
class Footprint:
    """Where to look; None for what the install never made."""

    cluster: str | None
    bucket: str | None
    key_arn: str | None
    vendor_account: str
    system_namespace: str = "ringfence-system"
    """Where the agent runs."""
    is_guest: bool = False
    """Whether the cluster is another boundary's."""
    guests: tuple[str, ...] = ()
    """Who else may live in the boundary's cluster."""


def take(account: Account, footprint: Footprint) -> list[ResidueItem]:
    """Return every trace of ours, sorted by kind and name. Raises: the classes of `translated`."""
    items = _roles(account)
    if footprint.cluster:
        items += _access_entries(account, footprint.cluster, footprint)
        items += _pod_identities(account, footprint.cluster, footprint)
    if footprint.key_arn:
        items += _key_grants(account, footprint)
    if footprint.bucket:
        items += _bucket_policy(account, footprint.bucket)
    return sorted(items, key=lambda item: (item.kind, item.name))


def has_cluster(account: Account, name: str) -> bool:
    """Tell whether a cluster is there: what ran in it speaks no more when it is not."""
    try:
        with translated("eks:DescribeCluster"):
            account.client("eks").describe_cluster(name=name)
    except NotFoundError:
        return False
    return True


def _item(kind: str, name: str, expected: bool, reason: str) -> ResidueItem:
    return ResidueItem(kind=kind, name=name, expected=expected, reason=reason)


def _roles(account: Account) -> list[ResidueItem]:
    target = account.target
    ours, pods = f"ringfence-{target.boundary}-g", f"/ringfence/{target.boundary}/"
    items: list[ResidueItem] = []
    with translated("iam:ListRoles"):
        pages = account.client("iam").get_paginator("list_roles").paginate()
        roles = [role for page in pages for role in page["Roles"]]
    for role in roles:
        name, path = role["RoleName"], role["Path"]
        if name == target.role_name:
            items.append(_item("role", name, True, "this grant's role; the closer deletes it"))
        elif name.startswith(ours):
            items.append(_item("role", name, False, "the role of an earlier grant is still there"))
        elif path == pods:
            items.append(_pod_role(account, name))
    return items


def _pod_role(account: Account, name: str) -> ResidueItem:
    with translated("iam:GetRole"):
        role = account.client("iam").get_role(RoleName=name)["Role"]
    bound = role.get("PermissionsBoundary", {}).get("PermissionsBoundaryArn", "")
    wanted = f":policy/ringfence-{account.target.boundary}-boundary"
    if not bound.endswith(wanted):
        return _item("role", name, False, "made by us without the customer's permissions boundary")
    outside = _foreign(role["AssumeRolePolicyDocument"], account.target.account)
    if outside:
        return _item("role", name, False, f"may be assumed from outside: {', '.join(outside)}")
    if name.removesuffix("-execution") == f"ringfence-{account.target.boundary}-runner":
        return _item("role", name, True, "the runner's; it goes when the way in is shut")
    return _item("role", name, True, "part of the stack, under the permissions boundary")


def _access_entries(account: Account, cluster: str, footprint: Footprint) -> list[ResidueItem]:
    with translated("eks:ListAccessEntries"):
        entries = account.client("eks").list_access_entries(clusterName=cluster)["accessEntries"]
    target = account.target
    items: list[ResidueItem] = []
    for principal in entries:
        name = principal.rsplit("/", 1)[-1]
        if name == target.role_name:
            reason = "this grant's way in; the next step removes it"
            items.append(_item("access-entry", principal, True, reason))
        elif name == f"ringfence-{target.boundary}-runner":
            reason = "the runner's way in; the next step removes it"
            items.append(_item("access-entry", principal, True, reason))
        elif f"/ringfence/{target.boundary}/" in principal:
            reason = "role of the stack's own nodes and pods"
            items.append(_item("access-entry", principal, True, reason))
        elif name.startswith(f"ringfence-{target.boundary}-g"):
            reason = "the way in of an earlier grant is still there"
            items.append(_item("access-entry", principal, False, reason))
        elif footprint.is_guest:
            # The host's and other guests': theirs to account for.
            continue
        elif name in {f"ringfence-{guest}-runner" for guest in footprint.guests}:
            reason = "the way in of a guest's run, as a member of its one group"
            items.append(_item("access-entry", principal, True, reason))
        else:
            reason = "not made by this install"
            items.append(_item("access-entry", principal, False, reason))
    return items


def _pod_identities(account: Account, cluster: str, footprint: Footprint) -> list[ResidueItem]:
    with translated("eks:ListPodIdentityAssociations"):
        found = account.client("eks").list_pod_identity_associations(clusterName=cluster)
    known = {
        (footprint.system_namespace, "agent"): "the agent, with the customer's closer role",
        (f"boundary-{account.target.boundary}", "fetcher"): "the artifact fetcher",
    }
    for guest in footprint.guests:
        known[f"ringfence-system-{guest}", "agent"] = f"the agent of guest {guest}"
        known[f"boundary-{guest}", "fetcher"] = f"the artifact fetcher of guest {guest}"
    items: list[ResidueItem] = []
    for one in found["associations"]:
        place = (one["namespace"], one["serviceAccount"])
        if footprint.is_guest and place not in known:
            continue
        reason = known.get(place, "a pod identity that the blueprint does not make")
        items.append(_item("pod-identity", "/".join(place), place in known, reason))
    return items


def _key_grants(account: Account, footprint: Footprint) -> list[ResidueItem]:
    with translated("kms:ListGrants"):
        grants = account.client("kms").list_grants(KeyId=footprint.key_arn)["Grants"]
    items: list[ResidueItem] = []
    for grant in grants:
        grantee = str(grant.get("GranteePrincipal", ""))
        inside = f"/ringfence/{account.target.boundary}/" in grantee or grantee.endswith(
            ".amazonaws.com"
        )
        bad = footprint.vendor_account in grantee or account.target.role_name in grantee
        reason = (
            "for the cluster and AWS's own services"
            if inside and not bad
            else f"lets {grantee} use the key"
        )
        items.append(_item("kms-grant", grant["GrantId"], inside and not bad, reason))
    return items


def _bucket_policy(account: Account, bucket: str) -> list[ResidueItem]:
    with translated("s3:GetBucketPolicy"):
        try:
            text = account.client("s3").get_bucket_policy(Bucket=bucket)["Policy"]
        except ClientError as error:
            if error_code(error) in ("NoSuchBucketPolicy", "NoSuchBucket"):
                return []
            raise
    outside = _foreign(json.loads(text), account.target.account)
    if outside:
        reason = f"lets {', '.join(outside)} in"
        return [_item("bucket-policy", bucket, False, reason)]
    return [_item("bucket-policy", bucket, True, "lets nobody in from outside the account")]


def _foreign(document: dict[str, Any], account: str) -> list[str]:
    """Return the principals of other accounts that a resource policy allows."""
    statements = document.get("Statement", [])
    found: set[str] = set()
    for statement in statements if isinstance(statements, list) else [statements]:
        if statement.get("Effect") != "Allow":
            continue
        principal = statement.get("Principal", {})
        named = principal.get("AWS", []) if isinstance(principal, dict) else principal
        for one in named if isinstance(named, list) else [named]:
            if one != account and f":{account}:" not in one:
                found.add(one)
    return sorted(found)
