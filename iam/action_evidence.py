"""Why each action of the one role is in it: what calls it, and how far it reaches.

Read by the control plane to put a reason on each line that an approver sees. Apart from
`role_statements`, which is the permission itself: what stands here permits nothing. A test compares
it with the calls of the provider and of the control plane; an action without an entry is shown as
having no evidence.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from iam.containment import covers

Level = Literal["list", "read", "write", "permissions management", "tagging"]
Kind = Literal["provider", "control plane", "dependent"]
"""provider: called for a resource of the blueprint. control plane: called by our own code.
dependent: AWS asks for it beside another action."""


@dataclass(frozen=True)
class Evidence:
    """One reason why an action is needed."""

    kind: Kind
    action: str
    text: str


# AWS's access levels. Source: docs.aws.amazon.com/service-authorization/latest/reference
_LEVELS: dict[Level, dict[str, str]] = {
    "list": {
        "ec2": "Describe*",
        "ecs": "ListTaskDefinitions ListTasks",
        "eks": "List* ListClusters",
        "iam": "ListRoles ListPolicies GetAccountSummary ListAttachedRolePolicies"
        " ListInstanceProfilesForRole ListRolePolicies ListRoleTags ListPolicyVersions",
        "kms": "ListAliases ListKeys ListGrants ListKeyPolicies ListResourceTags",
        "s3": "ListAllMyBuckets ListBucket ListBucketMultipartUploads ListBucketVersions"
        " ListMultipartUploadParts",
    },
    "read": {
        "ecr": "BatchCheckLayerAvailability BatchGetImage DescribeRepositories"
        " GetAuthorizationToken GetDownloadUrlForLayer ListTagsForResource",
        "ecs": "DescribeTasks",
        "eks": "Describe* DescribeClusterVersions DescribeAddonVersions",
        "iam": "GetRole GetRolePolicy GetPolicy GetPolicyVersion",
        "kms": "DescribeKey GetKeyPolicy GetKeyRotationStatus",
        "s3": "GetBucket* GetEncryptionConfiguration GetAccelerateConfiguration"
        " GetLifecycleConfiguration GetReplicationConfiguration GetObject GetObjectVersion",
        "servicequotas": "GetAWSDefaultServiceQuota GetServiceQuota ListServiceQuotas",
        "sts": "GetCallerIdentity",
    },
    "write": {
        "ec2": "CreateVpc CreateSubnet CreateInternetGateway AllocateAddress CreateNatGateway"
        " CreateRouteTable CreateVpcEndpoint CreateSecurityGroup AssociateAddress"
        " AssociateRouteTable AttachInternetGateway AuthorizeSecurityGroupEgress"
        " AuthorizeSecurityGroupIngress CreateRoute DeleteInternetGateway DeleteNatGateway"
        " DeleteRoute DeleteRouteTable DeleteSecurityGroup DeleteSubnet DeleteVpc"
        " DeleteVpcEndpoints DetachInternetGateway DisassociateAddress DisassociateRouteTable"
        " ModifySubnetAttribute ModifyVpcAttribute ModifyVpcEndpoint ReleaseAddress ReplaceRoute"
        " ReplaceRouteTableAssociation RevokeSecurityGroupEgress RevokeSecurityGroupIngress"
        " AttachVolume CreateVolume DeleteVolume DetachVolume ModifyVolume",
        "ecr": "CompleteLayerUpload CreateRepository DeleteRepository InitiateLayerUpload PutImage"
        " PutImageTagMutability UploadLayerPart",
        "ecs": "CreateCluster DeleteCluster DeleteTaskDefinitions DeregisterTaskDefinition"
        " RegisterTaskDefinition RunTask StopTask",
        "eks": "AssociateAccessPolicy CreateAccessEntry CreateAddon CreateCluster CreateNodegroup"
        " CreatePodIdentityAssociation DeleteAccessEntry DeleteAddon DeleteCluster DeleteNodegroup"
        " DeletePodIdentityAssociation DisassociateAccessPolicy UpdateAccessEntry UpdateAddon"
        " UpdateClusterConfig UpdateClusterVersion UpdateNodegroupConfig"
        " UpdatePodIdentityAssociation",
        "iam": "CreateRole CreateServiceLinkedRole DeleteRole PassRole UpdateRole"
        " UpdateRoleDescription",
        "kms": "CreateKey CreateAlias Decrypt DeleteAlias DisableKeyRotation EnableKeyRotation"
        " Encrypt GenerateDataKey ScheduleKeyDeletion UpdateAlias UpdateKeyDescription",
        "s3": "AbortMultipartUpload CreateBucket DeleteBucket DeleteObject DeleteObjectVersion"
        " PutBucketVersioning PutEncryptionConfiguration PutObject",
        "sts": "AssumeRole SetSourceIdentity",
    },
    "permissions management": {
        "iam": "AttachRolePolicy DeleteRolePolicy DetachRolePolicy PutRolePermissionsBoundary"
        " PutRolePolicy UpdateAssumeRolePolicy",
        "kms": "CreateGrant PutKeyPolicy",
        "s3": "DeleteBucketPolicy PutBucketPolicy PutBucketPublicAccessBlock",
    },
    "tagging": {
        "ec2": "CreateTags DeleteTags",
        "ecr": "TagResource UntagResource",
        "ecs": "TagResource",
        "eks": "TagResource UntagResource",
        "iam": "TagRole UntagRole",
        "kms": "TagResource UntagResource",
        "s3": "PutBucketTagging",
        "sts": "TagSession",
    },
}

# What the provider calls for each type of the blueprint: create, read, update, delete.
PROVIDER: dict[str, tuple[str, str, str, str]] = {
    "ec2/vpc": (
        "CreateVpc ModifyVpcAttribute",
        "DescribeVpcs DescribeVpcAttribute DescribeRouteTables DescribeSecurityGroups"
        " DescribeNetworkAcls",
        "ModifyVpcAttribute CreateTags DeleteTags",
        "DeleteVpc",
    ),
    "ec2/subnet": (
        "CreateSubnet ModifySubnetAttribute",
        "DescribeSubnets",
        "ModifySubnetAttribute CreateTags DeleteTags",
        "DeleteSubnet",
    ),
    "ec2/internetGateway": (
        "CreateInternetGateway AttachInternetGateway",
        "DescribeInternetGateways",
        "DetachInternetGateway AttachInternetGateway CreateTags DeleteTags",
        "DetachInternetGateway DeleteInternetGateway",
    ),
    "ec2/eip": ("AllocateAddress", "DescribeAddresses", "CreateTags DeleteTags", "ReleaseAddress"),
    "ec2/natGateway": (
        "CreateNatGateway",
        "DescribeNatGateways",
        "CreateTags DeleteTags",
        "DeleteNatGateway DescribeNatGateways",
    ),
    "ec2/routeTable": (
        "CreateRouteTable", "DescribeRouteTables", "CreateTags DeleteTags", "DeleteRouteTable",
    ),
    "ec2/route": ("CreateRoute", "DescribeRouteTables", "ReplaceRoute", "DeleteRoute"),
    "ec2/routeTableAssociation": (
        "AssociateRouteTable", "DescribeRouteTables", "", "DisassociateRouteTable",
    ),
    "ec2/vpcEndpoint": (
        "CreateVpcEndpoint",
        "DescribeVpcEndpoints DescribePrefixLists",
        "ModifyVpcEndpoint CreateTags DeleteTags",
        "DeleteVpcEndpoints",
    ),
    "kms/key": (
        "CreateKey EnableKeyRotation",
        "DescribeKey GetKeyPolicy GetKeyRotationStatus ListResourceTags",
        "PutKeyPolicy UpdateKeyDescription EnableKeyRotation DisableKeyRotation TagResource"
        " UntagResource",
        "ScheduleKeyDeletion",
    ),
    "kms/alias": ("CreateAlias", "ListAliases", "UpdateAlias", "DeleteAlias"),
    "s3/bucket": (
        "CreateBucket PutBucketTagging",
        "ListBucket GetBucketTagging",
        "PutBucketTagging",
        "DeleteBucket ListBucketVersions DeleteObject",
    ),
    "s3/bucketVersioning": (
        "PutBucketVersioning", "GetBucketVersioning", "PutBucketVersioning", "PutBucketVersioning",
    ),
    "s3/bucketServerSideEncryptionConfiguration": (
        "PutEncryptionConfiguration", "GetEncryptionConfiguration", "PutEncryptionConfiguration",
        "PutEncryptionConfiguration",
    ),
    "s3/bucketPublicAccessBlock": (
        "PutBucketPublicAccessBlock", "GetBucketPublicAccessBlock", "PutBucketPublicAccessBlock",
        "PutBucketPublicAccessBlock",
    ),
    "s3/bucketPolicy": (
        "PutBucketPolicy", "GetBucketPolicy", "PutBucketPolicy", "DeleteBucketPolicy",
    ),
    "ecr/repository": (
        "CreateRepository",
        "DescribeRepositories ListTagsForResource",
        "PutImageTagMutability TagResource UntagResource",
        "DeleteRepository",
    ),
    "iam/role": (
        "CreateRole",
        "GetRole",
        "UpdateAssumeRolePolicy UpdateRole PutRolePermissionsBoundary"
        " DeleteRolePermissionsBoundary TagRole UntagRole",
        "DeleteRole",
    ),
    "iam/rolePolicy": ("PutRolePolicy", "GetRolePolicy", "PutRolePolicy", "DeleteRolePolicy"),
    "iam/rolePolicyAttachment": (
        "AttachRolePolicy", "ListAttachedRolePolicies", "", "DetachRolePolicy",
    ),
    "eks/cluster": (
        "CreateCluster",
        "DescribeCluster",
        "UpdateClusterConfig UpdateClusterVersion TagResource UntagResource DescribeUpdate",
        "DeleteCluster DescribeCluster",
    ),
    "eks/nodeGroup": (
        "CreateNodegroup",
        "DescribeNodegroup",
        "UpdateNodegroupConfig TagResource UntagResource DescribeUpdate",
        "DeleteNodegroup DescribeNodegroup",
    ),
    "eks/addon": (
        "CreateAddon",
        "DescribeAddon",
        "UpdateAddon TagResource UntagResource",
        "DeleteAddon DescribeAddon",
    ),
    "eks/podIdentityAssociation": (
        "CreatePodIdentityAssociation",
        "DescribePodIdentityAssociation",
        "UpdatePodIdentityAssociation TagResource UntagResource",
        "DeletePodIdentityAssociation",
    ),
}  # fmt: skip
_VERBS = ("create", "read", "update", "delete")

# What our own code calls: module under controlplane/adapters, then what for and which actions.
CONTROL_PLANE: dict[str, tuple[str, str]] = {
    "aws/preflight": (
        "preflight, before the first resource",
        "ec2:DescribeAvailabilityZones ec2:DescribeVpcs ec2:DescribeAddresses eks:DescribeCluster"
        " eks:ListClusters iam:GetRole iam:ListAttachedRolePolicies s3:GetBucketTagging"
        " s3:ListBucket servicequotas:GetServiceQuota sts:GetCallerIdentity",
    ),
    "aws/host": (
        "preflight of a boundary that is to live in another one's cluster",
        "ec2:DescribeSubnets ec2:DescribeVpcs eks:DescribeCluster",
    ),
    "aws/artifacts": ("copy of weights into the bucket", "s3:GetObject s3:PutObject"),
    "aws/registry": (
        "copy of images into the boundary's repositories",
        "ecr:GetAuthorizationToken",
    ),
    "aws/census": (
        "census of what is left, before the close",
        "eks:DescribeCluster eks:ListAccessEntries eks:ListPodIdentityAssociations iam:GetRole"
        " iam:ListRoles kms:ListGrants s3:GetBucketPolicy",
    ),
    "aws/strays": (
        "twins that a repeated call made, after each apply and destruction",
        "ec2:DescribeAddresses ec2:DescribeInternetGateways ec2:DescribeNatGateways"
        " ec2:DescribeRouteTables ec2:DescribeSubnets ec2:DescribeVpcEndpoints ec2:DescribeVpcs"
        " kms:DescribeKey kms:ListKeys kms:ListResourceTags",
    ),
    "aws/inventory": (
        "inventory of what is left, at the end of a removal",
        "ec2:DescribeAddresses ec2:DescribeInternetGateways ec2:DescribeNatGateways"
        " ec2:DescribeRouteTables ec2:DescribeSecurityGroups ec2:DescribeSubnets"
        " ec2:DescribeVpcEndpoints ec2:DescribeVpcs ecr:DescribeRepositories eks:DescribeCluster"
        " eks:ListAccessEntries"
        " eks:ListPodIdentityAssociations iam:ListRoles kms:ListAliases s3:ListAllMyBuckets",
    ),
    "aws/runner_task": (
        "the runner in the private network, where no endpoint is public",
        "ecs:CreateCluster ecs:DeleteCluster ecs:DeleteTaskDefinitions"
        " ecs:DeregisterTaskDefinition ecs:DescribeTasks ecs:ListTaskDefinitions ecs:ListTasks"
        " ecs:RegisterTaskDefinition ecs:RunTask ecs:StopTask iam:CreateRole iam:DeleteRole"
        " iam:DeleteRolePolicy iam:ListRoles iam:PutRolePolicy",
    ),
    "aws/runner_mailbox": (
        "orders to that runner and its answers",
        "s3:DeleteObject s3:GetObject s3:ListBucket s3:ListBucketVersions s3:PutObject",
    ),
    "aws/closing": ("close: our power taken away by ourselves", "iam:AttachRolePolicy"),
    "kubernetes/control": (
        "who may enter the cluster, and how it was ever reached",
        "eks:AssociateAccessPolicy eks:CreateAccessEntry eks:DeleteAccessEntry eks:DescribeCluster"
        " eks:DescribeUpdate eks:ListAccessEntries eks:ListUpdates",
    ),
    "kubernetes/reach": (
        "way into the cluster, opened and closed",
        "eks:DescribeUpdate eks:UpdateClusterConfig",
    ),
    "pulumi/adoption": (
        "finding what a crashed run has made",
        "ec2:DescribeNatGateways ec2:DescribeRouteTables ecr:DescribeRepositories"
        " eks:ListPodIdentityAssociations iam:ListAttachedRolePolicies kms:DescribeKey"
        " kms:ListAliases kms:ListKeys kms:ListResourceTags s3:GetBucketVersioning",
    ),
}

_PUSH = "a copy of an image, by the registry's protocol: "
_DEPENDENT: dict[str, str] = {
    "ecr:BatchCheckLayerAvailability": _PUSH + "whether a layer is there already",
    "ecr:BatchGetImage": _PUSH + "whether it is there, and that it arrived unchanged",
    "ecr:CompleteLayerUpload": _PUSH + "the end of a layer",
    "ecr:InitiateLayerUpload": _PUSH + "the beginning of a layer",
    "ecr:PutImage": _PUSH + "the manifest",
    "ecr:UploadLayerPart": _PUSH + "a part of a layer",
    "ec2:CreateTags": "the tags are in the same call as what is created",
    "eks:TagResource": "the tags are in the same call as what is created",
    "ecs:TagResource": "the tags are in the same call as what is created",
    "iam:TagRole": "the tags are in the same call as the role",
    "kms:TagResource": "the tags are in the same call as the key",
    "iam:PassRole": "eks:CreateCluster, eks:CreateNodegroup, eks:CreatePodIdentityAssociation and"
    " ecs:RegisterTaskDefinition hand a role to the service",
    "iam:CreateServiceLinkedRole": "the first cluster and the first node group of an account, and"
    " its first ECS cluster, make the service's own role",
    "kms:CreateGrant": "eks:CreateCluster and the nodes' disks use the boundary's key",
    "kms:GenerateDataKey": "s3:PutObject into a bucket that is encrypted with the boundary's key",
    "kms:Decrypt": "s3:GetObject, and s3:PutObject in parts, with the boundary's key",
    "s3:AbortMultipartUpload": "s3:PutObject in parts that was interrupted",
    "s3:DeleteObjectVersion": "s3:DeleteBucket of a bucket that keeps versions, and the runner's"
    " orders in one",
}


def levels_of(pattern: str) -> tuple[Level, ...]:
    """Return the access levels of an action; of a pattern, those of its actions that we know."""
    wanted = pattern.lower()
    exact = {level for name, level in _KNOWN if name == wanted}
    found = exact or {level for name, level in _KNOWN if covers(wanted, name)}
    found = found or {level for name, level in _KNOWN if covers(name, wanted)}
    return tuple(level for level in _LEVELS if level in found)


def evidence_of(pattern: str) -> tuple[Evidence, ...]:
    """Return why an action is needed; of a pattern, why the actions are that it stands for."""
    wanted = pattern.lower()
    return tuple(one for one in _EVIDENCE if covers(wanted, one.action.lower()))


def _known() -> Iterator[tuple[str, Level]]:
    for level, services in _LEVELS.items():
        for service, names in services.items():
            for name in names.split():
                yield f"{service}:{name}".lower(), level


def _all_evidence() -> Iterator[Evidence]:
    for resource, calls in PROVIDER.items():
        service = resource.split("/")[0]
        for verb, names in zip(_VERBS, calls, strict=True):
            for name in names.split():
                yield Evidence("provider", f"{service}:{name}", f"{verb} of {resource}")
    for purpose, actions in CONTROL_PLANE.values():
        for action in actions.split():
            yield Evidence("control plane", action, purpose)
    for action, text in _DEPENDENT.items():
        yield Evidence("dependent", action, text)


_KNOWN: tuple[tuple[str, Level], ...] = tuple(_known())
_EVIDENCE: tuple[Evidence, ...] = tuple(_all_evidence())
