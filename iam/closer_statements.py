"""The statements of the closer: what the in-boundary agent's own role may do, and no more.

Rendered by `iam.role_template` into the customer's template. Separate from the vendor role's table
because it is another party's power: the agent may only take ours away, read its pins, and leave
its public key and the audit's checkpoints in the customer's bucket.
"""

from iam.role_statements import BUCKET, CLOSER, KMS, OWN_ROLES, Table

CLOSER_POLICY: Table = [
    {
        "Sid": "RemoveOwnRole",
        "Effect": "Allow",
        "Action": [
            "iam:DeleteRole", "iam:DeleteRolePolicy", "iam:DetachRolePolicy", "iam:GetRole",
            "iam:ListAttachedRolePolicies", "iam:ListRolePolicies",
        ],
        "Resource": OWN_ROLES,
    },
    # The agent checks our key against the pin before it enrols.
    {"Sid": "ReadPins", "Effect": "Allow", "Action": "iam:ListRoleTags", "Resource": CLOSER},
    # The agent leaves its public key where the customer can read it, apart from the vendor.
    {
        "Sid": "PublishAgentKey",
        "Effect": "Allow",
        "Action": "s3:PutObject",
        "Resource": BUCKET + "/agent/*",
    },
    # And the audit's checkpoints, which it reads back before it adds one that must follow.
    {
        "Sid": "AnchorCheckpoints",
        "Effect": "Allow",
        "Action": ["s3:GetObject", "s3:PutObject"],
        "Resource": BUCKET + "/audit/checkpoints/*",
    },
    {
        "Sid": "EncryptAgentKey",
        "Effect": "Allow",
        "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
        "Resource": KMS + "key/*",
        "Condition": {
            "StringEquals": {"aws:ResourceTag/ringfence:boundary": "<boundary>"},
            "StringLike": {"kms:ViaService": "s3.*"},
        },
    },
]  # fmt: skip
