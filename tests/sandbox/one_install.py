"""One boundary installed in a sandbox of its own, by the interfaces that people use.

Used by the test of what a sandbox survives. Separate from it because the way there is long, and is
not what that test is about.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import yaml

from ringfence.cli.access import run_verification
from ringfence.client import Api, Context
from sandbox.demo.customer_side import Customer
from sandbox.home import Home, write_private
from tests.architecture.sources import ROOT

BOUNDARY = "payments"
CIDR = "10.20.0.0/16"
OWNERS = {"payments": "pia@acme.test", "research": "rui@acme.test"}
"""An engineer of each boundary."""
REGION = "eu-central-1"
Found = TypeVar("Found")
COMMAND = (sys.executable, "-m", "ringfence.cli.main")


def wait_for(condition: Callable[[], Found | None], seconds: float, what: str) -> Found:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.1)
    raise AssertionError(f"{what}: not within {seconds:.0f} s")


@dataclass(frozen=True)
class Sandbox:
    """A sandbox in a folder of its own."""

    home: Home
    _clients: dict[str, Api] = field(default_factory=dict)

    def run(self, *arguments: str, seconds: float = 200) -> str:
        """Run `ringfence …` and return what it printed. Raises: AssertionError with its words."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            env={**os.environ, "RINGFENCE_HOME": str(self.home.root), "NO_COLOR": "1"},
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def api(self, person: str) -> Api:
        """Return a client of the API that acts as one of the demo's people."""
        if person not in self._clients:
            document = json.loads(self.home.context_file.read_text())
            token = document["people"][person]["token"]
            self._clients[person] = Api(Context(document["api_url"], token, person))
        return self._clients[person]

    def close(self) -> None:
        """Stop the sandbox and erase it."""
        for client in self._clients.values():
            client.close()
        self.run("reset", "--yes")

    def customer(self) -> Customer:
        """Return the customer's administrator."""
        document = json.loads(self.home.context_file.read_text())
        return Customer.of(self.home, document["aws"]["endpoint_url"], REGION)

    def vpcs(self) -> list[str]:
        """Return the ids of the VPCs with the boundary's addresses."""
        found = self.customer().client("ec2").describe_vpcs()["Vpcs"]
        return [vpc["VpcId"] for vpc in found if vpc["CidrBlock"] == CIDR]

    def part(self, name: str) -> dict[str, Any]:
        """Return what the record says of a part."""
        record = self.home.read_record()
        assert record is not None
        found: dict[str, Any] = next(p for p in record["parts"] if p["name"] == name)
        return found

    def answers(self, boundary: str = BOUNDARY) -> bool:
        """Tell whether the boundary's model answers through its gateway."""
        try:
            return bool(self.run("chat", boundary, "Write a function", seconds=90).strip())
        except AssertionError as error:
            print(error)
            return False


def begin_install(sandbox: Sandbox, reach: str = "public-cidr", images: str = "pulled") -> str:
    """Describe one boundary, open its role, approve its plan; return the run that now applies."""
    document = yaml.safe_load((ROOT / "examples/acme/organization.yaml").read_text())
    document["boundaries"] = [b for b in document["boundaries"] if b["name"] == BOUNDARY]
    document["boundaries"][0]["connection"] = {"reach": reach, "images": images}
    mappings = document["role_mappings"]
    document["role_mappings"] = [m for m in mappings if m.get("boundary", BOUNDARY) == BOUNDARY]
    sandbox.api("max@acme.test").put(f"/v1/organizations/{document['organization']}", document)
    return install_boundary(sandbox, BOUNDARY)


def describe_shared(sandbox: Sandbox, host: str, guest: str) -> None:
    """Send the organization's file in which a host lets a guest into its cluster."""
    document = yaml.safe_load((ROOT / "examples/acme/organization.yaml").read_text())
    inputs = {one["name"]: one["inputs"] for one in document["boundaries"]}
    inputs[host]["guests"] = [guest]
    inputs[guest].clear()
    inputs[guest] |= {"cluster": "existing", "host": host}
    sandbox.api("max@acme.test").put(f"/v1/organizations/{document['organization']}", document)


def install_boundary(sandbox: Sandbox, boundary: str) -> str:
    """Open a described boundary's role, approve its plan; return the run that now applies."""
    architect, approver = sandbox.api("sam@acme.test"), sandbox.api("ana@acme.test")
    connection = architect.get(f"/v1/boundaries/{boundary}/connection")
    template = architect.get(f"/v1/connections/{connection['id']}/template")
    customer = sandbox.customer()
    customer.create_stack(boundary, template["template"], template["parameters"])
    grant = open_grant(sandbox, "install", boundary)
    begun = architect.post("/v1/installs", {"boundary": boundary, "grant_id": grant})
    run: str = begun["run_id"]
    wait_for(
        lambda: architect.get(f"/v1/runs/{run}")["state"] == "awaiting-approval", 120, "the plan"
    )
    plan = architect.get(f"/v1/runs/{run}/plan")
    key = sandbox.api(OWNERS[boundary]).post(
        f"/v1/boundaries/{boundary}/gateway-keys",
        {"group": f"{boundary}-engineers", "owner": OWNERS[boundary]},
    )
    (sandbox.home.secrets / "gateway-keys").mkdir(exist_ok=True, mode=0o700)
    write_private(sandbox.home.secrets / "gateway-keys" / boundary, key["key"])
    body = {"digest": plan["digest"], "reason": "test"}
    approver.post(f"/v1/runs/{run}/approve", body)
    return run


def open_grant(sandbox: Sandbox, purpose: str, boundary: str = BOUNDARY) -> str:
    """Ask for a grant, have it approved and opened by the customer; return its id."""
    architect, approver = sandbox.api("sam@acme.test"), sandbox.api("ana@acme.test")
    connection = architect.get(f"/v1/boundaries/{boundary}/connection")
    template = architect.get(f"/v1/connections/{connection['id']}/template")
    grant: str = architect.post(
        f"/v1/boundaries/{boundary}/grants",
        {"purpose": purpose, "reason": "test", "duration_seconds": 7200, "ticket": "T-1"},
    )["id"]
    agreed = approver.post(f"/v1/grants/{grant}/approve", {"reason": "test"})
    sandbox.customer().open_role(boundary, {**template["parameters"], **agreed["stack_parameters"]})
    verified = run_verification(architect, connection["id"], "open", grant)
    assert verified["passed"], verified
    return grant


def run_ended(sandbox: Sandbox, run: str, seconds: float = 200) -> dict[str, Any]:
    """Wait for a run's end and return it."""

    def ended() -> dict[str, Any] | None:
        found: dict[str, Any] = sandbox.api("sam@acme.test").get(f"/v1/runs/{run}")
        return found if found["finished_at"] else None

    return wait_for(ended, seconds, f"the end of run {run}")


def processes_of(home: Path) -> list[str]:
    """Return the command lines of every process that names this home in its arguments."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            environment = (folder / "environ").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if any(f"{home}/" in word for word in words) or str(home) in environment:
            found.append(" ".join(words)[:200])
    return found
