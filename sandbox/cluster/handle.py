"""Start, find again and stop one emulated cluster.

Imported by the rehearsal account, which creates a cluster when `eks:CreateCluster` is called.
Blocking on purpose: its callers are threads of a WSGI server and tests.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.cluster.client import AdminClient
from sandbox.cluster.errors import ClusterError
from sandbox.cluster.processes import agent_environment, tail
from sandbox.cluster.settings import ClusterSettings, read_settings
from sandbox.net.commands import NetError, find_ip, find_nft

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 120.0
STOP_SECONDS = 30.0


@dataclass
class ClusterHandle:
    """A running cluster; every method may be called from any process of the owner."""

    settings: ClusterSettings
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def name(self) -> str:
        return self.settings.name

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the cluster's authority (EKS: `certificateAuthority.data`)."""
        return (self.settings.pki / "ca.crt").read_bytes()

    @property
    def issuer(self) -> str:
        """The issuer of service-account tokens (EKS: `identity.oidc.issuer`)."""
        return self.settings.issuer

    @property
    def service_account_public_key(self) -> bytes:
        """PEM of the RS256 key that verifies projected service-account tokens."""
        return (self.settings.pki / "service-account.pub").read_bytes()

    @property
    def api_socket(self) -> Path:
        """Unix socket that forwards raw TCP to the API server inside."""
        return self.settings.socket("api")

    @property
    def connect_socket(self) -> Path:
        """Unix socket: `CONNECT ip:port`, `OK` or `ERR reason`, then bytes."""
        return self.settings.socket("net")

    @property
    def admin_kubeconfig(self) -> Path:
        """Kubeconfig (0600) with the address inside the namespace."""
        return self.settings.pki / "admin.kubeconfig"

    def admin(self) -> AdminClient:
        """Return an administrator's client for use on the host."""
        return AdminClient(self.settings.pki, self.api_socket)

    def alive(self) -> bool:
        """Tell whether the cluster answers and is ready."""
        if self._process is not None:
            self._process.poll()
        try:
            return bool(_ask(self.settings.socket("host"), {"op": "ping"}, 5.0)["ready"])
        except (OSError, ClusterError):
            return False

    def running(self) -> bool:
        """Tell whether the cluster's processes run, whether or not they answer."""
        if self._process is not None:
            self._process.poll()
        return _running_pid(self.settings) is not None

    def add_nodes(
        self,
        nodegroup: str,
        count: int,
        labels: dict[str, str] | None = None,
        taints: list[dict[str, str]] | None = None,
        resources: dict[str, str] | None = None,
    ) -> None:
        """Set the nodes of a group; they register within a second.

        `taints` as in `Node.spec.taints`; `resources` are added to or replace the capacity.
        """
        request = {
            "op": "add_nodes",
            "nodegroup": nodegroup,
            "count": count,
            "labels": labels or {},
            "taints": taints or [],
            "resources": resources or {},
        }
        _ask(self.settings.socket("in"), request, 10.0)

    def remove_nodes(self, nodegroup: str) -> None:
        """Remove a group's nodes; their pods end."""
        _ask(self.settings.socket("in"), {"op": "remove_nodes", "nodegroup": nodegroup}, 10.0)

    def ready_nodes(self, nodegroup: str) -> int:
        """Count the nodes of a group that are Ready."""
        listed = self.admin().request(
            "GET", f"/api/v1/nodes?labelSelector=eks.amazonaws.com%2Fnodegroup%3D{nodegroup}"
        )
        return sum(
            condition["type"] == "Ready" and condition["status"] == "True"
            for node in listed["items"]
            for condition in node["status"].get("conditions", [])
        )

    def run_task(
        self,
        identifier: str,
        image: str,
        environment: dict[str, str],
        credentials: str,
        private_port: int | None,
    ) -> None:
        """Run a container in the cluster's network; one that runs already stays as it is.

        `private_port` is that of the private endpoint, None where the task may not reach it.
        Raises: ClusterError with what is wrong with the image or its start.
        """
        _ask(self.settings.socket("in"), {"op": "host_tasks"}, 10.0)
        request = {
            "op": "run",
            "id": identifier,
            "image": image,
            "environment": environment,
            "credentials": credentials,
            "private_port": private_port,
        }
        _ask_patiently(self.settings.socket("task"), request, 60.0)

    def stop_task(self, identifier: str) -> None:
        """End a task and return when it is gone."""
        _ask_patiently(self.settings.socket("task"), {"op": "stop", "id": identifier}, 30.0)

    def task_states(self) -> dict[str, int | None]:
        """Return the exit codes of all tasks that were run here; None while one runs."""
        try:
            answer = _ask(self.settings.socket("task"), {"op": "states"}, 10.0)
        except OSError:
            return {}
        found: dict[str, int | None] = answer["exit_codes"]
        return found

    def stop(self) -> None:
        """End every process of the cluster; its data stays.

        Raises: ClusterError when the host-side process does not end in time.
        """
        pid = _running_pid(self.settings)
        try:
            _ask(self.settings.socket("host"), {"op": "stop"}, 5.0)
        except (OSError, ClusterError):
            if pid is None and self._process is None:
                return
        _await_end(self.settings)
        if self._process is not None:
            self._process.wait()
            self._process = None


def start_cluster(
    name: str,
    data_dir: str | Path,
    run_dir: str | Path,
    *,
    gate_socket: str | Path | None = None,
    api_socket: str | Path | None = None,
    webhook_path: str | None = None,
    region: str = "eu-central-1",
    owner_pid: int | None = -1,
) -> ClusterHandle:
    """Start a cluster and return when its API server answers and its node agent is started.

    `data_dir` keeps everything that survives a stop; `run_dir` holds sockets, so it must be short.
    `gate_socket` is reached from inside at 10.88.0.10:80, `api_socket` at 10.88.0.11:80.
    `owner_pid`: the cluster ends with this process; -1 is the caller, None means `stop` only.
    Raises: ClusterError with the cause and the log's last lines.
    """
    _require_namespaces()
    settings = ClusterSettings(
        name=name,
        data_dir=str(Path(data_dir).resolve()),
        run_dir=str(Path(run_dir).resolve()),
        gate_socket=str(Path(gate_socket).resolve()) if gate_socket else None,
        api_socket=str(Path(api_socket).resolve()) if api_socket else None,
        webhook_path=webhook_path,
        region=region,
        owner_pid=os.getpid() if owner_pid == -1 else owner_pid,
    )
    if _running_pid(settings) is not None:
        raise ClusterError(f"cluster {name!r} runs already in {data_dir}: attach to it or stop it")
    settings.write()
    process = _spawn(settings)
    handle = ClusterHandle(settings, process)
    failure = _await_start(settings, lambda: process.poll() is None)
    if failure is not None:
        if process.poll() is None:
            process.terminate()
        process.wait()
        raise ClusterError(f"cluster {name!r} did not start: {failure}")
    return handle


def _spawn(settings: ClusterSettings) -> subprocess.Popen[bytes]:
    with (settings.logs / "cluster.log").open("ab") as output:
        return subprocess.Popen(
            [sys.executable, "-m", "sandbox.cluster.outer", settings.data_dir],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={**agent_environment(), "PYTHONPATH": str(ROOT)},
            start_new_session=True,
        )


def attach_cluster(name: str, data_dir: str | Path, run_dir: str | Path) -> ClusterHandle:
    """Return a handle of a cluster that runs already, waiting for it if it is still starting.

    Raises: ClusterError when there is none in `data_dir`, or it does not run.
    """
    settings = read_settings(Path(data_dir).resolve())
    if settings.name != name or settings.run_dir != str(Path(run_dir).resolve()):
        raise ClusterError(
            f"{data_dir} holds cluster {settings.name!r} with run_dir {settings.run_dir!r}, "
            f"not {name!r} with {str(run_dir)!r}"
        )
    if _running_pid(settings) is None:
        raise ClusterError(f"cluster {name!r} does not run: start it")
    failure = _await_start(settings, lambda: _running_pid(settings) is not None)
    if failure is not None:
        raise ClusterError(f"cluster {name!r} does not run: {failure}")
    return ClusterHandle(settings)


def resume_cluster(
    name: str, data_dir: str | Path, run_dir: str | Path, *, owner_pid: int
) -> ClusterHandle | None:
    """Return the cluster of this owner if it runs, else None once nothing runs in `data_dir`.

    One that runs for another owner is ending with it, and is waited for.
    Raises: ClusterError when it does not end in time.
    """
    try:
        settings = read_settings(Path(data_dir).resolve())
    except ClusterError:
        return None
    if _running_pid(settings) is None:
        return None
    if settings.owner_pid == owner_pid:
        try:
            return attach_cluster(name, data_dir, run_dir)
        except ClusterError:
            ClusterHandle(settings).stop()
            return None
    _await_end(settings)
    return None


def stop_clusters(folder: Path) -> None:
    """Stop every cluster that runs in a folder below `folder`; data stays. Raises: ClusterError."""
    for path in sorted(folder.glob("*/cluster.json")):
        ClusterHandle(read_settings(path.parent)).stop()


def _await_end(settings: ClusterSettings) -> None:
    """Wait until the host-side process has left its data folder. Raises: ClusterError."""
    deadline = time.monotonic() + STOP_SECONDS
    while (pid := _running_pid(settings)) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"cluster {settings.name!r} (process {pid}) did not stop in {STOP_SECONDS:.0f} s; "
                f"log: {settings.logs / 'cluster.log'}"
            )
        time.sleep(0.02)


def _await_start(settings: ClusterSettings, runs: Callable[[], bool]) -> str | None:
    """Wait for the start's outcome; return what failed, or None."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        try:
            answer = _ask(settings.socket("host"), {"op": "wait"}, START_SECONDS)
        except (OSError, ClusterError):
            if not runs():
                return (
                    f"see {settings.logs / 'cluster.log'}:\n{tail(settings.logs / 'cluster.log')}"
                )
            time.sleep(0.02)
            continue
        return str(answer["failure"]) if answer["failure"] else None
    return f"no answer after {START_SECONDS:.0f} s; see {settings.logs}"


def _ask(path: Path, request: dict[str, Any], timeout: float) -> dict[str, Any]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(timeout)
        connection.connect(str(path))
        connection.sendall(json.dumps(request).encode() + b"\n")
        with connection.makefile("rb") as stream:
            line = stream.readline()
    if not line:
        raise ClusterError(f"no answer on {path}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise ClusterError(str(answer["error"]))
    return answer


def _ask_patiently(path: Path, request: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Ask one whose process may still be starting. Raises: ClusterError, OSError."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return _ask(path, request, seconds)
        except (FileNotFoundError, ConnectionRefusedError):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def _running_pid(settings: ClusterSettings) -> int | None:
    """Return the host-side process's id while it holds the lock of the data folder."""
    try:
        with (settings.data / "lock").open("r+") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                pid = settings.data / "pid"
                # The lock is taken a moment before the id is written.
                return int(pid.read_text()) if pid.exists() else -1
            return None
    except FileNotFoundError:
        return None


def _require_namespaces() -> None:
    """Refuse to start where the emulation cannot isolate; there is no weaker mode.

    Raises: ClusterError with what is missing.
    """
    try:
        find_nft()
        find_ip()
    except NetError as error:
        raise ClusterError(str(error)) from error
    unshare = shutil.which("unshare")
    if unshare is None:
        raise ClusterError("unshare is missing: install the package util-linux")
    probe = subprocess.run(
        [unshare, "--user", "--map-root-user", "--net", "--mount", "--pid", "--fork", "true"],
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode != 0:
        raise ClusterError(
            "user namespaces are not available, and an emulated cluster needs one (each pod gets "
            f"its own network, and policies are enforced): {probe.stderr.strip()}. Allow them "
            "(sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone, "
            "kernel.apparmor_restrict_unprivileged_userns)"
        )
