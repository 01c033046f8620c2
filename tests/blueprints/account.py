"""The rehearsal account as a process of its own, for the tests that need EKS or policies."""

import json
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event
from typing import Any

import boto3

from iam.role_template import render_template, role_arn, stack_name
from tests.blueprints.engine import INPUTS, ROOT

ACCOUNT = "111122223333"
VENDOR = "999988887777"


@dataclass(frozen=True)
class RehearsalAccount:
    """The account's address and its people's keys."""

    endpoint: str
    secrets: Path

    def credentials(self, name: str) -> dict[str, str]:
        """Return a person's key as environment variables."""
        key = json.loads((self.secrets / "aws" / f"{name}.json").read_text())
        found = {
            "AWS_ACCESS_KEY_ID": key["access_key_id"],
            "AWS_SECRET_ACCESS_KEY": key["secret_access_key"],
        }
        if key.get("session_token"):
            found["AWS_SESSION_TOKEN"] = key["session_token"]
        return found

    def client(self, service: str, credentials: dict[str, str]) -> Any:
        """Return a client with such credentials."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=INPUTS["region"],
            aws_access_key_id=credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=credentials["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=credentials.get("AWS_SESSION_TOKEN"),
        )


@contextmanager
def rehearsal_account(folder: Path, time_scale: float) -> Iterator[RehearsalAccount]:
    """Serve an empty rehearsal account from `folder`; its clusters end with it."""
    for name in ("data", "run", "secrets"):
        (folder / name).mkdir(mode=0o700)
    config = {
        "port": 0,
        "unix_socket": str(folder / "run/aws.sock"),
        "data_dir": str(folder / "data"),
        "run_dir": str(folder / "run"),
        "secrets_dir": str(folder / "secrets"),
        "time_scale": time_scale,
    }
    (folder / "config.json").write_text(json.dumps(config))
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "sandbox.aws", "--config", str(folder / "config.json")],
            cwd=ROOT,
            stdout=log,
            stderr=log,
        )
    try:
        address = _when_ready(process, folder)
        yield RehearsalAccount(address["endpoint_url"], folder / "secrets")
    finally:
        process.terminate()
        process.wait(60)


def opened_session(account: RehearsalAccount, boundary: str) -> dict[str, str]:
    """Do the customer's part with the real template, and return a session of the opened role."""
    external_id = secrets.token_hex(16)
    template = render_template(
        boundary,
        vendor_principal=f"arn:aws:iam::{VENDOR}:role/ringfence-control-plane",
        external_id=external_id,
        control_plane_key="0" * 64,
        release_key="1" * 64,
    )
    until = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    stacks = account.client("cloudformation", account.credentials("customer-admin"))
    stacks.create_stack(
        StackName=stack_name(boundary),
        TemplateBody=json.dumps(template),
        Capabilities=["CAPABILITY_NAMED_IAM"],
        Parameters=[
            {"ParameterKey": "GrantNumber", "ParameterValue": "1"},
            {"ParameterKey": "GrantUntil", "ParameterValue": until},
        ],
    )
    stacks.get_waiter("stack_create_complete").wait(
        StackName=stack_name(boundary), WaiterConfig={"Delay": 1, "MaxAttempts": 60}
    )
    vendor = account.client("sts", account.credentials("vendor"))
    key = vendor.assume_role(
        RoleArn=role_arn("aws", ACCOUNT, boundary, 1),
        RoleSessionName="run-1",
        SourceIdentity="sam@acme.test",
        ExternalId=external_id,
        DurationSeconds=900,
        Tags=[{"Key": "ringfence:boundary", "Value": boundary}],
    )["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": key["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": key["SecretAccessKey"],
        "AWS_SESSION_TOKEN": key["SessionToken"],
    }


def _when_ready(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    pause, deadline = Event(), time.monotonic() + 60
    while not (folder / "run/aws.json").exists():
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
        pause.wait(0.05)
    found: dict[str, Any] = json.loads((folder / "run/aws.json").read_text())
    return found
