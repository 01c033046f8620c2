"""What exists in the accounts from the first start: people's keys, the vendor's role, the trail.

Called once at each start of the account, after the journal was played back; every step is
idempotent. It stands for what the customer and the vendor had before Ringfence.
"""

from __future__ import annotations

import functools
import json
from datetime import UTC, datetime
from typing import Any

from moto.iam.aws_managed_policies import aws_managed_policies_data
from moto.iam.models import AWSManagedPolicy

from sandbox.aws.config import VENDOR_ROLE, GateConfig
from sandbox.aws.keys import KeyStore
from sandbox.aws.messages import Caller, Response
from sandbox.aws.moto_store import MotoStore, StoreCall, backend, bucket_owner
from sandbox.aws.operations.iam import find_role
from sandbox.aws.trail import trail_bucket

# The AWS-managed policies that roles here may carry; the others do not exist in the emulation.
MANAGED = (
    "AWSDenyAll", "AdministratorAccess", "ReadOnlyAccess", "AmazonEKSClusterPolicy",
    "AmazonEKSWorkerNodePolicy", "AmazonEKSWorkerNodeMinimalPolicy", "AmazonEKS_CNI_Policy",
    "AmazonEC2ContainerRegistryReadOnly", "AmazonEC2ContainerRegistryPullOnly",
    "AmazonEKSVPCResourceController", "AmazonEKSBlockStoragePolicy", "AmazonEKSComputePolicy",
    "AmazonEKSLoadBalancingPolicy", "AmazonEKSNetworkingPolicy", "AmazonSSMManagedInstanceCore",
    "AmazonEBSCSIDriverPolicy",
)  # fmt: skip


@functools.cache
def _managed_data() -> dict[str, Any]:
    """Read AWS's managed policies as moto ships them."""
    found: dict[str, Any] = json.loads(aws_managed_policies_data)
    return found


def add_managed_policies(config: GateConfig) -> None:
    """Put the AWS-managed policies into every account; before the journal, which attaches them."""
    for account in config.all_accounts:
        store = backend("iam", account, "aws")
        for name in MANAGED:
            if name in _managed_data():
                policy = AWSManagedPolicy.from_data(name, account, "aws", _managed_data()[name])
                store.managed_policies[policy.arn] = policy


def ensure_accounts(config: GateConfig, store: MotoStore, keys: KeyStore) -> None:
    """Ensure vendor role, customer users, their keys, and the trail buckets."""
    _ensure_vendor(config, store, keys)
    for index, account in enumerate(config.accounts):
        suffix = "" if index == 0 else f"-{account}"
        admin = f"arn:{config.partition}:iam::aws:policy/AdministratorAccess"
        _ensure_user(config, store, keys, account, "customer-admin", suffix, managed=admin)
        _ensure_user(
            config, store, keys, account, "customer-auditor", suffix, inline=_auditor(account)
        )
    for account in config.all_accounts:
        if bucket_owner(trail_bucket(account)) is None:
            _must(_put_bucket(store, account, config.region))


def _ensure_vendor(config: GateConfig, store: MotoStore, keys: KeyStore) -> None:
    """Ensure the vendor's control-plane role and a standing session of it."""
    account = config.vendor_account
    if find_role(account, VENDOR_ROLE) is None:
        trust = _document("sts:AssumeRole", None, {"Service": "ec2.amazonaws.com"})
        _must(
            store.query(
                account, config.region, "iam", "CreateRole",
                RoleName=VENDOR_ROLE, AssumeRolePolicyDocument=trust, MaxSessionDuration=3600,
            )
        )  # fmt: skip
        allowed = ["sts:AssumeRole", "sts:SetSourceIdentity", "sts:TagSession"]
        document = _document(allowed, "arn:*:iam::*:role/ringfence-*")
        _must(
            store.query(
                account, config.region, "iam", "PutRolePolicy",
                RoleName=VENDOR_ROLE, PolicyName="assume", PolicyDocument=document,
            )
        )  # fmt: skip
    role: Any = find_role(account, VENDOR_ROLE)
    session = "control-plane"
    keys.standing_session(
        "vendor",
        Caller(
            kind="session",
            account=account,
            arn=f"arn:{config.partition}:sts::{account}:assumed-role/{VENDOR_ROLE}/{session}",
            user_id=f"{role.id}:{session}",
            access_key="",
            name=VENDOR_ROLE,
            role_arn=f"arn:{config.partition}:iam::{account}:role/{VENDOR_ROLE}",
            session_name=session,
            issued_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        ),
    )


def _ensure_user(
    config: GateConfig, store: MotoStore, keys: KeyStore, account: str, name: str, suffix: str,
    managed: str = "", inline: str = "",
) -> None:  # fmt: skip
    """Ensure one IAM user with its policy and key."""
    users = backend("iam", account, "aws").users
    if name not in users:
        _must(store.query(account, config.region, "iam", "CreateUser", UserName=name))
        if managed:
            _must(
                store.query(
                    account, config.region, "iam", "AttachUserPolicy",
                    UserName=name, PolicyArn=managed,
                )
            )  # fmt: skip
        if inline:
            _must(
                store.query(
                    account, config.region, "iam", "PutUserPolicy",
                    UserName=name, PolicyName="audit", PolicyDocument=inline,
                )
            )  # fmt: skip
    arn = f"arn:{config.partition}:iam::{account}:user/{name}"
    caller = Caller("user", account, arn, users[name].id, "", name)
    keys.user_key(f"{name}{suffix}", caller)


def _auditor(account: str) -> str:
    """Write the auditor's policy: the trail, and nothing else."""
    bucket = f"arn:aws:s3:::{trail_bucket(account)}"
    return json.dumps(
        {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetBucketLocation"],
                    "Resource": [bucket, f"{bucket}/*"],
                },
                {"Effect": "Allow", "Action": "cloudtrail:LookupEvents", "Resource": "*"},
            ],
        }
    )


def _document(
    actions: str | list[str], resource: str | None, principal: dict[str, str] | None = None
) -> str:
    """Write a policy of one allow."""
    statement: dict[str, Any] = {"Effect": "Allow", "Action": actions}
    if resource:
        statement["Resource"] = resource
    if principal:
        statement["Principal"] = principal
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def _put_bucket(store: MotoStore, account: str, region: str) -> Response:
    """Create the trail bucket of an account."""
    body = (
        f"<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint>"
        "</CreateBucketConfiguration>"
    ).encode()
    target = f"/{trail_bucket(account)}"
    call = StoreCall(account, region, "s3", "PUT", target, {"content-type": "text/xml"}, body)
    return store.send(call, record=True)


def _must(response: Response) -> None:
    """Refuse to go on with a half-made account. Raises RuntimeError."""
    if response.status >= 400:
        raise RuntimeError(f"the account cannot be set up: {response.body.decode()[:500]}")
