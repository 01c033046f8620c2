"""The rehearsal account as a process of its own, for the tests that need EKS or policies."""

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

import boto3

from tests.blueprints.engine import INPUTS, ROOT

ACCOUNT = "111122223333"


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


def _when_ready(process: subprocess.Popen[bytes], folder: Path) -> dict[str, Any]:
    pause, deadline = Event(), time.monotonic() + 60
    while not (folder / "run/aws.json").exists():
        assert process.poll() is None, (folder / "log").read_text()[-3000:]
        assert time.monotonic() < deadline, (folder / "log").read_text()[-3000:]
        pause.wait(0.05)
    found: dict[str, Any] = json.loads((folder / "run/aws.json").read_text())
    return found
