"""What the one role may do to keep images in the customer's registry: a checked-in table.

Rendered by `role_template` as a policy of its own, only for a boundary whose images are copied.
Apart from `role_statements`, because a customer whose nodes pull from us must not grant it. Who
else may use a repository cannot be said by us at all: `NoSharingOutward` denies it.
"""

from __future__ import annotations

from iam.role_statements import IN_REQUEST, OURS, Table

IMAGES_PULLED = "pulled"
IMAGES_COPIED = "copied"

REPOSITORIES = "arn:<partition>:ecr:*:<account>:repository/ringfence/<boundary>/*"

IMAGES: Table = [
    {
        "Sid": "MakeRepositories",
        "Effect": "Allow",
        "Action": "ecr:CreateRepository",
        "Resource": REPOSITORIES,
        "Condition": IN_REQUEST,
    },
    # By the name, not by the tag: what was overwritten by hand must be seen and set right.
    {
        "Sid": "KeepRepositories",
        "Effect": "Allow",
        "Action": [
            "ecr:DeleteRepository", "ecr:ListTagsForResource", "ecr:PutImageTagMutability",
            "ecr:TagResource", "ecr:UntagResource",
        ],
        "Resource": REPOSITORIES,
    },
    # What a removal left behind has to be looked for, and AWS cannot narrow a list.
    {
        "Sid": "SeeRepositories",
        "Effect": "Allow",
        "Action": "ecr:DescribeRepositories",
        "Resource": "*",
    },
    {
        "Sid": "CopyImages",
        "Effect": "Allow",
        "Action": [
            "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload",
            "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ],
        "Resource": REPOSITORIES,
    },
    # AWS knows no resource for it; a token can do what its holder can, and no more.
    {
        "Sid": "EnterRegistry",
        "Effect": "Allow",
        "Action": "ecr:GetAuthorizationToken",
        "Resource": "*",
    },
    {
        "Sid": "KeepRepositoryTag",
        "Effect": "Deny",
        "Action": "ecr:TagResource",
        "Resource": "*",
        "Condition": {
            "Null": {"aws:RequestTag/ringfence:boundary": "false"},
            "StringNotEquals": {"aws:RequestTag/ringfence:boundary": OURS},
        },
    },
    {
        "Sid": "NeverRemoveRepositoryTag",
        "Effect": "Deny",
        "Action": "ecr:UntagResource",
        "Resource": "*",
        "Condition": {"ForAnyValue:StringEquals": {"aws:TagKeys": "ringfence:boundary"}},
    },
]  # fmt: skip
