"""EKS tokens: a presigned `sts:GetCallerIdentity` that only one cluster accepts.

Called by `reach.py`. Separate and small, because its format is exact: the cluster's authenticator
checks host, path, parameters and signed headers, and refuses anything else.
Source: kubernetes-sigs/aws-iam-authenticator, pkg/token.
"""

from __future__ import annotations

import base64
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from botocore.credentials import Credentials as SigningKeys
from botocore.signers import RequestSigner

from controlplane.adapters.aws.account import Account
from controlplane.core.clock import now

PRESIGNED_SECONDS = 60
TOKEN_LIFE = timedelta(minutes=14)
"""The authenticator accepts a token for 15 minutes after its date, whatever its expiry says."""


def eks_token(account: Account, cluster: str) -> tuple[str, datetime]:
    """Return a bearer token for one cluster and when to stop using it."""
    sts: Any = account.client("sts")
    keys = account.credentials()
    host = urlsplit(sts.meta.endpoint_url)
    signer = RequestSigner(
        sts.meta.service_model.service_id,
        account.region,
        "sts",
        "v4",
        SigningKeys(keys.access_key_id, keys.secret_access_key, keys.session_token),
        sts.meta.events,
    )
    url = signer.generate_presigned_url(
        {
            "method": "GET",
            "url": f"{host.scheme}://{host.netloc}/?Action=GetCallerIdentity&Version=2011-06-15",
            "body": {},
            "headers": {"x-k8s-aws-id": cluster},
            "context": {},
        },
        region_name=account.region,
        expires_in=PRESIGNED_SECONDS,
        operation_name="",
    )
    text = base64.urlsafe_b64encode(url.encode()).decode().rstrip("=")
    return f"k8s-aws-v1.{text}", now() + TOKEN_LIFE
