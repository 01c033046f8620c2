"""The gateway against a real API server: its rights, list and watch, whose token it believes."""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import pytest

from gateway.keys import new_key
from tests.engine.parts import Engine
from tests.gateway.parts import (
    GatewayProcess,
    binding_spec,
    instance_spec,
    key_entry,
    until,
)
from tests.operators import apiserver
from tests.postgres import PostgresServer
from wire.crd import definition
from wire.resources import KINDS

pytestmark = pytest.mark.cluster

HERE, ELSEWHERE, SYSTEM = "boundary-payments", "boundary-research", "ringfence-system"
RBAC = "rbac.authorization.k8s.io/v1"


class Cluster:
    """A real API server and the few requests this test makes as its administrator."""

    def __init__(self, server: apiserver.ApiServer) -> None:
        self.server = server
        self._context = ssl.create_default_context(cafile=str(server.connection.ca_file))
        self._token = (server.folder / "token").read_text()

    def request(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request; a conflict on creation means that it is there already."""
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.server.port}{path}",
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {self._token}", "Content-Type": kind},
        )
        with urllib.request.urlopen(request, timeout=10, context=self._context) as answer:
            return json.loads(answer.read())

    def established(self, path: str) -> bool:
        """Return whether a kind is served."""
        try:
            self.request("GET", path)
        except urllib.error.HTTPError:
            return False
        return True

    def install(self) -> None:
        """Create kinds, namespaces, accounts and the rights of the chart."""
        for kind in KINDS.values():
            path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            self.request("POST", path, definition(kind))
        for kind in KINDS.values():
            until(partial(self.established, kind.path(None)))
        for name, account in ((HERE, "gateway"), (ELSEWHERE, "engine"), (SYSTEM, "agent")):
            self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
            path = f"/api/v1/namespaces/{name}/serviceaccounts"
            self.request("POST", path, {"metadata": {"name": account}})
        subject = {"kind": "ServiceAccount", "name": "gateway", "namespace": HERE}
        group = "rbac.authorization.k8s.io"
        self.request(
            "POST",
            f"/apis/{RBAC}/namespaces/{HERE}/roles",
            {
                "metadata": {"name": "gateway"},
                "rules": [
                    {
                        "apiGroups": ["ringfence.dev"],
                        "resources": ["gatewayaccesses", "modelinstances", "adapterbindings"],
                        "verbs": ["get", "list", "watch"],
                    }
                ],
            },
        )
        self.request(
            "POST",
            f"/apis/{RBAC}/namespaces/{HERE}/rolebindings",
            {
                "metadata": {"name": "gateway"},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": "gateway"},
                "subjects": [subject],
            },
        )
        self.request(
            "POST",
            f"/apis/{RBAC}/clusterrolebindings",
            {
                "metadata": {"name": "gateway"},
                "roleRef": {
                    "apiGroup": group,
                    "kind": "ClusterRole",
                    "name": "system:auth-delegator",
                },
                "subjects": [subject],
            },
        )

    def token(self, namespace: str, account: str) -> str:
        """Return a fresh token of a service account."""
        path = f"/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token"
        review = self.request("POST", path, {"spec": {"expirationSeconds": 600}})
        return str(review["status"]["token"])

    def put(self, plural: str, name: str, spec: Any, namespace: str = HERE) -> None:
        """Create a resource."""
        kind = next(k for k in KINDS.values() if k.plural == plural)
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": {"name": name},
            "spec": spec,
        }
        self.request("POST", kind.path(namespace), body)

    def patch(self, plural: str, name: str, body: Any, part: str = "") -> None:
        """Change a resource, or its status."""
        kind = next(k for k in KINDS.values() if k.plural == plural)
        self.request("PATCH", kind.path(HERE, name) + part, body)

    def delete(self, plural: str, name: str) -> None:
        """Delete a resource."""
        kind = next(k for k in KINDS.values() if k.plural == plural)
        self.request("DELETE", kind.path(HERE, name))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A real API server with our kinds and the gateway's rights."""
    server = apiserver.start(tmp_path_factory.mktemp("apiserver"))
    try:
        cluster = Cluster(server)
        cluster.install()
        yield cluster
    finally:
        server.stop()


@pytest.fixture
def boundary(
    cluster: Cluster, tmp_path: Path, postgres: PostgresServer
) -> Iterator[GatewayProcess]:
    """A gateway with its own service account, not started."""
    mount = tmp_path / "serviceaccount"
    mount.mkdir()
    (mount / "token").write_text(cluster.token(HERE, "gateway"))
    (mount / "ca.crt").write_bytes(cluster.server.connection.ca_file.read_bytes())
    database = postgres.url("postgres", postgres.create_database("postgres"))
    kubernetes = {
        "KUBERNETES_SERVICE_HOST": "127.0.0.1",
        "KUBERNETES_SERVICE_PORT": str(cluster.server.port),
        "KUBERNETES_SERVICEACCOUNT_DIR": str(mount),
    }
    boundary = GatewayProcess(tmp_path, kubernetes, database)
    yield boundary
    boundary.close()


def test_the_gateway_follows_real_resources_of_its_own_namespace_only(
    cluster: Cluster, boundary: GatewayProcess, engine: Engine
) -> None:
    foreign = new_key()
    access = {
        "keys": [key_entry(boundary.key, "pia@acme.test", "engineers")],
        "groups": [{"name": "engineers", "models": ["tiny-coder", "payments-style"]}],
    }
    other = {
        "keys": [key_entry(foreign, "rui@acme.test", "engineers")],
        "groups": [{"name": "engineers", "models": ["tiny-coder"]}],
    }
    cluster.put("gatewayaccesses", "gateway", access)
    cluster.put("gatewayaccesses", "gateway", other, ELSEWHERE)
    cluster.put("modelinstances", "coder", instance_spec())
    boundary.start()
    assert boundary.chat("tiny-coder").json()["error"]["code"] == "model_not_ready"
    assert boundary.chat("tiny-coder", foreign).status_code == 401

    cluster.patch("modelinstances", "coder", {"status": {"endpoint": engine.url}}, "/status")
    until(lambda: boundary.chat("tiny-coder").status_code == 200)
    assert boundary.chat("payments-style").status_code == 404
    cluster.put("adapterbindings", "payments-style", binding_spec("payments-style"))
    until(lambda: boundary.chat("payments-style").status_code == 200)

    cluster.delete("adapterbindings", "payments-style")
    until(lambda: boundary.chat("payments-style").status_code == 404)
    cluster.patch("gatewayaccesses", "gateway", {"spec": {"keys": []}})
    until(lambda: boundary.chat("tiny-coder").status_code == 401)

    url = f"{boundary.internal_url}/internal/v1/rollups"
    for namespace, account, status in (
        *((SYSTEM, "agent", 200), (ELSEWHERE, "engine", 403), (HERE, "gateway", 403)),
    ):
        token = cluster.token(namespace, account)
        answer = httpx2.get(url, headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == status, account
    assert httpx2.get(url, headers={"Authorization": "Bearer forged"}).status_code == 401
