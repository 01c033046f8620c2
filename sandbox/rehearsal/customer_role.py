"""The customer's own role in the copied account, with which the kit's script works.

Made by `sandbox.rehearsal.alone`. Apart from it because it belongs to the rehearsal: the emulated
account lets roles into clusters, not users, and a customer's people come in by a role anyway.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

NAME = "customer-operations"


def assume(clients: Callable[[str], Any], account: str, file: Path) -> str:
    """Make the role, write a session of it as the AWS command line keeps it; return its ARN."""
    iam = clients("iam")
    trust = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{account}:root"}}
    everything = {"Effect": "Allow", "Action": "*", "Resource": "*"}
    role: str = iam.create_role(
        RoleName=NAME,
        AssumeRolePolicyDocument=_document({**trust, "Action": "sts:AssumeRole"}),
    )["Role"]["Arn"]
    iam.put_role_policy(RoleName=NAME, PolicyName="all", PolicyDocument=_document(everything))
    keys = clients("sts").assume_role(RoleArn=role, RoleSessionName="operations")["Credentials"]
    handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w") as opened:
        opened.write(
            f"[default]\naws_access_key_id = {keys['AccessKeyId']}\n"
            f"aws_secret_access_key = {keys['SecretAccessKey']}\n"
            f"aws_session_token = {keys['SessionToken']}\n"
        )
    return role


def _document(statement: dict[str, Any]) -> str:
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})
