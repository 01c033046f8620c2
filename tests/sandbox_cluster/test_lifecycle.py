"""Start, stop, owner and restart of an emulated cluster; also without a network and as nobody."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandbox.cluster import ClusterError, attach_cluster, start_cluster
from sandbox.toolchain import cache_root
from tests.sandbox_cluster.world import World

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]
ONCE = """
import sys, os
from pathlib import Path
from sandbox.cluster import start_cluster
from tests.sandbox_cluster.world import World
folder = Path(sys.argv[1])
handle = start_cluster("nested", folder / "data", folder / "run")
try:
    handle.add_nodes("general", 1)
    world = World(handle)
    world.until("a node", lambda: handle.ready_nodes("general") == 1)
    namespace = world.namespace()
    address = world.server(namespace, "web")
    service = world.service(namespace, "web", "web", type="LoadBalancer",
        ports=[{"port": 8080}])
    path = f"/api/v1/namespaces/{namespace}/services/web"
    found = world.until("an address", lambda: world.admin.request("GET", path)["status"]
        .get("loadBalancer", {}).get("ingress"))[0]["ip"]
    import urllib.request
    def ask():
        try:
            return urllib.request.urlopen(f"http://{found}:8080/", timeout=2).read().decode()
        except OSError:
            return ""
    world.until("an answer", lambda: ask() == "web")
    if os.getuid() != 0:
        world.service(namespace, "low", "web", type="LoadBalancer", ports=[{"port": 80}])
        events = f"/api/v1/namespaces/{namespace}/events"
        world.until("the reason", lambda: any("1024 or more" in event["message"]
            for event in world.admin.request("GET", events)["items"]))
    print("served", os.getuid())
finally:
    handle.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="rf"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def processes_of(folder: Path) -> list[str]:
    """Return the command lines of all processes that name a folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if str(folder) in command and int(entry.name) != os.getpid():
            found.append(command)
    return found


def until(what: str, holds: Callable[[], object], seconds: float = 45.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"{what}: not after {seconds} s"
        time.sleep(0.05)


def test_stop_leaves_no_process_and_a_second_start_finds_the_data(folder: Path) -> None:
    handle = start_cluster("life", folder / "data", folder / "run")
    handle.add_nodes("general", 1)
    world = World(handle)
    namespace = world.namespace()
    address = world.server(namespace, "web")
    authority = handle.ca_pem
    with pytest.raises(ClusterError, match="runs already"):
        start_cluster("life", folder / "data", folder / "run")
    again = attach_cluster("life", folder / "data", folder / "run")
    assert again.alive()
    assert World(again).http(address, "/") == "web"
    again.stop()
    until("no process", lambda: not processes_of(folder))
    assert not handle.alive()
    # Stopping what is stopped is harmless, and collects the process this handle started.
    handle.stop()
    with pytest.raises(ClusterError, match="does not run"):
        attach_cluster("life", folder / "data", folder / "run")
    second = start_cluster("life", folder / "data", folder / "run")
    try:
        assert second.ca_pem == authority
        world = World(second)
        world.until(
            "the restart of the pod",
            lambda: world.container(namespace, "web").get("restartCount") == 1,
        )
        assert world.http(world.ready(namespace, "web"), "/") == "web"
    finally:
        second.stop()
    until("no process", lambda: not processes_of(folder))


def test_a_cluster_ends_with_its_owner(folder: Path) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    try:
        handle = start_cluster("owned", folder / "data", folder / "run", owner_pid=owner.pid)
        assert handle.alive()
    finally:
        owner.kill()
        owner.wait()
    until("the end", lambda: not handle.alive())
    until("no process", lambda: not processes_of(folder))
    handle.stop()


def test_a_killed_host_process_takes_everything_with_it(folder: Path) -> None:
    handle = start_cluster("killed", folder / "data", folder / "run")
    handle.add_nodes("general", 1)
    world = World(handle)
    world.server(world.namespace(), "web")
    os.kill(int((folder / "data" / "pid").read_text()), 9)
    until("the end", lambda: not handle.alive())
    until("no process", lambda: not processes_of(folder))
    handle.stop()


def process_of(world: World, program: str) -> int:
    """Return the id of the one process of a cluster that runs a program."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if program.encode() in command and world.handle.settings.data_dir.encode() in command:
            found.append(int(entry.name))
    assert len(found) == 1, found
    return found[0]


def test_a_killed_api_server_comes_back_and_pods_run_on(world: World) -> None:
    namespace = world.namespace()
    address = world.server(namespace, "web")
    os.kill(process_of(world, "kube-apiserver"), 9)
    world.until("the API server", lambda: not world.admin.ready())
    assert world.http(address, "/") == "web"
    world.until("the API server", world.admin.ready)
    assert world.http(world.server(namespace, "after"), "/") == "after"
    assert world.container(namespace, "web")["restartCount"] == 0


def test_a_killed_node_agent_comes_back_and_runs_the_pods_again(world: World) -> None:
    namespace = world.namespace()
    world.server(namespace, "web")
    os.kill(process_of(world, "sandbox.node.main"), 9)
    world.until("the restart", lambda: world.container(namespace, "web").get("restartCount") == 1)
    assert world.http(world.ready(namespace, "web"), "/") == "web"


def test_removed_nodes_take_their_pods_with_them(world: World) -> None:
    world.handle.add_nodes("spare", 1, labels={"spare": "yes"}, resources={"cpu": "3"})
    world.until("the node", lambda: world.handle.ready_nodes("spare") == 1)
    node = world.admin.request("GET", "/api/v1/nodes/spare-0")
    assert node["status"]["capacity"]["cpu"] == "3"
    namespace = world.namespace()
    world.server(namespace, "web", nodeSelector={"spare": "yes"})
    world.handle.remove_nodes("spare")
    world.until("no node", lambda: world.admin.send("GET", "/api/v1/nodes/spare-0")[0] == 404)
    path = f"/api/v1/namespaces/{namespace}/pods/web"
    world.until("no pod", lambda: world.admin.send("GET", path)[0] == 404)


def test_a_socket_path_that_is_too_long_is_refused(folder: Path) -> None:
    with pytest.raises(ClusterError, match="too long for Unix sockets"):
        start_cluster("long", folder / "data", folder / ("x" * 100))


def test_it_runs_nested_in_a_namespace_without_any_network(folder: Path) -> None:
    inside = f'ip link set lo up && exec {sys.executable} -c "$0" {folder}'
    run = subprocess.run(
        ["unshare", "-Urn", "sh", "-c", inside, ONCE],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout.startswith("served 0"), run.stderr
    until("no process", lambda: not processes_of(folder))


@pytest.mark.skipif(os.getuid() != 0, reason="as an ordinary user every test shows it")
def test_it_runs_as_an_ordinary_user(folder: Path) -> None:
    os.chown(folder, 1234, 1234)
    home = Path.home()
    # The interpreter and the toolchain may lie in root's private home: show just these two.
    script = [f"mkdir {folder}/old && mount --bind {home} {folder}/old", f"mount -t tmpfs t {home}"]
    for path in (Path(sys.base_prefix), cache_root()):
        if path.is_relative_to(home):
            kept = folder / "old" / path.relative_to(home)
            script.append(f"mkdir -p {path} && mount --bind {kept} {path}")
    script.append(f"umount -l {folder}/old")
    drop = "setpriv --reuid=1234 --regid=1234 --clear-groups"
    script.append(f'exec {drop} {sys.executable} -c "$0" {folder}')
    run = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", "umask 022; " + "; ".join(script), ONCE],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "XDG_CACHE_HOME": str(cache_root().parent),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.stdout.startswith("served 1234"), run.stderr
