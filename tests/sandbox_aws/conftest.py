"""A real gate process and real boto3 clients for the tests of the rehearsal account."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config

from iam.role_template import render_template, role_name, stack_name

ROOT = Path(__file__).resolve().parents[2]
CUSTOMER, VENDOR = "111122223333", "999988887777"
VENDOR_ROLE = f"arn:aws:iam::{VENDOR}:role/ringfence-control-plane"
REGION = "eu-central-1"
# The gate must refuse bad input itself, so the client does not check it first.
ONE_TRY = Config(
    retries={"max_attempts": 1, "mode": "standard"}, connect_timeout=5, parameter_validation=False
)


def until(seconds: float = 3600) -> str:
    """Write an instant that many seconds from now as GrantUntil."""
    return (datetime.now(UTC) + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass
class GateProcess:
    """One running gate with its folders; it can be restarted on the same data."""

    root: Path
    time_scale: float = 0.001
    process: subprocess.Popen[bytes] | None = None
    endpoint: str = ""
    boundaries: int = 0
    log: Path = field(init=False)
    clients: dict[Any, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.log = self.root / "log"

    def start(self) -> None:
        config = self.root / "config.json"
        config.write_text(
            json.dumps(
                {
                    "port": 0,
                    "unix_socket": str(self.root / "run/aws.sock"),
                    "data_dir": str(self.root / "data"),
                    "run_dir": str(self.root / "run"),
                    "secrets_dir": str(self.root / "secrets"),
                    "time_scale": self.time_scale,
                    "accounts": [CUSTOMER],
                    "trail_flush_seconds": 0.2,
                }
            )
        )
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "sandbox.aws", "--config", str(config)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=output,
                stderr=output,
            )
        ready, deadline = self.root / "run/aws.json", time.monotonic() + 60
        while not ready.exists():
            if self.process.poll() is not None or time.monotonic() > deadline:
                pytest.fail(f"the gate did not start:\n{self.log.read_text()}")
            time.sleep(0.05)
        self.endpoint = json.loads(ready.read_text())["endpoint_url"]

    def stop(self) -> None:
        assert self.process is not None
        self.process.terminate()
        assert self.process.wait(timeout=60) == 0, self.log.read_text()

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        (self.root / "run/aws.json").unlink()

    def credentials(self, name: str) -> dict[str, str]:
        loaded: dict[str, str] = json.loads((self.root / f"secrets/aws/{name}.json").read_text())
        return loaded

    def client(self, service: str, who: str | dict[str, str]) -> Any:
        keys = self.credentials(who) if isinstance(who, str) else who
        # Making a client takes longer than most calls; one per service and key is enough.
        place = (service, self.endpoint, *sorted(keys.items()))
        if place not in self.clients:
            self.clients[place] = self._new_client(service, keys)
        return self.clients[place]

    def _new_client(self, service: str, keys: dict[str, str]) -> Any:
        return boto3.client(
            service,
            region_name=REGION,
            endpoint_url=self.endpoint,
            aws_access_key_id=keys["access_key_id"],
            aws_secret_access_key=keys["secret_access_key"],
            aws_session_token=keys.get("session_token"),
            config=ONE_TRY,
        )

    def boundary(self) -> Boundary:
        """Make a boundary of its own, so that tests do not touch each other's."""
        self.boundaries += 1
        return Boundary(self, f"unit{self.boundaries:03d}x")


@dataclass
class Boundary:
    """A boundary's stack in the customer's account."""

    gate: GateProcess
    name: str

    @property
    def external_id(self) -> str:
        return f"external-{self.name}-0123456789abcdef"

    def parameters(self, number: int, grant_until: str) -> list[dict[str, str]]:
        values = {"GrantNumber": str(number), "GrantUntil": grant_until}
        return [{"ParameterKey": k, "ParameterValue": v} for k, v in values.items()]

    def create(
        self,
        control_plane_key: str = "sha256:plane",
        reach: str = "public-cidr",
        host: str | None = None,
        images: str = "pulled",
    ) -> Boundary:
        template = render_template(
            self.name,
            vendor_principal=VENDOR_ROLE,
            external_id=self.external_id,
            control_plane_key=control_plane_key,
            release_key="sha256:release",
            reach=reach,
            host=host,
            images=images,
        )
        self.gate.client("cloudformation", "customer-admin").create_stack(
            StackName=stack_name(self.name),
            TemplateBody=json.dumps(template),
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        assert self.stack()["StackStatus"] == "CREATE_COMPLETE", self.stack()
        return self

    def open(self, number: int = 1, grant_until: str | None = None) -> Boundary:
        self.gate.client("cloudformation", "customer-admin").update_stack(
            StackName=stack_name(self.name),
            UsePreviousTemplate=True,
            Parameters=[
                *self.parameters(number, grant_until or until()),
                *(
                    {"ParameterKey": one, "UsePreviousValue": True}
                    for one in ("ExternalId", "VendorPrincipal", "Boundary")
                ),
            ],
            Capabilities=["CAPABILITY_NAMED_IAM"],
        )
        return self

    def stack(self) -> dict[str, Any]:
        client = self.gate.client("cloudformation", "customer-admin")
        found: dict[str, Any] = client.describe_stacks(StackName=stack_name(self.name))["Stacks"][0]
        return found

    def role_arn(self, number: int) -> str:
        return f"arn:aws:iam::{CUSTOMER}:role/{role_name(self.name, number)}"

    def assume(self, number: int = 1, who: str | dict[str, str] = "vendor", **changes: Any) -> Any:
        arguments: dict[str, Any] = {
            "RoleArn": self.role_arn(number),
            "RoleSessionName": "run-1",
            "ExternalId": self.external_id,
            "SourceIdentity": "sam@acme.test",
            "DurationSeconds": 900,
            "Tags": [
                {"Key": "ringfence:boundary", "Value": self.name},
                {"Key": "ringfence:run", "Value": "run-1"},
            ],
            **changes,
        }
        arguments = {name: value for name, value in arguments.items() if value is not None}
        return self.gate.client("sts", who).assume_role(**arguments)

    def session(self, number: int = 1, **changes: Any) -> dict[str, str]:
        keys = self.assume(number, **changes)["Credentials"]
        return {
            "access_key_id": keys["AccessKeyId"],
            "secret_access_key": keys["SecretAccessKey"],
            "session_token": keys["SessionToken"],
        }

    def tags(self, kind: str) -> list[dict[str, Any]]:
        tags = [{"Key": "ringfence:boundary", "Value": self.name}]
        return [{"ResourceType": kind, "Tags": tags}]


def _folder() -> Path:
    """Make a folder with a short path: unix sockets are limited to 107 bytes."""
    return Path(tempfile.mkdtemp(prefix="rf-"))


@pytest.fixture(scope="session")
def gate() -> Iterator[GateProcess]:
    """Run one gate for all tests that do not restart it."""
    root = _folder()
    process = GateProcess(root)
    process.start()
    yield process
    process.stop()
    shutil.rmtree(root)


@pytest.fixture
def own_gate() -> Iterator[GateProcess]:
    """Run a gate that the test may stop and start."""
    root = _folder()
    process = GateProcess(root)
    process.start()
    yield process
    process.stop()
    shutil.rmtree(root)


@pytest.fixture
def boundary(gate: GateProcess) -> Boundary:
    """Make a boundary whose stack exists and is closed."""
    return gate.boundary().create()


@pytest.fixture
def opened(boundary: Boundary) -> Boundary:
    """Make a boundary that the customer has opened with number 1."""
    return boundary.open(1)
