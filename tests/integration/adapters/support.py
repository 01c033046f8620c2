"""A real engine for tests: the pinned CLI, the provider stand-in, moto and a PostgreSQL schema.

Used by the fixtures of this folder and of `tests/faults`. moto stands for AWS without its policing;
the rehearsal account, which polices, is tested on its own and by the e2e test.
"""

from __future__ import annotations

import secrets
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from controlplane.adapters.aws.broker import CredentialBroker
from controlplane.adapters.aws.sessions import Credentials, client
from controlplane.adapters.pulumi.engine import (
    EngineRun,
    EngineSettings,
    PulumiEngine,
    StackProgram,
)
from controlplane.adapters.pulumi.messages import EngineEvent, ProgramRef
from controlplane.adapters.pulumi.process import Limits
from controlplane.adapters.pulumi.state import StateStore
from controlplane.core.clock import now
from sandbox.aws_provider.install import install
from sandbox.home import free_port
from sandbox.toolchain import find_program

PROGRAMS = Path(__file__).parent / "programs"
REGION = "eu-central-1"
PROJECT = "acme-payments"
KEYS = Credentials("testing", "testing", "testing")


@contextmanager
def moto() -> Iterator[str]:
    """Run moto's server and yield its address."""
    port = free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": "/usr/bin:/bin", "MOTO_IAM_LOAD_MANAGED_POLICIES": "true"},
    )
    url = f"http://127.0.0.1:{port}"
    try:
        until(lambda: _answers(url), seconds=60, what="moto")
        yield url
    finally:
        # It keeps nothing that would have to be written, and takes its time to end in order.
        process.kill()
        process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/moto-api/", timeout=1):
            return True
    except OSError:
        return False


def until(holds: Any, *, seconds: float, what: str) -> None:
    """Poll a condition; fail with its name when time is up."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what} did not happen within {seconds} s"
        time.sleep(0.02)


def program(name: str) -> ProgramRef:
    return ProgramRef(root=str(PROGRAMS), entry=f"small_network:{name}")


@dataclass
class Bench:
    """One boundary with its state, and an engine for it."""

    root: Path
    state: StateStore
    aws_url: str
    boundary_id: UUID = field(default_factory=uuid4)
    run_id: UUID = field(default_factory=uuid4)
    lease_held: bool = True
    keep: bool = False
    """Use what an earlier bench has made in `root`."""

    def __post_init__(self) -> None:
        if self.keep:
            return
        install(self.root / "plugins")
        passphrase = self.root / "passphrase"
        passphrase.write_text(secrets.token_urlsafe(24))
        passphrase.chmod(0o600)
        self.state.ensure(self.boundary_id)

    def engine(self, limits: Limits | None = None, parallel: int = 4) -> PulumiEngine:
        return PulumiEngine(
            EngineSettings(
                pulumi=find_program("pulumi"),
                plugins=self.root / "plugins",
                work_root=self.root / "runs",
                passphrase_file=self.root / "passphrase",
                aws_endpoint_url=self.aws_url,
                parallel=parallel,
                limits=limits or Limits(),
            ),
            self.state,
        )

    def broker(self) -> CredentialBroker:
        def renew() -> Credentials:
            end = now() + timedelta(seconds=900)
            return Credentials("testing", "testing", "testing", end, "test")

        return CredentialBroker(renew, lambda: self.lease_held, self.root / "broker-token")

    def run(self, broker: CredentialBroker | None, fence: int = 1) -> EngineRun:
        endpoint = broker.endpoint if broker else None
        return EngineRun(self.boundary_id, self.run_id, fence, PROJECT, REGION, endpoint)

    def aws(self, service: str) -> Any:
        return client(service, KEYS, region=REGION, endpoint_url=self.aws_url)

    def vpcs(self, cidr: str) -> list[str]:
        found = self.aws("ec2").describe_vpcs(Filters=[{"Name": "cidr", "Values": [cidr]}])
        return [vpc["VpcId"] for vpc in found["Vpcs"]]


def stack(name: str, **inputs: Any) -> StackProgram:
    """Return the test program `name` as a stack of the same name with dashes."""
    return StackProgram(name.replace("_", "-"), program(name), inputs)


def ignore(_: EngineEvent) -> None:
    """Take no notice of an event."""
