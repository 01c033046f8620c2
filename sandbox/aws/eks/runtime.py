"""The real cluster behind an EKS cluster: started at creation, found or restarted after a restart.

Called by the EKS service. Starting runs in a thread, so that the real start hides inside the
simulated latency of the control plane.
"""

from __future__ import annotations

import logging
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from sandbox.aws.config import GateConfig
from sandbox.aws.eks.endpoint import Endpoint
from sandbox.aws.eks.state import Cluster
from sandbox.aws.eks.tokens import policy_group
from sandbox.cluster import resume_cluster, start_cluster

log = logging.getLogger("sandbox.aws.eks")

# EKS access policy → the role of Kubernetes that stands for it.
ACCESS_POLICIES = {
    "AmazonEKSClusterAdminPolicy": "cluster-admin",
    "AmazonEKSAdminPolicy": "admin",
    "AmazonEKSEditPolicy": "edit",
    "AmazonEKSViewPolicy": "view",
}


class Handle(Protocol):
    """What EKS needs of a running cluster; `sandbox.cluster.ClusterHandle` has it."""

    @property
    def ca_pem(self) -> bytes:
        """The certificate of the cluster's authority."""

    @property
    def issuer(self) -> str:
        """The issuer of service-account tokens."""

    @property
    def api_socket(self) -> Path:
        """The socket that forwards to the API server."""

    def admin(self) -> Any:
        """Give an administrator's client."""

    def running(self) -> bool:
        """Tell whether the cluster's processes run, whether or not they answer."""

    def add_nodes(
        self,
        nodegroup: str,
        count: int,
        labels: dict[str, str] | None = None,
        taints: list[dict[str, str]] | None = None,
        resources: dict[str, str] | None = None,
    ) -> None:
        """Set the nodes of a group."""

    def remove_nodes(self, nodegroup: str) -> None:
        """Remove a group's nodes."""

    def ready_nodes(self, nodegroup: str) -> int:
        """Count the ready nodes of a group."""

    def run_task(
        self,
        identifier: str,
        image: str,
        environment: dict[str, str],
        credentials: str,
        private_port: int | None,
    ) -> None:
        """Run a container in the cluster's network."""

    def stop_task(self, identifier: str) -> None:
        """End a container."""

    def task_states(self) -> dict[str, int | None]:
        """Give the exit codes of containers; None while one runs."""

    def stop(self) -> None:
        """End every process of the cluster."""


Starter = Callable[[Cluster, Path], Handle]


def real_starter(config: GateConfig) -> Starter:
    """Make the starter of real clusters."""

    def start(cluster: Cluster, data_dir: Path) -> Handle:
        name = cluster["runtime_name"]
        owner = config.cluster_owner_pid or os.getpid()
        # It runs already when this account was restarted beside it.
        running = resume_cluster(name, data_dir, config.run_dir, owner_pid=owner)
        if running is not None:
            return running
        handle: Handle = start_cluster(
            name,
            data_dir,
            config.run_dir,
            gate_socket=config.unix_socket,
            api_socket=config.api_socket,
            webhook_path=f"/_rehearsal/eks/{name}/tokenreview",
            region=cluster["region"],
            owner_pid=owner,
        )
        return handle

    return start


class Runtime:
    """Running clusters by their runtime name."""

    def __init__(self, config: GateConfig, starter: Starter, changed: Callable[[], None]) -> None:
        """Take a starter; `changed` is called when a start ends or fails."""
        self._dir = config.data_dir / "clusters"
        self._starter, self._changed = starter, changed
        self._handles: dict[str, Handle] = {}
        self._endpoints: dict[str, Endpoint] = {}
        self._starting: set[str] = set()
        self.failures: dict[str, str] = {}
        self._lock = threading.RLock()
        self._threads: list[threading.Thread] = []

    def begin(self, cluster: Cluster, allows: Callable[[str], bool]) -> None:
        """Start a cluster in the background."""
        with self._lock:
            self._starting.add(cluster["runtime_name"])
        thread = threading.Thread(
            target=self._start, args=(cluster, allows), name=f"start-{cluster['runtime_name']}"
        )
        self._threads.append(thread)
        thread.start()

    def handle(self, cluster: Cluster) -> Handle | None:
        """Give the running cluster, None while it is not."""
        with self._lock:
            return self._handles.get(cluster["runtime_name"])

    def gone(self, cluster: Cluster) -> bool:
        """Tell whether a cluster's processes ended by themselves; forget them if so."""
        name = cluster["runtime_name"]
        with self._lock:
            handle = self._handles.get(name)
            if name in self._starting:
                return False
        if handle is not None and handle.running():
            return False
        with self._lock:
            if self._handles.get(name) is not handle:
                return False
            self._handles.pop(name, None)
            endpoint = self._endpoints.pop(name, None)
        if endpoint is not None:
            endpoint.close()
        return True

    def enforce(self, cluster: Cluster) -> None:
        """Cut connections that the endpoint's settings no longer allow."""
        with self._lock:
            endpoint = self._endpoints.get(cluster["runtime_name"])
        if endpoint is not None:
            endpoint.enforce()

    def end(self, cluster: Cluster, *, remove_data: bool) -> None:
        """Stop a cluster; with `remove_data` nothing of it stays."""
        name = cluster["runtime_name"]
        with self._lock:
            handle, endpoint = self._handles.pop(name, None), self._endpoints.pop(name, None)
        if endpoint is not None:
            endpoint.close()
        if handle is not None:
            handle.stop()
        if remove_data:
            shutil.rmtree(self._dir / name, ignore_errors=True)

    def stop_all(self, clusters: list[Cluster]) -> None:
        """Stop every cluster beside each other; their data stays."""
        for thread in self._threads:
            thread.join()
        stops = [
            threading.Thread(target=self.end, args=(one,), kwargs={"remove_data": False})
            for one in clusters
        ]
        for thread in stops:
            thread.start()
        for thread in stops:
            thread.join()

    def _start(self, cluster: Cluster, allows: Callable[[str], bool]) -> None:
        """Start one cluster; what failed is kept for its status."""
        try:
            self._start_one(cluster, allows)
        finally:
            with self._lock:
                self._starting.discard(cluster["runtime_name"])

    def _start_one(self, cluster: Cluster, allows: Callable[[str], bool]) -> None:
        """Start one cluster, bind its access policies, open its endpoint."""
        name = cluster["runtime_name"]
        data_dir = self._dir / name
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            handle = self._starter(cluster, data_dir)
            bind_access_policies(handle)
        except Exception as exc:  # thread edge: any failure makes the cluster FAILED, with its text
            log.exception("cluster %s did not start", name)
            self.failures[name] = str(exc)
            self._changed()
            return
        if cluster["status"] == "DELETING":
            handle.stop()
            shutil.rmtree(data_dir, ignore_errors=True)
            return
        endpoint = Endpoint(int(cluster.get("port") or 0), handle.api_socket, allows)
        with self._lock:
            self._handles[name], self._endpoints[name] = handle, endpoint
            self.failures.pop(name, None)
        cluster["port"] = endpoint.port
        cluster["ca"] = handle.ca_pem.decode()
        cluster["issuer"] = handle.issuer
        self._changed()


def bind_access_policies(handle: Handle) -> None:
    """Bind the groups that stand for EKS access policies; what exists stays."""
    admin = handle.admin()
    for policy, role in ACCESS_POLICIES.items():
        group = policy_group(policy)
        body = {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": group},
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role,
            },
            "subjects": [
                {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group}
            ],
        }  # fmt: skip
        path = "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings"
        status, answer = admin.send("POST", path, body)
        if status not in (200, 201, 409):
            raise RuntimeError(f"access policy {policy} cannot be bound: {answer.decode()[:300]}")
