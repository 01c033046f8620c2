"""The statements of the one role, its permissions boundary and its closer: a checked-in table.

Until the policy compiler exists (decision 20), this table is what the role may do. The template
module renders it; it stands apart so that a reviewer can read the permissions without the
rendering. `<partition>`, `<account>` and `<boundary>` are filled in by CloudFormation; `${aws:…}`
is a policy variable, resolved by IAM at each call.
"""

from __future__ import annotations

from typing import Any

Table = list[dict[str, Any]]

OURS = "${aws:PrincipalTag/ringfence:boundary}"
_ON_RESOURCE = {"StringEquals": {"aws:ResourceTag/ringfence:boundary": OURS}}
IN_REQUEST = {"StringEquals": {"aws:RequestTag/ringfence:boundary": OURS}}

_IAM = "arn:<partition>:iam::<account>:"
_EC2 = "arn:<partition>:ec2:*:<account>:"
_EKS = "arn:<partition>:eks:*:<account>:"
KMS = "arn:<partition>:kms:*:<account>:"
BUCKET = "arn:<partition>:s3:::ringfence-<boundary>-<account>-*"
_POD_ROLES = _IAM + "role/ringfence/<boundary>/*"
OWN_ROLES = _IAM + "role/ringfence-<boundary>-g*"
CLOSER = _IAM + "role/ringfence-<boundary>-closer"
_BOUNDARY_POLICY = _IAM + "policy/ringfence-<boundary>-boundary"
DENY_ALL_POLICY = "arn:<partition>:iam::aws:policy/AWSDenyAll"

_EC2_CREATED = [
    "vpc", "subnet", "internet-gateway", "elastic-ip", "natgateway", "route-table",
    "vpc-endpoint", "security-group", "security-group-rule",
]  # fmt: skip
_CREATE_ACTIONS = [
    "CreateVpc", "CreateSubnet", "CreateInternetGateway", "AllocateAddress", "CreateNatGateway",
    "CreateRouteTable", "CreateVpcEndpoint", "CreateSecurityGroup",
]  # fmt: skip

# What the role may read anywhere: preflight and census. AWS cannot scope these actions further.
READS: Table = [
    {
        "Sid": "ReadAccount",
        "Effect": "Allow",
        "Action": [
            "ec2:Describe*", "eks:ListClusters", "eks:DescribeClusterVersions",
            "eks:DescribeAddonVersions", "iam:ListRoles", "iam:ListPolicies",
            "iam:GetAccountSummary", "kms:ListAliases", "kms:ListKeys", "s3:ListAllMyBuckets",
            "servicequotas:GetAWSDefaultServiceQuota", "servicequotas:GetServiceQuota",
            "servicequotas:ListServiceQuotas", "sts:GetCallerIdentity",
        ],
        "Resource": "*",
    },
    {
        "Sid": "ReadRoles",
        "Effect": "Allow",
        "Action": [
            "iam:GetRole", "iam:GetRolePolicy", "iam:ListAttachedRolePolicies",
            "iam:ListInstanceProfilesForRole", "iam:ListRolePolicies", "iam:ListRoleTags",
        ],
        "Resource": [_POD_ROLES, OWN_ROLES, CLOSER],
    },
    {
        "Sid": "ReadPolicies",
        "Effect": "Allow",
        "Action": ["iam:GetPolicy", "iam:GetPolicyVersion", "iam:ListPolicyVersions"],
        "Resource": [
            _IAM + "policy/ringfence-<boundary>-*",
            "arn:<partition>:iam::aws:policy/*",
        ],
    },
]  # fmt: skip

NETWORK: Table = [
    {
        "Sid": "CreateNetwork",
        "Effect": "Allow",
        "Action": [f"ec2:{name}" for name in _CREATE_ACTIONS],
        "Resource": [f"{_EC2}{kind}/*" for kind in _EC2_CREATED],
        "Condition": IN_REQUEST,
    },
    {
        "Sid": "CreateInsideOurs",
        "Effect": "Allow",
        "Action": [
            "ec2:CreateSubnet", "ec2:CreateNatGateway", "ec2:CreateRouteTable",
            "ec2:CreateVpcEndpoint", "ec2:CreateSecurityGroup",
        ],
        "Resource": [
            f"{_EC2}{kind}/*"
            for kind in ("vpc", "subnet", "elastic-ip", "route-table", "security-group")
        ],
        "Condition": _ON_RESOURCE,
    },
    {
        "Sid": "TagAtCreation",
        "Effect": "Allow",
        "Action": "ec2:CreateTags",
        "Resource": [f"{_EC2}{kind}/*" for kind in _EC2_CREATED],
        "Condition": {
            "StringEquals": {
                "aws:RequestTag/ringfence:boundary": OURS,
                "ec2:CreateAction": _CREATE_ACTIONS,
            }
        },
    },
    {
        "Sid": "ChangeNetwork",
        "Effect": "Allow",
        "Action": [
            "ec2:AssociateAddress", "ec2:AssociateRouteTable", "ec2:AttachInternetGateway",
            "ec2:AuthorizeSecurityGroupEgress", "ec2:AuthorizeSecurityGroupIngress",
            "ec2:CreateRoute", "ec2:CreateTags", "ec2:DeleteInternetGateway",
            "ec2:DeleteNatGateway", "ec2:DeleteRoute", "ec2:DeleteRouteTable",
            "ec2:DeleteSecurityGroup", "ec2:DeleteSubnet", "ec2:DeleteTags", "ec2:DeleteVpc",
            "ec2:DeleteVpcEndpoints", "ec2:DetachInternetGateway", "ec2:DisassociateAddress",
            "ec2:DisassociateRouteTable", "ec2:ModifySubnetAttribute", "ec2:ModifyVpcAttribute",
            "ec2:ModifyVpcEndpoint", "ec2:ReleaseAddress", "ec2:ReplaceRoute",
            "ec2:ReplaceRouteTableAssociation", "ec2:RevokeSecurityGroupEgress",
            "ec2:RevokeSecurityGroupIngress",
        ],
        "Resource": [f"{_EC2}{kind}/*" for kind in _EC2_CREATED],
        "Condition": _ON_RESOURCE,
    },
]  # fmt: skip

STORAGE: Table = [
    {
        "Sid": "Bucket",
        "Effect": "Allow",
        "Action": [
            "s3:CreateBucket", "s3:DeleteBucket", "s3:DeleteBucketPolicy", "s3:GetBucket*",
            "s3:GetEncryptionConfiguration", "s3:GetAccelerateConfiguration",
            "s3:GetLifecycleConfiguration", "s3:GetReplicationConfiguration", "s3:ListBucket",
            "s3:ListBucketMultipartUploads", "s3:ListBucketVersions", "s3:PutBucketPolicy",
            "s3:PutBucketPublicAccessBlock", "s3:PutBucketTagging", "s3:PutBucketVersioning",
            "s3:PutEncryptionConfiguration",
        ],
        "Resource": BUCKET,
        "Condition": {"StringEquals": {"aws:ResourceAccount": "<account>"}},
    },
    {
        "Sid": "Artifacts",
        "Effect": "Allow",
        "Action": [
            "s3:AbortMultipartUpload", "s3:DeleteObject", "s3:DeleteObjectVersion",
            "s3:GetObject", "s3:GetObjectVersion", "s3:ListMultipartUploadParts", "s3:PutObject",
        ],
        "Resource": BUCKET + "/*",
        "Condition": {"StringEquals": {"aws:ResourceAccount": "<account>"}},
    },
    {
        "Sid": "CreateKey",
        "Effect": "Allow",
        "Action": ["kms:CreateKey", "kms:TagResource"],
        "Resource": "*",
        "Condition": IN_REQUEST,
    },
    {
        "Sid": "UseKey",
        "Effect": "Allow",
        "Action": [
            "kms:CreateAlias", "kms:Decrypt", "kms:DeleteAlias", "kms:DescribeKey",
            "kms:DisableKeyRotation", "kms:EnableKeyRotation", "kms:GenerateDataKey",
            "kms:GetKeyPolicy", "kms:GetKeyRotationStatus", "kms:ListGrants",
            "kms:ListKeyPolicies", "kms:ListResourceTags", "kms:PutKeyPolicy",
            "kms:ScheduleKeyDeletion", "kms:TagResource", "kms:UntagResource", "kms:UpdateAlias",
            "kms:UpdateKeyDescription",
        ],
        "Resource": KMS + "key/*",
        "Condition": _ON_RESOURCE,
    },
    {
        "Sid": "Alias",
        "Effect": "Allow",
        "Action": ["kms:CreateAlias", "kms:DeleteAlias", "kms:UpdateAlias"],
        "Resource": KMS + "alias/ringfence-<boundary>",
    },
    {
        "Sid": "KeyForService",
        "Effect": "Allow",
        "Action": "kms:CreateGrant",
        "Resource": KMS + "key/*",
        "Condition": {
            "Bool": {"kms:GrantIsForAWSResource": "true"},
            "StringEquals": {"aws:ResourceTag/ringfence:boundary": OURS},
        },
    },
]  # fmt: skip

CLUSTER: Table = [
    {
        "Sid": "Cluster",
        "Effect": "Allow",
        "Action": [
            "eks:AssociateAccessPolicy", "eks:CreateAccessEntry", "eks:CreateAddon",
            "eks:CreateCluster", "eks:CreateNodegroup", "eks:CreatePodIdentityAssociation",
            "eks:DeleteAccessEntry", "eks:DeleteAddon", "eks:DeleteCluster",
            "eks:DeleteNodegroup", "eks:DeletePodIdentityAssociation", "eks:Describe*",
            "eks:DisassociateAccessPolicy", "eks:List*", "eks:TagResource", "eks:UntagResource",
            "eks:UpdateAccessEntry", "eks:UpdateAddon", "eks:UpdateClusterConfig",
            "eks:UpdateClusterVersion", "eks:UpdateNodegroupConfig",
            "eks:UpdatePodIdentityAssociation",
        ],
        "Resource": [
            _EKS + "cluster/ringfence-<boundary>",
            *(
                f"{_EKS}{kind}/ringfence-<boundary>/*"
                for kind in ("nodegroup", "addon", "access-entry", "podidentityassociation")
            ),
        ],
    },
    {
        "Sid": "ServiceLinkedRoles",
        "Effect": "Allow",
        "Action": "iam:CreateServiceLinkedRole",
        "Resource": _IAM + "role/aws-service-role/*",
        "Condition": {
            "StringEquals": {
                "iam:AWSServiceName": ["eks.amazonaws.com", "eks-nodegroup.amazonaws.com"]
            }
        },
    },
]  # fmt: skip

ROLES: Table = [
    {
        "Sid": "CreatePodRoles",
        "Effect": "Allow",
        "Action": [
            "iam:AttachRolePolicy", "iam:CreateRole", "iam:DeleteRolePolicy",
            "iam:DetachRolePolicy", "iam:PutRolePermissionsBoundary", "iam:PutRolePolicy",
        ],
        "Resource": _POD_ROLES,
        "Condition": {"StringEquals": {"iam:PermissionsBoundary": _BOUNDARY_POLICY}},
    },
    {
        "Sid": "ChangePodRoles",
        "Effect": "Allow",
        "Action": [
            "iam:DeleteRole", "iam:TagRole", "iam:UntagRole", "iam:UpdateAssumeRolePolicy",
            "iam:UpdateRole", "iam:UpdateRoleDescription",
        ],
        "Resource": _POD_ROLES,
    },
    {
        "Sid": "PassPodRoles",
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": _POD_ROLES,
        "Condition": {
            "StringEquals": {
                "iam:PassedToService": [
                    "eks.amazonaws.com", "ec2.amazonaws.com", "pods.eks.amazonaws.com",
                ]
            }
        },
    },
    {
        "Sid": "PassCloser",
        "Effect": "Allow",
        "Action": "iam:PassRole",
        "Resource": CLOSER,
        "Condition": {"StringEquals": {"iam:PassedToService": "pods.eks.amazonaws.com"}},
    },
    {
        "Sid": "TakeOwnPower",
        "Effect": "Allow",
        "Action": "iam:AttachRolePolicy",
        "Resource": OWN_ROLES,
        "Condition": {"ArnEquals": {"iam:PolicyARN": DENY_ALL_POLICY}},
    },
]  # fmt: skip

# Denies bind even where a later table gets wider by mistake.
GUARDS: Table = [
    {
        "Sid": "NoSelfChange",
        "Effect": "Deny",
        "NotAction": ["iam:AttachRolePolicy", "iam:Get*", "iam:List*", "iam:PassRole"],
        "Resource": [OWN_ROLES, CLOSER, _IAM + "policy/ringfence-<boundary>-*"],
    },
    {
        "Sid": "OnlyDenyAllOnSelf",
        "Effect": "Deny",
        "Action": "iam:AttachRolePolicy",
        "Resource": [OWN_ROLES, CLOSER],
        "Condition": {"ArnNotEquals": {"iam:PolicyARN": DENY_ALL_POLICY}},
    },
    {
        "Sid": "NoSharingOutward",
        "Effect": "Deny",
        "Action": [
            "ec2:AcceptVpcPeeringConnection", "ec2:CreateVpcEndpointServiceConfiguration",
            "ec2:CreateVpcPeeringConnection", "ec2:ModifyImageAttribute",
            "ec2:ModifySnapshotAttribute", "ec2:ModifyVpcEndpointServicePermissions",
            "ecr:PutRegistryPolicy", "ecr:SetRepositoryPolicy", "iam:CreateAccessKey",
            "iam:CreateLoginProfile", "iam:CreateUser", "iam:DeleteRolePermissionsBoundary",
            "s3:PutBucketAcl", "s3:PutObjectAcl",
        ],
        "Resource": "*",
    },
    # What the agent's signature and our own audit are checked against must not come from us.
    {
        "Sid": "NeverForgeTheAgentsKey",
        "Effect": "Deny",
        "Action": "s3:PutObject",
        "Resource": [BUCKET + "/agent/*", BUCKET + "/audit/*"],
    },
    # Only where the tag is in the request: another one that was overwritten by hand is set right in
    # a call of its own, and what may be tagged at all is ours by the tag or the name it has.
    {
        "Sid": "KeepBoundaryTag",
        "Effect": "Deny",
        "Action": ["ec2:CreateTags", "eks:TagResource", "iam:TagRole", "kms:TagResource"],
        "Resource": "*",
        "Condition": {
            "Null": {"aws:RequestTag/ringfence:boundary": "false"},
            "StringNotEquals": {"aws:RequestTag/ringfence:boundary": OURS},
        },
    },
    {
        "Sid": "NeverRemoveBoundaryTag",
        "Effect": "Deny",
        "Action": ["ec2:DeleteTags", "eks:UntagResource", "iam:UntagRole", "kms:UntagResource"],
        "Resource": "*",
        "Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": "ringfence:boundary"}},
    },
]  # fmt: skip

ROLE_TABLES: dict[str, Table] = {
    "reads": READS,
    "network": NETWORK,
    "storage": STORAGE,
    "cluster": CLUSTER,
    "roles": ROLES,
    "guards": GUARDS,
}

# The most that a role made by us can ever do: what nodes, the cluster and the boundary's pods need.
BOUNDARY_POLICY: Table = [
    {
        "Sid": "NodesAndCluster",
        "Effect": "Allow",
        "Action": [
            "autoscaling:*", "ec2:*NetworkInterface*", "ec2:*PrivateIpAddress*",
            "ec2:AttachVolume", "ec2:CreateRoute", "ec2:CreateSecurityGroup", "ec2:CreateTags",
            "ec2:CreateVolume", "ec2:DeleteRoute", "ec2:DeleteSecurityGroup", "ec2:DeleteVolume",
            "ec2:Describe*", "ec2:DetachVolume", "ec2:*SecurityGroup*", "ec2:ModifyVolume",
            "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetAuthorizationToken",
            "ecr:GetDownloadUrlForLayer", "eks:Describe*", "eks-auth:AssumeRoleForPodIdentity",
            "elasticloadbalancing:*", "logs:*", "sts:GetCallerIdentity",
        ],
        "Resource": "*",
    },
    {
        "Sid": "BoundaryData",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket", "s3:PutObject"],
        "Resource": [BUCKET, BUCKET + "/*"],
    },
    {
        "Sid": "BoundaryKey",
        "Effect": "Allow",
        "Action": [
            "kms:CreateGrant", "kms:Decrypt", "kms:DescribeKey", "kms:Encrypt",
            "kms:GenerateDataKey", "kms:ListGrants",
        ],
        "Resource": KMS + "key/*",
        "Condition": {"StringEquals": {"aws:ResourceTag/ringfence:boundary": "<boundary>"}},
    },
    {
        "Sid": "NoSharingOutward",
        "Effect": "Deny",
        "Action": [
            "ec2:CreateVpcPeeringConnection", "ec2:ModifyImageAttribute",
            "ec2:ModifySnapshotAttribute", "iam:*", "s3:PutBucketPolicy", "sts:AssumeRole",
        ],
        "Resource": "*",
    },
]  # fmt: skip
