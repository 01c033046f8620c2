"""The real engine and an account for it to work on, for the tests in this folder."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
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
    inputs: dict[str, Any] = field(default_factory=lambda: INPUTS)
    observer: dict[str, str] = field(default_factory=dict)
    """Whose credentials the tests look with; empty means the engine's own."""

    def run(
        self,
        stack: str,
        *operations: str,
        upstream: dict[str, Any] | None = None,
        entry: str | None = None,
        inputs: dict[str, Any] | None = None,
    ) -> list[dict[str, Any]]:
        """Run operations on a stack and return one answer each."""
        with self.started(
            stack, *operations, upstream=upstream, entry=entry, inputs=inputs
        ) as process:
            output, errors = process.communicate(timeout=240)
        assert process.returncode == 0, errors[-4000:]
        return [json.loads(line) for line in output.splitlines()]

    @contextmanager
    def started(
        self,
        stack: str,
        *operations: str,
        upstream: dict[str, Any] | None = None,
        entry: str | None = None,
        inputs: dict[str, Any] | None = None,
    ) -> Iterator[subprocess.Popen[str]]:
        """Start a run and give its process, which has its request already."""
        request = {
            "entry": entry or f"{PROGRAM}:{stack}",
            "stack": f"payments-{stack}",
            "backend": f"file://{self.home}/state",
            "inputs": inputs or self.inputs,
            "upstream": upstream,
            "operations": operations,
        }
        file = self.home / "request.json"
        file.write_text(json.dumps(request))
        with (
            file.open() as given,
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("engine_runner.py"))],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=self.environment(),
                cwd=self.home,
                text=True,
            ) as process,
        ):
            try:
                yield process
            finally:
                process.kill()

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
        key = self.observer or self.credentials
        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name=INPUTS["region"],
            aws_access_key_id=key["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=key["AWS_SECRET_ACCESS_KEY"],
            aws_session_token=key.get("AWS_SESSION_TOKEN"),
        )


def resources(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the resources of an exported stack by `TYPE NAME`, without the stack itself."""
    found: Sequence[dict[str, Any]] = answer["deployment"].get("resources", [])
    return {
        f"{item['type']} {item['urn'].rsplit('::', 1)[-1]}": item
        for item in found
        if item["type"] != "pulumi:pulumi:Stack"
    }
