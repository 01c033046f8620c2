"""What others do in the customer's account during a run: the administrator's own calls.

Used by the injector. The calls are signed with the administrator's key and go through the gate, so
that policies judge them and the trail shows who made them, as it would in AWS.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import boto3
from botocore import xform_name
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from sandbox.aws.files import read_json
from sandbox.aws.messages import Caller

ADMIN = "customer-admin"
log = logging.getLogger("sandbox.aws.faults")


class Outside:
    """The customer's administrator, acting by himself."""

    def __init__(self, secrets_dir: Path, home: str, region: str) -> None:
        """`home` is the account whose administrator's key has no suffix."""
        self._dir, self._home, self._region = secrets_dir / "aws", home, region
        self.endpoint = ""

    def act(self, account: str, act: dict[str, Any], created: list[str]) -> str:
        """Make one call; give its error code, empty where it was done."""
        parameters = _filled(act["parameters"], created[0] if created else "")
        name = xform_name(act["operation"])
        try:
            getattr(self._client(act["service"], account), name)(**parameters)
        except ClientError as error:
            code = str(error.response["Error"]["Code"])
            log.warning("the administrator's %s was refused: %s", act["operation"], code)
            return code
        except (BotoCoreError, AttributeError) as error:
            log.warning("the administrator's %s cannot be made: %s", act["operation"], error)
            return type(error).__name__
        return ""

    def delete_role(self, caller: Caller) -> None:
        """Delete the role behind a session, with everything attached to it."""
        iam, name = self._client("iam", caller.account), caller.name
        for policy in iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]:
            iam.detach_role_policy(RoleName=name, PolicyArn=policy["PolicyArn"])
        for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
            iam.delete_role_policy(RoleName=name, PolicyName=inline)
        iam.delete_role(RoleName=name)

    def rotate_external_id(self, caller: Caller, new: str) -> None:
        """Let the trust of the role behind a session ask for another External ID."""
        iam, name = self._client("iam", caller.account), caller.name
        trust = iam.get_role(RoleName=name)["Role"]["AssumeRolePolicyDocument"]
        for statement in trust["Statement"]:
            for values in statement.get("Condition", {}).values():
                if "sts:ExternalId" in values:
                    values["sts:ExternalId"] = new
        iam.update_assume_role_policy(RoleName=name, PolicyDocument=json.dumps(trust))

    def _client(self, service: str, account: str) -> Any:
        suffix = "" if account == self._home else f"-{account}"
        keys = read_json(self._dir / f"{ADMIN}{suffix}.json", {})
        return boto3.client(
            service,
            region_name=self._region,
            endpoint_url=self.endpoint,
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            config=Config(retries={"max_attempts": 1, "mode": "standard"}, proxies={}),
        )


def _filled(value: Any, created: str) -> Any:
    """Put what was created in the place of `$created`."""
    if isinstance(value, dict):
        return {key: _filled(one, created) for key, one in value.items()}
    if isinstance(value, list):
        return [_filled(one, created) for one in value]
    return created if value == "$created" else value
