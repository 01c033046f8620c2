"""The agent's uses of the cloud: the pins on its own role, closing the vendor's role, the bucket.

Used by `agent.verbs`, `agent.anchors` and `agent.main`. The pod identity is the customer's *closer*
role, which may detach policies from and delete roles `ringfence-<boundary>-g*`, put its public key
and the audit's checkpoints into the customer's bucket, and nothing else of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from wire.agent import CloseReport

PIN_TAG = "ringfence:control-plane-key"
DENY_ALL = ":iam::aws:policy/AWSDenyAll"


class CloudError(RuntimeError):
    """A call to the cloud failed; the message has service, action and the cloud's own code."""


class Cloud:
    """Clients with the pod's own identity."""

    def __init__(self, region: str) -> None:
        session = boto3.Session(region_name=region)
        config = Config(
            retries={"mode": "standard", "max_attempts": 5},
            connect_timeout=5,
            read_timeout=20,
            s3={"addressing_style": "path"},
        )
        self._iam = session.client("iam", config=config)
        self._s3 = session.client("s3", config=config)

    def pinned_control_plane_key(self, closer_role: str) -> str:
        """Return the fingerprint the customer pinned on the closer role. Raises: CloudError."""
        answer = self._call("iam:ListRoleTags", self._iam.list_role_tags, RoleName=closer_role)
        tags = {tag["Key"]: tag["Value"] for tag in answer["Tags"]}
        if PIN_TAG not in tags:
            raise CloudError(
                f"role {closer_role} has no tag {PIN_TAG}: update the template's stack"
            )
        pin: str = tags[PIN_TAG]
        return pin

    def publish_public_key(self, bucket: str, key_name: str, public_key: str) -> None:
        """Put the agent's public key where the customer can read it, apart from the vendor."""
        self._call(
            "s3:PutObject",
            self._s3.put_object,
            Bucket=bucket,
            Key=key_name,
            Body=public_key.encode(),
        )

    def put_once(self, bucket: str, name: str, body: bytes) -> None:
        """Write an object that is not there yet; the same content again changes nothing.

        Raises: CloudError, also when another content has the name: nothing is overwritten.
        """
        try:
            self._call(
                "s3:PutObject",
                self._s3.put_object,
                Bucket=bucket,
                Key=name,
                Body=body,
                IfNoneMatch="*",
            )
        except ObjectExistsError as error:
            if self.read_object(bucket, name) != body:
                raise CloudError(f"s3://{bucket}/{name} has another content already") from error

    def read_object(self, bucket: str, name: str) -> bytes | None:
        """Return an object's content, None when there is none. Raises: CloudError."""
        try:
            answer = self._call("s3:GetObject", self._s3.get_object, Bucket=bucket, Key=name)
        except ObjectAbsentError:
            return None
        data: bytes = answer["Body"].read()
        return data

    def delete_role(self, role_name: str) -> CloseReport:
        """Strip and delete a role, the deny-all last, and read back that it is gone.

        Safe to repeat: a role that is absent already is reported as deleted.
        """
        detached: list[str] = []
        try:
            answer = self._call(
                "iam:ListAttachedRolePolicies",
                self._iam.list_attached_role_policies,
                RoleName=role_name,
            )
            arns = [policy["PolicyArn"] for policy in answer["AttachedPolicies"]]
            # The deny-all goes last: until the role is gone nothing may get power back.
            for arn in sorted(arns, key=lambda a: a.endswith(DENY_ALL)):
                self._call(
                    "iam:DetachRolePolicy",
                    self._iam.detach_role_policy,
                    RoleName=role_name,
                    PolicyArn=arn,
                )
                detached.append(arn)
            self._call("iam:DeleteRole", self._iam.delete_role, RoleName=role_name)
        except RoleAbsentError:
            pass
        absent_at = self._absent_at(role_name)
        return CloseReport(
            role_name=role_name,
            detached=tuple(detached),
            role_deleted=absent_at is not None,
            role_absent_at=absent_at,
        )

    def _absent_at(self, role_name: str) -> datetime | None:
        try:
            self._call("iam:GetRole", self._iam.get_role, RoleName=role_name)
        except RoleAbsentError:
            return datetime.now(UTC)
        return None

    @staticmethod
    def _call(action: str, function: Callable[..., Any], **arguments: object) -> Any:
        try:
            return function(**arguments)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("NoSuchEntity", "NoSuchEntityException"):
                raise RoleAbsentError(f"{action}: {code}") from error
            if code == "PreconditionFailed":
                raise ObjectExistsError(f"{action}: {code}") from error
            # Without the right to list, S3 says of an absent object that it may not be read.
            if code == "NoSuchKey" or (action == "s3:GetObject" and code == "AccessDenied"):
                raise ObjectAbsentError(f"{action}: {code}") from error
            raise CloudError(f"{action}: {code}: {error.response['Error']['Message']}") from error
        except BotoCoreError as error:
            raise CloudError(f"{action}: {error}") from error


class RoleAbsentError(CloudError):
    """The role is not there."""


class ObjectExistsError(CloudError):
    """An object of that name is there already."""


class ObjectAbsentError(CloudError):
    """The object is not there."""
