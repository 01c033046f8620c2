"""The real engine and an account for it to work on, for the tests in this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = "blueprints.eks_model_stack.program"
ACCOUNT = "123456789012"
INPUTS: dict[str, Any] = {
    "organization": "acme",
    "boundary": "payments",
    "install_id": "ins_7",
    "account": ACCOUNT,
    "region": "eu-central-1",
    "cidr": "10.20.0.0/16",
    "zones": ["eu-central-1a", "eu-central-1b"],
    "control_plane_cidrs": ["127.0.0.1/32"],
}


@dataclass
class Engine:
    """One Pulumi home with the stand-in installed, and the account's address."""

    home: Path
    pulumi: Path
    endpoint: str
    credentials: dict[str, str]

    def run(
        self,
        stack: str,
        *operations: str,
        upstream: dict[str, Any] | None = None,
        entry: str | None = None,
        inputs: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Run operations on a stack and return one answer each."""
        request = {
            "entry": entry or f"{PROGRAM}:{stack}",
            "stack": f"payments-{stack}",
            "backend": f"file://{self.home}/state",
            "inputs": inputs or INPUTS,
            "upstream": upstream,
            "operations": operations,
        }
        done = subprocess.run(
            [sys.executable, str(Path(__file__).with_name("engine_runner.py"))],
            input=json.dumps(request),
            env=self.environment(),
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-4000:]
        return [json.loads(line) for line in done.stdout.splitlines()]

    def succeed(self, stack: str, *operations: str, **more: Any) -> list[dict[str, Any]]:
        """Run as `run`, and fail the test with the engine's own words on an error."""
        answers = self.run(stack, *operations, **more)
        for answer in answers:
            assert "error" not in answer, answer["error"][-4000:]
        return answers

    def environment(self) -> dict[str, str]:
        """Return all that the engine's process gets."""
        (self.home / "state").mkdir(exist_ok=True)
        return {
            "PATH": f"{self.pulumi.parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "PYTHONPATH": str(ROOT),
            "PULUMI_HOME": str(self.home),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PULUMI_SKIP_UPDATE_CHECK": "true",
            "PULUMI_CONFIG_PASSPHRASE": "only for this test",
            "AWS_ENDPOINT_URL": self.endpoint,
            **self.credentials,
        }

    def client(self, service: str) -> Any:
        """Return a client of the account, as another party than the engine."""
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=INPUTS["region"],
            aws_access_key_id=self.credentials["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.credentials["AWS_SECRET_ACCESS_KEY"],
        )


def resources(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the resources of an exported stack by `TYPE NAME`, without the stack itself."""
    found: Sequence[dict[str, Any]] = answer["deployment"].get("resources", [])
    return {
        f"{item['type']} {item['urn'].rsplit('::', 1)[-1]}": item
        for item in found
        if item["type"] != "pulumi:pulumi:Stack"
    }
