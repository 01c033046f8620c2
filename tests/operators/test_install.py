"""The chart in a real emulated cluster: from an empty cluster to models that answer.

Real: Kubernetes, helm, operator, fetcher, engine, weights, gateway, PostgreSQL, pod networks and
their policies. Played: AWS (see `played_aws`) and the agent's control plane, which is not there.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
import socket
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandbox.cluster import ClusterError, ClusterHandle, start_cluster
from sandbox.models.store import ModelSet, ensure
from sandbox.node.images import references
from tests.operators.played_aws import PlayedAws
from tests.operators.test_chart import BOUNDARY, CHART, EXAMPLE, SYSTEM, helm
from wire.resources import KINDS

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

BUCKET = "ringfence-payments-artifacts"
CHAT_KEY = f"rfk_{secrets.token_urlsafe(32)}"


class Forwarder:
    """A loopback port that leads to a Unix socket."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._join, args=(client,), daemon=True).start()

    def _join(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as inner:
            inner.connect(str(self._target))
            back = threading.Thread(target=pump, args=(inner, client), daemon=True)
            back.start()
            pump(client, inner)
            back.join()

    def close(self) -> None:
        """Stop listening."""
        self._server.close()


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Copy until the end of a stream."""
    try:
        while data := source.recv(65536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        return


class Stack:
    """One boundary: the installed chart, and the cluster under it."""

    def __init__(
        self, handle: ClusterHandle, models: ModelSet, kubeconfig: Path, name: str = "payments"
    ) -> None:
        self.handle = handle
        self.models = models
        self.kubeconfig = kubeconfig
        self.name = name
        self.inside = f"boundary-{name}"
        self.system = SYSTEM if name == "payments" else f"{SYSTEM}-{name}"
        self.admin = handle.admin()

    def until(self, what: str, holds: Callable[[], Any], seconds: float = 60.0) -> Any:
        """Poll until a condition holds and return its value; fail after a deadline."""
        deadline = time.monotonic() + seconds
        while not (value := holds()):
            if time.monotonic() > deadline:
                raise AssertionError(f"{what}: not after {seconds:.0f} s\n{self.describe()}")
            time.sleep(0.1)
        return value

    def describe(self) -> str:
        """Return pods, resources and their conditions."""
        lines = []
        for namespace in (self.system, self.inside):
            for pod in self.list(f"/api/v1/namespaces/{namespace}/pods"):
                status = pod["status"]
                states = [c.get("state") for c in status.get("containerStatuses", [])]
                name = f"{namespace}/{pod['metadata']['name']}"
                lines.append(f"{name} {status.get('phase')} {json.dumps(states)[:600]}")
        for kind in KINDS.values():
            for obj in self.list(kind.path(None)):
                conditions = [
                    f"{c['type']}={c['status']}/{c['reason']} {c.get('message', '')}"
                    for c in obj.get("status", {}).get("conditions", [])
                ]
                lines.append(f"{kind.kind} {obj['metadata']['name']}: {'; '.join(conditions)}")
        return "\n".join(lines)

    def list(self, path: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self.admin.request("GET", path)["items"]
        return items

    def add(self, kind: str, name: str, spec: dict[str, Any]) -> None:
        """Store a resource as the agent would."""
        known = KINDS[kind]
        body = known.manifest(name, self.inside, known.spec.model_validate(spec))
        self.admin.request("POST", known.path(self.inside), body)

    def get(self, kind: str, name: str) -> dict[str, Any]:
        found: dict[str, Any] = self.admin.request("GET", KINDS[kind].path(self.inside, name))
        return found

    def condition(self, kind: str, name: str, type_: str = "Ready") -> dict[str, Any]:
        """Return one condition, or an empty dict."""
        conditions = self.get(kind, name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def ready(self, kind: str, name: str, seconds: float = 60.0) -> dict[str, Any]:
        """Wait until a resource is Ready, and return it."""
        self.until(
            f"{kind} {name} is Ready",
            lambda: self.condition(kind, name).get("status") == "True",
            seconds,
        )
        return self.get(kind, name)

    def add_artifact(self, name: str, digest: str | None = None) -> None:
        """Store a ModelArtifact of a demo model."""
        artifact = self.models.artifact(name)
        spec: dict[str, Any] = {
            "kind": artifact.kind,
            "source": {"s3": {"bucket": BUCKET, "key": f"models/{name}", "region": "eu-central-1"}},
            "digest": digest or artifact.digest,
            "size": artifact.size,
        }
        if artifact.kind == "Adapter":
            spec["baseRef"] = {"name": "tiny-coder"}
        self.add("ModelArtifact", name if digest is None else f"{name}-wrong", spec)


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A cluster of two nodes with the chart installed by helm."""
    models = ensure()
    folder = Path(tempfile.mkdtemp(prefix="rf"))
    names = ("tiny-coder", "payments-style", "research-style")
    objects = {f"models/{name}": models.path(name).read_bytes() for name in names}
    aws = PlayedAws(folder / "aws", objects)
    handle = start_cluster("install", folder / "data", folder / "run", gate_socket=folder / "aws")
    forwarder = Forwarder(handle.api_socket)
    try:
        handle.add_nodes("general", 2)
        installed = Stack(handle, models, write_kubeconfig(handle, forwarder.port, folder))
        install(installed)
        yield installed
    finally:
        forwarder.close()
        handle.stop()
        aws.close()
        shutil.rmtree(folder, ignore_errors=True)


def write_kubeconfig(handle: ClusterHandle, port: int, folder: Path) -> Path:
    """Write how helm reaches the cluster, and return where."""
    kubeconfig = yaml.safe_load(handle.admin_kubeconfig.read_text())
    kubeconfig["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{port}"
    path = folder / "kubeconfig"
    path.touch(mode=0o600)
    path.write_text(yaml.safe_dump(kubeconfig))
    return path


def install(stack: Stack, **more: Any) -> None:
    """Install the chart as the control plane does."""
    folder = stack.kubeconfig.parent
    values = {
        **yaml.safe_load(EXAMPLE.read_text()),
        "images": references(),
        "network": {
            "vpcCidr": "10.20.0.0/16",
            "awsEndpoints": [{"cidr": "10.88.0.10/32", "port": 80}],
            "clientCidrs": ["10.88.0.20/32"],
        },
        **more,
    }
    values["agent"]["controlPlaneUrl"] = "http://10.88.0.11"
    values_file = folder / f"{stack.name}.yaml"
    values_file.write_text(yaml.safe_dump(values))
    # A guest's namespaces are its host's to make, and are there.
    making = ("--create-namespace",) if stack.system == SYSTEM else ()
    helm(
        *("upgrade", "ringfence", str(CHART), "--install", *making),
        *("--take-ownership", "--namespace", stack.system, "--values", str(values_file)),
        *("--kubeconfig", str(stack.kubeconfig)),
        home=folder,
    )


def engine_image() -> str:
    return references()["ringfence/engine-llamacpp"]


def test_a_boundary_becomes_ready_and_its_adapter_answers(stack: Stack) -> None:
    fill(stack)
    stack.ready("SecurityBoundary", "payments")
    artifact = stack.ready("ModelArtifact", "tiny-coder")
    assert artifact["status"]["verifiedDigest"] == stack.models.artifact("tiny-coder").digest
    coder = stack.ready("ModelInstance", "coder", 90)
    assert coder["status"]["smoke"]["outputTokens"] >= 1
    assert coder["status"]["servedModels"] == ["payments-style", "tiny-coder"]
    stack.ready("AdapterBinding", "payments-style")
    assert ask(stack) >= 1


def fill(stack: Stack) -> None:
    """Store what the agent would: a boundary, its models, and who may ask them."""
    style = f"{stack.name}-style"
    stack.add("SecurityBoundary", stack.name, boundary_spec(stack))
    stack.add_artifact("tiny-coder")
    stack.add_artifact(style)
    instance = {
        "artifactRef": {"name": "tiny-coder"},
        "engine": {"name": "llama.cpp", "image": engine_image()},
        "serving": {"modelName": "tiny-coder", "contextLength": 512},
    }
    stack.add("ModelInstance", "coder", instance)
    binding = {
        "instanceRef": {"name": "coder"},
        "artifactRef": {"name": style},
        "alias": style,
    }
    stack.add("AdapterBinding", style, binding)
    access = {
        "groups": [{"name": "engineers", "models": ["tiny-coder", style]}],
        "keys": [
            {
                "hash": f"sha256:{hashlib.sha256(CHAT_KEY.encode()).hexdigest()}",
                "owner": "pia@acme.test",
                "group": "engineers",
                "expiresAt": "2099-01-01T00:00:00Z",
            }
        ],
    }
    stack.add("GatewayAccess", stack.name, access)


def ask(stack: Stack) -> int:
    """Ask the boundary's gateway for its own adapter, and return how many tokens came back."""
    gateway = stack.ready("GatewayAccess", stack.name, 90)
    body = {
        "model": f"{stack.name}-style",
        "messages": [{"role": "user", "content": "def pay("}],
        "max_tokens": 8,
    }
    request = urllib.request.Request(
        f"{gateway['status']['endpoint']}/v1/chat/completions",
        data=json.dumps(body).encode(),
        headers={"Authorization": f"Bearer {CHAT_KEY}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as answer:
        return int(json.load(answer)["usage"]["completion_tokens"])


def boundary_spec(stack: Stack) -> dict[str, Any]:
    return {
        "displayName": stack.name.title(),
        "namespace": stack.inside,
        "quota": {"cpu": "4", "memory": "8Gi", "maxInstances": 2},
    }


def test_an_adapter_bound_later_is_served_after_a_rolling_restart(stack: Stack) -> None:
    stack.add_artifact("research-style")
    binding = {
        "instanceRef": {"name": "coder"},
        "artifactRef": {"name": "research-style"},
        "alias": "research-style",
    }
    before = stack.get("ModelInstance", "coder")["status"]["smoke"]["revision"]
    stack.add("AdapterBinding", "research-style", binding)
    stack.ready("AdapterBinding", "research-style", 90)
    status = stack.ready("ModelInstance", "coder")["status"]
    assert status["servedModels"] == ["payments-style", "research-style", "tiny-coder"]
    # Another configuration is another revision, and it had to answer for itself.
    assert status["smoke"]["revision"] != before


def test_bytes_with_another_digest_are_refused_and_leave_no_file(stack: Stack) -> None:
    wrong = "sha256:" + "0" * 64
    stack.add_artifact("research-style", wrong)
    name = "research-style-wrong"
    stack.until(
        "the artifact is refused",
        lambda: (
            stack.condition("ModelArtifact", name, "Verified").get("reason") == "DigestMismatch"
        ),
    )
    assert "verifiedDigest" not in stack.get("ModelArtifact", name)["status"]
    claims = list((stack.handle.settings.data).rglob("sha256-*"))
    assert claims, "the verified artifacts are in the model store"
    assert all("0" * 64 not in path.name for path in claims)
    assert not list(stack.handle.settings.data.rglob(".partial-*"))


def probe(stack: Stack, name: str, labels: dict[str, str], *target: str) -> str:
    """Run a restricted pod in the boundary that tries to connect, and return what it says."""
    security = {
        "allowPrivilegeEscalation": False,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    container = {
        "name": "main",
        "image": references()["ringfence/probe"],
        "args": ["connect", *target, "--seconds", "1"],
        "securityContext": security,
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}},
    }
    spec = {"restartPolicy": "Never", "containers": [container]}
    body = {"metadata": {"name": name, "labels": labels}, "spec": spec}
    path = f"/api/v1/namespaces/{stack.inside}/pods"
    stack.admin.request("POST", path, body)
    stack.until(
        f"pod {name} ended",
        lambda: (
            stack.admin.request("GET", f"{path}/{name}")["status"].get("phase")
            in ("Succeeded", "Failed")
        ),
    )
    return str(stack.admin.request("GET", f"{path}/{name}/log")).strip()


def test_policies_keep_everybody_but_the_gateway_from_the_engine(stack: Stack) -> None:
    engine = stack.get("ModelInstance", "coder")["status"]["endpoint"]
    host, port = engine.removeprefix("http://").split(":")
    assert "connected" not in probe(stack, "stranger", {"app": "stranger"}, host, port)
    # The same pod with the gateway's label gets through: it is the policy that bites.
    gateway = {"ringfence.dev/component": "gateway"}
    assert "connected" in probe(stack, "like-the-gateway", gateway, host, port)
    assert "connected" not in probe(stack, "to-aws", gateway, "10.88.0.10", "80")


def test_a_pod_that_is_not_restricted_is_refused(stack: Stack) -> None:
    container = {"name": "main", "image": references()["ringfence/probe"]}
    spec = {"containers": [container], "hostNetwork": True}
    body = {"metadata": {"name": "root"}, "spec": spec}
    with pytest.raises(ClusterError, match="restricted"):
        stack.admin.request("POST", f"/api/v1/namespaces/{BOUNDARY}/pods", body)


def test_after_a_restart_of_the_operator_nothing_is_written(stack: Stack) -> None:
    def versions() -> dict[str, str]:
        paths = [kind.path(None) for kind in KINDS.values()]
        paths += [f"/apis/apps/v1/namespaces/{BOUNDARY}/deployments"]
        paths += [f"/api/v1/namespaces/{BOUNDARY}/{n}" for n in ("services", "configmaps")]
        objects = [obj for path in paths for obj in stack.list(path)]
        return {o["metadata"]["uid"]: o["metadata"]["resourceVersion"] for o in objects}

    def operators() -> list[dict[str, Any]]:
        labelled = "labelSelector=ringfence.dev%2Fcomponent%3Doperator"
        return stack.list(f"/api/v1/namespaces/{SYSTEM}/pods?{labelled}")

    before = versions()
    (old,) = operators()
    name = old["metadata"]["name"]
    stack.admin.request("DELETE", f"/api/v1/namespaces/{SYSTEM}/pods/{name}")
    lease = f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/ringfence-operator"
    stack.until(
        "another operator leads",
        lambda: (
            stack.admin.request("GET", lease)["spec"].get("holderIdentity", "") not in ("", name)
        ),
    )
    # Long enough for a first look at everything and for two probes of the engine.
    deadline = time.monotonic() + 6
    while time.monotonic() < deadline:
        assert versions() == before
        time.sleep(0.5)


def test_a_second_boundary_of_the_cluster_answers_and_neither_reaches_the_other(
    stack: Stack,
) -> None:
    guest = Stack(stack.handle, stack.models, stack.kubeconfig, "research")
    identity = {"id": "018f0000-0000-7000-8000-000000000003", "name": "research"}
    install(stack, guests=["research"])
    of_the_host = {"install": False}
    install(guest, boundary=identity, customResources=of_the_host, clusterScope=of_the_host)
    before = stack.get("SecurityBoundary", "payments")["metadata"]["resourceVersion"]
    fill(guest)
    guest.ready("ModelInstance", "coder", 120)
    guest.ready("AdapterBinding", "research-style", 90)
    assert ask(guest) >= 1
    assert ask(stack) >= 1
    # The guest's operator has written nothing at its host's boundary.
    assert stack.get("SecurityBoundary", "payments")["metadata"]["resourceVersion"] == before
    for here, there in ((stack, guest), (guest, stack)):
        assert connected_to(here, here) == {"engine"}, "else the probe itself does not work"
        assert connected_to(here, there) == set()


def connected_to(here: Stack, there: Stack) -> set[str]:
    """Return which parts of a boundary a pod labelled as another's gateway connects to."""
    targets = {}
    for pod in there.list(f"/api/v1/namespaces/{there.inside}/pods"):
        part = pod["metadata"].get("labels", {}).get("ringfence.dev/component", "")
        port = {"engine": "8000", "gateway": "8080", "postgres": "5432"}.get(part)
        address = pod["status"].get("podIP")
        if port and address and pod["status"].get("phase") == "Running":
            targets[part] = (address, port)
    assert set(targets) >= {"engine", "gateway", "postgres"}
    if here is there:
        # The gateway's own pod would be its own target; the database is a matter of its policy.
        targets = {"engine": targets["engine"]}
    gateway = {"ringfence.dev/component": "gateway"}
    said = {
        part: probe(here, f"to-{there.name}-{part}", gateway, *target)
        for part, target in targets.items()
    }
    return {part for part, text in said.items() if "connected" in text}
