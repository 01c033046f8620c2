"""EKS and EKS Auth operations, with the roles they pass.

Source: https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonelastickubernetesservice.html
"""

from __future__ import annotations

from sandbox.aws.messages import Call
from sandbox.aws.operations.checks import Asks, Check, ContextValues, on_anything, request_tags
from sandbox.aws.operations.iam import role_tags
from sandbox.aws.operations.kms import key_check

_ON_CLUSTER = (
    "DescribeCluster", "DeleteCluster", "UpdateClusterConfig", "UpdateClusterVersion",
    "ListNodegroups", "ListAddons", "ListAccessEntries", "ListPodIdentityAssociations",
    "ListUpdates", "DescribeUpdate",
)  # fmt: skip
_ON_ENTRY = (
    "DescribeAccessEntry", "DeleteAccessEntry", "UpdateAccessEntry", "AssociateAccessPolicy",
    "DisassociateAccessPolicy", "ListAssociatedAccessPolicies",
)  # fmt: skip
_ON_NODEGROUP = ("DescribeNodegroup", "DeleteNodegroup", "UpdateNodegroupConfig")
_ON_ADDON = ("DescribeAddon", "DeleteAddon", "UpdateAddon")
_ON_ASSOCIATION = (
    "DescribePodIdentityAssociation", "DeletePodIdentityAssociation",
    "UpdatePodIdentityAssociation",
)  # fmt: skip
_TAGGING = ("TagResource", "UntagResource", "ListTagsForResource")


def eks_arn(call: Call, kind: str, *parts: str) -> str:
    """Give the ARN of an EKS resource of the caller's account."""
    return f"arn:aws:eks:{call.region}:{call.account}:{kind}/{'/'.join(parts)}"


def _cluster(call: Call) -> str:
    """Name the cluster of a call: EKS uses `name` or `clusterName`."""
    return str(call.params.get("clusterName") or call.params.get("name") or "")


def _check(call: Call, kind: str, *parts: str) -> Check:
    """Make the check of the operation itself on a resource, with the request's tags."""
    tags = request_tags(dict(call.params.get("tags") or {}))
    return Check(f"eks:{call.operation}", eks_arn(call, kind, *parts), tags)


def _tagged(call: Call, *checks: Check) -> list[Check]:
    """Add the check for tagging at creation."""
    tags = request_tags(dict(call.params.get("tags") or {}))
    first = checks[0]
    extra = [Check("eks:TagResource", first.resource, tags)] if tags else []
    return [*checks, *extra]


def pass_role(call: Call, arn: str, service: str) -> Check:
    """Ask for passing a role to a service."""
    name = arn.rpartition("/")[2]
    tags = {f"aws:ResourceTag/{k}": v for k, v in role_tags(call.account, name).items()}
    return Check("iam:PassRole", arn, {"iam:PassedToService": service, **tags})


def _on_cluster(call: Call) -> list[Check]:
    """Ask for an operation on one cluster."""
    return [_check(call, "cluster", _cluster(call))]


def _create_cluster(call: Call) -> list[Check]:
    """Ask for a cluster, its role and a grant on its key."""
    checks = [
        _check(call, "cluster", _cluster(call)),
        pass_role(call, str(call.params.get("roleArn", "")), "eks.amazonaws.com"),
    ]
    for one in call.params.get("encryptionConfig") or []:
        key = str(one.get("provider", {}).get("keyArn", ""))
        checks.append(key_check(call, "kms:DescribeKey", key, {}))
        grant = {"kms:GrantIsForAWSResource": "true", "kms:ViaService": f"eks.{call.region}"}
        checks.append(key_check(call, "kms:CreateGrant", key, dict(grant)))
    return _tagged(call, *checks)


def _create_nodegroup(call: Call) -> list[Check]:
    """Ask for a node group and its node role."""
    role = pass_role(call, str(call.params.get("nodeRole", "")), "ec2.amazonaws.com")
    cluster = _check(call, "cluster", _cluster(call))
    group = eks_arn(call, "nodegroup", _cluster(call), str(call.params.get("nodegroupName")), "*")
    tags = request_tags(dict(call.params.get("tags") or {}))
    extra = [Check("eks:TagResource", group, tags)] if tags else []
    return [cluster, role, *extra]


def _create_addon(call: Call) -> list[Check]:
    """Ask for an add-on, and its role where one is given."""
    checks = [_check(call, "cluster", _cluster(call))]
    if call.params.get("serviceAccountRoleArn"):
        role = str(call.params["serviceAccountRoleArn"])
        checks.append(pass_role(call, role, "eks.amazonaws.com"))
    addon = eks_arn(call, "addon", _cluster(call), str(call.params.get("addonName")), "*")
    tags = request_tags(dict(call.params.get("tags") or {}))
    extra = [Check("eks:TagResource", addon, tags)] if tags else []
    return [*checks, *extra]


def _create_association(call: Call) -> list[Check]:
    """Ask for a pod identity association and its role."""
    checks = [
        _check(call, "cluster", _cluster(call)),
        pass_role(call, str(call.params.get("roleArn", "")), "pods.eks.amazonaws.com"),
    ]
    tags = request_tags(dict(call.params.get("tags") or {}))
    if tags:
        arn = eks_arn(call, "podidentityassociation", _cluster(call), "*")
        checks.append(Check("eks:TagResource", arn, tags))
    return checks


def _create_entry(call: Call) -> list[Check]:
    """Ask for an entry: for whom, as what, in which groups and under which name."""
    params, check = call.params, _check(call, "cluster", _cluster(call))
    context: ContextValues = {
        **check.context,
        "eks:principalArn": str(params.get("principalArn", "")),
        "eks:accessEntryType": str(params.get("type") or "STANDARD"),
    }
    if params.get("kubernetesGroups"):
        context["eks:kubernetesGroups"] = [str(one) for one in params["kubernetesGroups"]]
    if params.get("username"):
        context["eks:username"] = str(params["username"])
    return [Check(check.action, check.resource, context)]


def _on_entry(call: Call) -> list[Check]:
    """Ask for an operation on one access entry."""
    principal = str(call.params.get("principalArn", ""))
    kind, _, name = principal.rpartition(":")[2].partition("/")
    name = name.rpartition("/")[2]  # as in the ARN that the entry is shown with
    return [_check(call, "access-entry", _cluster(call), kind, call.account, name, "*")]


def _on_nodegroup(call: Call) -> list[Check]:
    """Ask for an operation on one node group."""
    return [_check(call, "nodegroup", _cluster(call), str(call.params["nodegroupName"]), "*")]


def _on_addon(call: Call) -> list[Check]:
    """Ask for an operation on one add-on."""
    return [_check(call, "addon", _cluster(call), str(call.params["addonName"]), "*")]


def _on_association(call: Call) -> list[Check]:
    """Ask for an operation on one pod identity association."""
    identifier = str(call.params["associationId"])
    checks = [_check(call, "podidentityassociation", _cluster(call), identifier)]
    if call.params.get("roleArn"):
        checks.append(pass_role(call, str(call.params["roleArn"]), "pods.eks.amazonaws.com"))
    return checks


def _tagging(call: Call) -> list[Check]:
    """Ask for reading or changing the tags of any EKS resource."""
    context = request_tags(dict(call.params.get("tags") or {}))
    if "tagKeys" in call.params:
        keys = call.params["tagKeys"]
        context["aws:TagKeys"] = keys if isinstance(keys, list) else [keys]
    return [Check(f"eks:{call.operation}", str(call.params["resourceArn"]), context)]


OPERATIONS: dict[str, Asks] = {
    **dict.fromkeys(_ON_CLUSTER, _on_cluster),
    **dict.fromkeys(_ON_ENTRY, _on_entry),
    **dict.fromkeys(_ON_NODEGROUP, _on_nodegroup),
    **dict.fromkeys(_ON_ADDON, _on_addon),
    **dict.fromkeys(_ON_ASSOCIATION, _on_association),
    **dict.fromkeys(_TAGGING, _tagging),
    "CreateCluster": _create_cluster,
    "CreateNodegroup": _create_nodegroup,
    "CreateAddon": _create_addon,
    "CreatePodIdentityAssociation": _create_association,
    "CreateAccessEntry": _create_entry,
    "ListClusters": on_anything("eks:ListClusters"),
    "DescribeAddonVersions": on_anything("eks:DescribeAddonVersions"),
    "DescribeClusterVersions": on_anything("eks:DescribeClusterVersions"),
}
