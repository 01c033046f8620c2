"""The policy documents the program writes, as dicts; pure. No document names a grant's role."""

import json
from typing import Any

from blueprints.eks_model_stack.naming import Names

VERSION = "2012-10-17"


def document(*statements: dict[str, Any]) -> str:
    """Return a policy document as JSON text."""
    return json.dumps({"Version": VERSION, "Statement": list(statements)})


def trust(principal: str, *actions: str) -> str:
    """Return a trust policy for one AWS service."""
    return document(
        {
            "Effect": "Allow",
            "Principal": {"Service": principal},
            "Action": list(actions) or ["sts:AssumeRole"],
        }
    )


def key_policy(names: Names) -> str:
    """Return the key's policy: it delegates to the account, whose policies then decide."""
    return document(
        {
            "Sid": "DelegateToTheAccount",
            "Effect": "Allow",
            "Principal": {"AWS": names.account_root},
            "Action": "kms:*",
            "Resource": "*",
        }
    )


def bucket_policy(bucket_arn: str) -> str:
    """Return the bucket's policy: nothing without TLS; who may read is for the account to say."""
    return document(
        {
            "Sid": "OnlyWithTls",
            "Effect": "Deny",
            "Principal": "*",
            "Action": "s3:*",
            "Resource": [bucket_arn, f"{bucket_arn}/*"],
            "Condition": {"Bool": {"aws:SecureTransport": "false"}},
        }
    )


def fetcher_policy(bucket_arn: str, key_arn: str) -> str:
    """Return what the artifact Job may do: read this bucket, and decrypt what it reads."""
    return document(
        {
            "Sid": "ListArtifacts",
            "Effect": "Allow",
            "Action": ["s3:ListBucket"],
            "Resource": [bucket_arn],
        },
        {
            "Sid": "ReadArtifacts",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion"],
            "Resource": [f"{bucket_arn}/*"],
        },
        {
            "Sid": "DecryptArtifacts",
            "Effect": "Allow",
            "Action": ["kms:Decrypt"],
            "Resource": [key_arn],
        },
    )
