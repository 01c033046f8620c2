"""What a sandbox survives: killed parts, a killed worker in the middle of an apply, stop and start.

One boundary is installed once; every test then does something to the same sandbox, in this order.
"""

import base64
import json
import os
import shutil
import signal
import socket
import struct
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from sandbox.cluster.settings import read_settings
from sandbox.home import Home
from tests.sandbox.one_install import (
    BOUNDARY,
    CIDR,
    Sandbox,
    begin_install,
    processes_of,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
LISTENS = "0A"


@dataclass(frozen=True)
class Installed:
    """An installed boundary, whose worker was killed while the foundation was made."""

    sandbox: Sandbox
    run_id: str
    killed_worker: int


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    root = Path(tempfile.mkdtemp(prefix="rf-life-"))
    sandbox = Sandbox(Home(root / "home"))
    try:
        sandbox.run("up")
        run_id = begin_install(sandbox)
        wait_for(sandbox.vpcs, 120, "a VPC")
        killed = sandbox.part("worker")["pid"]
        os.kill(killed, signal.SIGKILL)
        architect = sandbox.api("sam@acme.test")

        def ended() -> dict[str, Any] | None:
            run: dict[str, Any] = architect.get(f"/v1/runs/{run_id}")
            return run if run["finished_at"] else None

        wait_for(ended, 400, "the end of the run")
        yield Installed(sandbox, run_id, killed)
    finally:
        sandbox.close()
        shutil.rmtree(root, ignore_errors=True)


def listeners() -> dict[int, tuple[str, int]]:
    """Return inode → (address, port) of every listening TCP socket of this host."""
    found = {}
    for name, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == LISTENS:
                packed, port = words[1].split(":")
                raw = bytes.fromhex(packed)
                words_of_raw = struct.unpack(f">{len(raw) // 4}I", raw)
                address = socket.inet_ntop(family, struct.pack(f"={len(raw) // 4}I", *words_of_raw))
                found[int(words[9])] = (address, int(port, 16))
    return found


def sockets_of(pids: list[int]) -> set[int]:
    """Return the inodes of all sockets that some processes hold open."""
    found = set()
    for pid in pids:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except OSError:
                continue
            if target.startswith("socket:["):
                found.add(int(target[8:-1]))
    return found


def family_of(pid: int) -> list[int]:
    """Return a process with all its descendants that share our network."""
    found = [pid]
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            try:
                if os.readlink(f"/proc/{child}/ns/net") == os.readlink("/proc/self/ns/net"):
                    found += family_of(int(child))
            except OSError:
                continue
    return found


def another_cluster(sandbox: Sandbox, before: int) -> bool:
    try:
        return cluster_pid(sandbox) != before
    except FileNotFoundError:
        return False


def calls_in_the_journal(sandbox: Sandbox, action: str) -> int:
    """Count the successful calls of one EC2 action for the boundary's addresses."""
    lines = (sandbox.home.data / "aws" / "journal.jsonl").read_text().splitlines()
    bodies = [base64.b64decode(json.loads(line).get("body", "")).decode() for line in lines]
    wanted = {"Action": [action], "CidrBlock": [CIDR]}
    return sum(wanted.items() <= parse_qs(body).items() for body in bodies)


def cluster_pid(sandbox: Sandbox) -> int:
    folder = sandbox.home.data / "aws" / "clusters" / f"ringfence-{BOUNDARY}"
    return int((read_settings(folder).data / "pid").read_text())


def test_an_install_whose_worker_is_killed_in_the_middle_finishes_once_with_one_vpc(
    installed: Installed,
) -> None:
    sandbox = installed.sandbox
    assert sandbox.part("worker")["pid"] != installed.killed_worker
    run = sandbox.api("sam@acme.test").get(f"/v1/runs/{installed.run_id}")
    assert run["state"] == "succeeded", run
    assert len(sandbox.vpcs()) == 1
    assert calls_in_the_journal(sandbox, "CreateVpc") == 1
    installs = sandbox.api("sam@acme.test").get("/v1/installs")["installs"]
    assert len(installs) == 1
    assert sandbox.answers()


def test_no_socket_of_the_sandbox_listens_beyond_the_loopback(installed: Installed) -> None:
    record = installed.sandbox.home.read_record()
    assert record is not None
    held = sockets_of([*family_of(record["pid"]), *family_of(cluster_pid(installed.sandbox))])
    own = {address for inode, address in listeners().items() if inode in held}
    ports = {port for _, port in own}
    expected = [part["address"] for part in record["parts"] if part["address"]]
    assert {int(address.rpartition(":")[2]) for address in expected} <= ports
    assert any(address.startswith("127.88.") for address, _ in own)
    assert [address for address, _ in own if not address.startswith("127.")] == []


def restarted(sandbox: Sandbox, name: str, before: int) -> dict[str, Any] | None:
    part = sandbox.part(name)
    return part if part["state"] == "running" and part["restarts"] > before else None


@pytest.mark.parametrize(
    "names",
    [("redis", "countersigner", "scheduler", "worker", "edge"), ("api", "postgres"), ("aws",)],
    ids=lambda names: "+".join(names),
)
def test_killed_parts_are_named_and_come_back_and_the_boundary_answers(
    installed: Installed, names: tuple[str, ...]
) -> None:
    sandbox = installed.sandbox
    cluster = cluster_pid(sandbox)
    before = {name: sandbox.part(name) for name in names}
    for part in before.values():
        os.kill(part["pid"], signal.SIGKILL)
    for name, part in before.items():
        again = partial(restarted, sandbox, name, part["restarts"])
        back = wait_for(again, 60, f"{name} again")
        assert back["last_exit"] == "ended with -9"
    shown = sandbox.run("status")
    for name, part in before.items():
        line = next(line for line in shown.splitlines() if line.startswith(name))
        assert f"restarted {part['restarts'] + 1}x; ended with -9" in line
        assert part["log"] in shown
    wait_for(sandbox.answers, 60, "an answer")
    assert cluster_pid(sandbox) == cluster, "the cluster was not kept"


def test_a_killed_cluster_is_started_again_with_its_pods(installed: Installed) -> None:
    sandbox = installed.sandbox
    before = cluster_pid(sandbox)
    os.kill(before, signal.SIGKILL)
    wait_for(lambda: another_cluster(sandbox, before), 60, "a new cluster process")
    wait_for(sandbox.answers, 90, "an answer")


def counted_requests(sandbox: Sandbox) -> int:
    rows = sandbox.api("sam@acme.test").get(f"/v1/boundaries/{BOUNDARY}/usage")["items"]
    return sum(row["requests"] for row in rows if row["output_tokens"])


def account(sandbox: Sandbox) -> dict[str, Any]:
    """Return what the rehearsal account remembers, as its owner reads it."""
    customer = sandbox.customer()
    bucket = f"ringfence-{BOUNDARY}-111122223333-artifacts"
    eks = customer.client("eks")
    cluster = eks.describe_cluster(name=f"ringfence-{BOUNDARY}")["cluster"]
    return {
        "vpcs": sandbox.vpcs(),
        "roles": sorted(r["RoleName"] for r in customer.client("iam").list_roles()["Roles"]),
        "objects": [
            (o["Key"], o["ETag"])
            for o in customer.client("s3").list_objects_v2(Bucket=bucket)["Contents"]
            # A new one may be anchored at any moment.
            if not o["Key"].startswith("audit/checkpoints/")
        ],
        "stacks": [
            (s["StackName"], s["StackStatus"], s["Parameters"])
            for s in customer.client("cloudformation").describe_stacks()["Stacks"]
        ],
        "cluster": (cluster["status"], cluster["certificateAuthority"], cluster["identity"]),
    }


def evidence(sandbox: Sandbox, run_id: str) -> str:
    """Return run and certificate as the API tells them."""
    architect = sandbox.api("sam@acme.test")
    run = architect.get(f"/v1/runs/{run_id}")
    certificate = architect.get(f"/v1/installs/{run['install_id']}/certificate")
    return json.dumps([run["state"], run["steps"], certificate], sort_keys=True)


def test_all_data_survives_stop_and_start(installed: Installed) -> None:
    sandbox = installed.sandbox
    before = account(sandbox), evidence(sandbox, installed.run_id)
    requests = counted_requests(sandbox)
    sandbox.run("down")
    assert processes_of(sandbox.home.root) == []
    assert not sandbox.home.run.exists(), list(sandbox.home.run.iterdir())
    sandbox.run("up")
    assert (account(sandbox), evidence(sandbox, installed.run_id)) == before
    wait_for(sandbox.answers, 90, "an answer with the same key")
    wait_for(lambda: counted_requests(sandbox) > requests, 60, "the new request in the usage")


def test_starting_a_running_sandbox_changes_nothing(installed: Installed) -> None:
    sandbox = installed.sandbox
    before = sandbox.home.record_file.read_text()
    sandbox.run("up")
    assert sandbox.home.record_file.read_text() == before


def test_a_killed_supervisor_leaves_no_process_and_the_next_start_finds_everything(
    installed: Installed,
) -> None:
    sandbox = installed.sandbox
    record = sandbox.home.read_record()
    assert record is not None
    before = account(sandbox)
    os.kill(record["pid"], signal.SIGKILL)
    # At once: the parts of the killed one may still be ending.
    sandbox.run("up")
    assert account(sandbox) == before
    wait_for(sandbox.answers, 90, "an answer")
    again = sandbox.home.read_record()
    assert again is not None
    os.kill(again["pid"], signal.SIGKILL)
    wait_for(lambda: processes_of(sandbox.home.root) == [], 30, "the end of every process")
