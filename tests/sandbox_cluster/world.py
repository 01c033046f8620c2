"""What the tests do with a cluster: make objects, wait for states, speak to pods."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable
from typing import Any

from sandbox.cluster import ClusterError, ClusterHandle
from sandbox.node.images import references

Object = dict[str, Any]
_numbers = itertools.count(1)
PROBE = references()["ringfence/probe"]


class World:
    """One cluster as the tests see it."""

    def __init__(self, handle: ClusterHandle) -> None:
        self.handle = handle
        self.admin = handle.admin()

    def until(self, what: str, holds: Callable[[], Any], seconds: float = 45.0) -> Any:
        """Poll until a condition holds and return its value; fail after a deadline."""
        deadline = time.monotonic() + seconds
        while True:
            value = holds()
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not after {seconds:.0f} s")
            time.sleep(0.02)

    def namespace(self, labels: dict[str, str] | None = None) -> str:
        """Make a namespace and wait for its default service account."""
        name = f"t{next(_numbers)}"
        body = {"metadata": {"name": name, "labels": {"team": name, **(labels or {})}}}
        self.admin.request("POST", "/api/v1/namespaces", body)
        path = f"/api/v1/namespaces/{name}/serviceaccounts/default"
        self.until("the default service account", lambda: self.admin.send("GET", path)[0] == 200)
        return name

    def create(self, path: str, body: Object) -> Object:
        created: Object = self.admin.request("POST", path, body)
        return created

    def pod(
        self,
        namespace: str,
        name: str,
        *args: str,
        container: Object | None = None,
        labels: dict[str, str] | None = None,
        **spec: Any,
    ) -> Object:
        """Create a pod of the probe image."""
        body = {
            "metadata": {"name": name, "labels": {"app": name, **(labels or {})}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [
                    {"name": "main", "image": PROBE, "args": list(args), **(container or {})}
                ],
                **spec,
            },
        }
        return self.create(f"/api/v1/namespaces/{namespace}/pods", body)

    def execute(self, namespace: str, name: str, *args: str, **more: Any) -> str:
        """Run a probe container to its end and return its log."""
        self.pod(namespace, name, *args, restartPolicy="Never", **more)

        def ended() -> Object | None:
            pod = self.get_pod(namespace, name)
            return pod if pod["status"].get("phase") in ("Succeeded", "Failed") else None

        self.until(f"the end of {name}", ended, 30)
        return self.log(namespace, name)

    def log(self, namespace: str, name: str) -> str:
        """Return the log of a pod's container `main` from its file."""
        folders = (self.handle.settings.logs / "pods").glob(f"{namespace}_{name}_*")
        return "".join(p.read_text() for f in folders for p in sorted(f.glob("main.*.log")))

    def get_pod(self, namespace: str, name: str) -> Object:
        found: Object = self.admin.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        return found

    def server(self, namespace: str, name: str, **more: Any) -> str:
        """Run a probe server on port 8080 and return its address once it is Ready."""
        ready = {"readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}
        self.pod(namespace, name, "serve", "--body", name, container=ready, **more)
        return self.ready(namespace, name)

    def server_with(
        self, namespace: str, name: str, container: Object, volumes: list[Object]
    ) -> str:
        """Run a probe server with volumes and return its address once it is Ready."""
        probe = {"readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}
        self.pod(namespace, name, "serve", container={**probe, **container}, volumes=volumes)
        return self.ready(namespace, name)

    def ready(self, namespace: str, name: str, seconds: float = 45.0) -> str:
        """Wait for a pod to be Ready and return its address."""

        def address() -> str | None:
            status = self.get_pod(namespace, name)["status"]
            ready = any(
                c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions", [])
            )
            return status.get("podIP") if ready else None

        return str(self.until(f"pod {name} Ready", address, seconds))

    def container(self, namespace: str, name: str) -> Object:
        """Return the first container's status, empty while there is none."""
        statuses = self.get_pod(namespace, name)["status"].get("containerStatuses") or [{}]
        first: Object = statuses[0]
        return first

    def phase(self, namespace: str, name: str, wanted: str, seconds: float = 45.0) -> Object:
        def reached() -> Object | None:
            pod = self.get_pod(namespace, name)
            return pod if pod["status"].get("phase") == wanted else None

        found: Object = self.until(f"pod {name} {wanted}", reached, seconds)
        return found

    def service(self, namespace: str, name: str, app: str, **spec: Any) -> Object:
        """Create a Service on port 80 in front of the pods of an app."""
        body = {
            "metadata": {"name": name},
            "spec": {
                "selector": {"app": app},
                "ports": [{"port": 80, "targetPort": 8080}],
                **spec,
            },
        }
        return self.create(f"/api/v1/namespaces/{namespace}/services", body)

    def policy(self, namespace: str, name: str, spec: Object) -> None:
        path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies"
        self.create(path, {"metadata": {"name": name}, "spec": spec})

    def http(self, address: str, path: str, port: int = 8080) -> str:
        """GET from the node, through the connect socket; returns the body.

        Raises: ClusterError when the address cannot be reached.
        """
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(15)
            connection.connect(str(self.handle.connect_socket))
            connection.sendall(f"CONNECT {address}:{port}\n".encode())
            with connection.makefile("rb") as stream:
                answer = stream.readline().decode().strip()
                if answer != "OK":
                    raise ClusterError(answer)
                connection.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                raw = stream.read().decode()
        return raw.partition("\r\n\r\n")[2]

    def dial(self, address: str, host: str, port: int, seconds: float = 1.0) -> str:
        """Connect from inside a probe pod and return how it went."""
        return self.http(address, f"/connect?host={host}&port={port}&seconds={seconds}")

    def environment(self, address: str) -> dict[str, str]:
        found: dict[str, str] = json.loads(self.http(address, "/env"))
        return found

    def file(self, address: str, path: str) -> str:
        return self.http(address, f"/file?path={path}")
