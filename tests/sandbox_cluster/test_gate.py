"""What a cluster asks of the rehearsal account: tokens, pod identity, and the two endpoints.

The account here is a recorder on a Unix socket with fixed answers; the real one has its own tests.
"""

from __future__ import annotations

import http.server
import json
import shutil
import socketserver
import tempfile
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.cluster import start_cluster
from tests.sandbox_cluster.world import World

pytestmark = pytest.mark.cluster
WEBHOOK = "/_rehearsal/eks/gated/tokenreview"
FOLDER = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount"


class Account(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    """Answers as the gate does for one cluster and remembers what it was asked."""

    daemon_threads = True

    def __init__(self, path: Path, name: str) -> None:
        self.name = name
        self.asked: list[tuple[str, Any]] = []
        super().__init__(str(path), _Handler)


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Account

    def address_string(self) -> str:
        return "unix"

    def log_message(self, *_: Any) -> None:
        return

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/_rehearsal/eks/gated/pod-identity":
            query = urllib.parse.parse_qs(url.query)
            self._answer(200 if query["service_account"] == ["fetcher"] else 404, {})
        else:
            self._answer(200, {"name": self.server.name})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, body))
        if self.path.partition("?")[0] == WEBHOOK:
            known = body["spec"]["token"] == "k8s-aws-v1.known"
            user = {"username": "arn:role/vendor", "groups": ["vendors"]}
            status = {"authenticated": known, **({"user": user} if known else {})}
            self._answer(200, {**body, "status": status})
        elif self.path == "/clusters/gated/assume-role-for-pod-identity":
            credentials = {
                "accessKeyId": "ASIA1",
                "secretAccessKey": "hidden",
                "sessionToken": "session",
                "expiration": "2030-01-01T00:00:00Z",
            }
            self._answer(200, {"credentials": credentials})
        else:
            self._answer(404, {"message": "no such thing"})

    def _answer(self, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture(scope="module")
def gated() -> Iterator[tuple[World, Account]]:
    folder = Path(tempfile.mkdtemp(prefix="rf"))
    servers = [Account(folder / "gate", "gate"), Account(folder / "api", "api")]
    threads = [threading.Thread(target=server.serve_forever, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    handle = start_cluster(
        "gated",
        folder / "data",
        folder / "run",
        gate_socket=folder / "gate",
        api_socket=folder / "api",
        webhook_path=WEBHOOK,
    )
    try:
        handle.add_nodes("general", 1)
        yield World(handle), servers[0]
    finally:
        handle.stop()
        for server in servers:
            server.shutdown()
            server.server_close()
        shutil.rmtree(folder, ignore_errors=True)


def test_a_pod_reaches_the_account_and_the_control_plane(gated: tuple[World, Account]) -> None:
    world, _ = gated
    client = world.server(world.namespace(), "client")
    environment = world.environment(client)
    assert environment["AWS_ENDPOINT_URL"] == "http://10.88.0.10"
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in environment
    assert json.loads(world.http("10.88.0.10", "/", 80)) == {"name": "gate"}
    assert json.loads(world.http("10.88.0.11", "/", 80)) == {"name": "api"}
    for address in ("10.88.0.10", "10.88.0.11"):
        assert world.dial(client, address, 80) == "connected"
        assert world.dial(client, address, 6443, 0.5) == "timeout"


def test_a_token_of_the_account_opens_the_api_server(gated: tuple[World, Account]) -> None:
    world, account = gated
    role = {
        "metadata": {"name": "vendors"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": "vendors"}],
    }
    world.create("/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", role)
    client = world.server(world.namespace(), "client")
    program = (
        "import ssl, sys, urllib.request, urllib.error\n"
        "context = ssl.create_default_context("
        "cafile='/var/run/secrets/kubernetes.io/serviceaccount/ca.crt')\n"
        "for token in sys.argv[1:]:\n"
        "    request = urllib.request.Request('https://10.96.0.1/api/v1/namespaces/default/pods',"
        " headers={'Authorization': 'Bearer ' + token})\n"
        "    try:\n"
        "        print(urllib.request.urlopen(request, context=context).status)\n"
        "    except urllib.error.HTTPError as error:\n"
        "        print(error.code)\n"
    )
    assert client
    command = {"command": ["python", "-c", program, "k8s-aws-v1.known", "k8s-aws-v1.other"]}
    namespace = world.namespace()
    assert world.execute(namespace, "ask", container=command) == "200\n401\n"
    asked = [body["spec"]["token"] for path, body in account.asked if path.startswith(WEBHOOK)]
    assert asked == ["k8s-aws-v1.known", "k8s-aws-v1.other"]


def test_a_pod_with_an_association_gets_credentials(gated: tuple[World, Account]) -> None:
    world, account = gated
    namespace = world.namespace()
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    world.create(path, {"metadata": {"name": "fetcher"}})
    address = world.server(namespace, "fetch", serviceAccountName="fetcher")
    environment = world.environment(address)
    url = environment["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    assert url == "http://169.254.170.23/v1/credentials"
    file = environment["AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"]
    assert file.startswith(FOLDER)
    token = world.file(address, file)
    program = (
        "import os, urllib.request\n"
        "token = open(os.environ['AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE']).read()\n"
        "url = os.environ['AWS_CONTAINER_CREDENTIALS_FULL_URI']\n"
        "request = urllib.request.Request(url, headers={'Authorization': token})\n"
        "print(urllib.request.urlopen(request).read().decode())\n"
    )
    log = world.execute(
        namespace,
        "ask",
        container={"command": ["python", "-c", program]},
        serviceAccountName="fetcher",
    )
    assert json.loads(log)["Token"] == "session"
    asked = [body["token"] for path, body in account.asked if "assume-role" in path]
    assert len(asked) == 1
    assert asked[0].count(".") == 2
    assert token != asked[0]
