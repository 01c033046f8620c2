"""Pods of the emulated cluster: identity, files, probes, restarts, jobs, volumes."""

from __future__ import annotations

import base64
import json
import socket
import sys
from functools import partial
from pathlib import Path

import pytest

from sandbox.node.images import references
from tests.sandbox_cluster.world import World

pytestmark = pytest.mark.cluster
TOKENS = "/var/run/secrets/kubernetes.io/serviceaccount"


def claims(token: str) -> dict[str, object]:
    body = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def test_a_pod_gets_its_own_address_and_a_bound_token(world: World) -> None:
    namespace = world.namespace()
    first, second = world.server(namespace, "one"), world.server(namespace, "two")
    assert first != second
    assert first.startswith("10.88.")
    token = claims(world.file(first, f"{TOKENS}/token"))
    assert token["sub"] == f"system:serviceaccount:{namespace}:default"
    assert token["iss"] == world.handle.issuer
    assert token["kubernetes.io"]["pod"]["name"] == "one"  # type: ignore[index]  # parsed JSON
    assert world.file(first, f"{TOKENS}/namespace") == namespace
    assert world.file(first, f"{TOKENS}/ca.crt").encode() == world.handle.ca_pem


def test_a_pod_runs_as_its_uid_and_sees_nothing_of_the_host(world: World) -> None:
    namespace = world.namespace()
    address = world.server(namespace, "own", securityContext={"runAsUser": 1234})
    assert json.loads(world.http(address, "/who")) == {"uid": 1234, "host": "own"}
    hidden = world.handle.settings.pki / "admin.key"
    assert hidden.exists()
    assert "No such file" in world.file(address, str(hidden))
    assert "No such file" in world.file(address, str(world.handle.connect_socket))


def test_a_pod_that_must_not_be_root_is_refused_as_root(world: World) -> None:
    namespace = world.namespace()
    world.pod(namespace, "root", "serve", securityContext={"runAsNonRoot": True, "runAsUser": 0})

    def waiting() -> dict[str, str]:
        found: dict[str, str] = (
            world.container(namespace, "root").get("state", {}).get("waiting", {})
        )
        return found

    world.until(
        "the refusal", lambda: bool(waiting().get("reason") == "CreateContainerConfigError")
    )
    assert "set runAsUser" in waiting()["message"]


def test_what_is_not_emulated_is_refused_by_name(world: World) -> None:
    namespace = world.namespace()
    probe = {"readinessProbe": {"grpc": {"port": 8080}}}
    world.pod(namespace, "odd", "serve", container=probe)
    found = world.until(
        "the refusal",
        lambda: (
            world.container(namespace, "odd").get("state", {}).get("waiting", {}).get("message")
        ),
    )
    assert "readinessProbe: grpc is not emulated" in found


def test_environment_comes_from_fields_config_maps_and_secrets(world: World) -> None:
    namespace = world.namespace()
    base = f"/api/v1/namespaces/{namespace}"
    world.create(f"{base}/configmaps", {"metadata": {"name": "c"}, "data": {"COLOUR": "blue"}})
    world.create(f"{base}/secrets", {"metadata": {"name": "s"}, "stringData": {"word": "hush"}})
    container = {
        "envFrom": [{"configMapRef": {"name": "c"}, "prefix": "MY_"}],
        "env": [
            {"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
            {"name": "WORD", "valueFrom": {"secretKeyRef": {"name": "s", "key": "word"}}},
            {"name": "BOTH", "value": "$(MY_COLOUR)-$(WORD)-$(NONE)"},
        ],
        "volumeMounts": [
            {"name": "files", "mountPath": "/etc/files"},
            {"name": "files", "mountPath": "/opt/one", "subPath": "word"},
        ],
    }
    volumes = [
        {
            "name": "files",
            "projected": {
                "sources": [
                    {"configMap": {"name": "c"}},
                    {"secret": {"name": "s"}},
                    {
                        "serviceAccountToken": {
                            "path": "outer/token",
                            "audience": "pods.eks.amazonaws.com",
                            "expirationSeconds": 900,
                        }
                    },
                ]
            },
        }
    ]
    world.pod(namespace, "env", "serve", container=container, volumes=volumes)
    address = world.ready(namespace, "env")
    world.until("the server", lambda: world.container(namespace, "env").get("ready"))
    environment = _served(world, address)
    assert environment["IP"] == address
    assert environment["BOTH"] == "blue-hush-$(NONE)"
    assert environment["KUBERNETES_SERVICE_HOST"] == "10.96.0.1"
    assert world.file(address, "/etc/files/COLOUR") == "blue"
    assert world.file(address, "/opt/one") == "hush"
    token = claims(world.file(address, "/etc/files/outer/token"))
    assert token["aud"] == ["pods.eks.amazonaws.com"]
    lifetime = int(str(token["exp"])) - int(str(token["iat"]))
    assert lifetime == 900


def _served(world: World, address: str) -> dict[str, str]:
    """Wait for a server without a readiness probe."""

    def attempt() -> dict[str, str] | None:
        try:
            return world.environment(address)
        except RuntimeError:
            return None

    found: dict[str, str] = world.until("the server", attempt)
    return found


def test_a_pod_is_ready_only_when_its_probe_passes(world: World) -> None:
    namespace = world.namespace()
    probe = {"readinessProbe": {"httpGet": {"path": "/ready", "port": 8080}}}
    world.pod(namespace, "late", "serve", "--ready-after", "1.5", container=probe)
    world.phase(namespace, "late", "Running")
    assert world.container(namespace, "late")["ready"] is False
    world.ready(namespace, "late")


def test_a_container_that_fails_is_restarted_with_its_exit_code_shown(world: World) -> None:
    namespace = world.namespace()
    world.pod(namespace, "bad", "exit", "3", "--message", "no such model")
    found = world.until(
        "two restarts",
        lambda: (
            status
            if (status := world.container(namespace, "bad")).get("restartCount", 0) >= 2
            else None
        ),
    )
    last = found["lastState"]["terminated"]
    assert (last["exitCode"], last["message"]) == (3, "no such model")
    world.until(
        "the back-off",
        lambda: (
            world.container(namespace, "bad")["state"].get("waiting", {}).get("reason")
            == "CrashLoopBackOff"
        ),
    )


def test_a_failed_liveness_probe_restarts_the_container(world: World) -> None:
    namespace = world.namespace()
    probe = {
        "livenessProbe": {
            "exec": {"command": ["test", "!", "-e", "/tmp/sick"]},
            "periodSeconds": 1,
            "failureThreshold": 1,
        }
    }
    command = ["sh", "-c", "sleep 0.7; touch /tmp/sick; exec sleep 60"]
    world.pod(namespace, "sick", container={**probe, "command": command})
    world.until("a restart", lambda: world.container(namespace, "sick").get("restartCount", 0) >= 1)


def refused(world: World, namespace: str, name: str) -> bool:
    state = world.container(namespace, name).get("state", {})
    return bool(state.get("waiting", {}).get("reason") == "ErrImagePull")


def test_an_unknown_image_and_a_wrong_digest_are_refused(world: World) -> None:
    namespace = world.namespace()
    wrong = references()["ringfence/probe"][:-4] + "0000"
    for name, image in (("unknown", "library/nginx:1"), ("wrong", wrong)):
        world.pod(namespace, name, "serve", container={"image": image})
        world.until("the refusal", partial(refused, world, namespace, name))
    message = world.container(namespace, "wrong")["state"]["waiting"]["message"]
    assert references()["ringfence/probe"].partition("@")[2] in message


def test_a_job_completes_and_init_containers_run_first(world: World) -> None:
    namespace = world.namespace()
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/scratch"}]}
    image = references()["ringfence/probe"]
    template = {
        "spec": {
            "restartPolicy": "Never",
            "volumes": [{"name": "work", "emptyDir": {}}],
            "initContainers": [
                {"name": "first", "image": image, "args": ["write", "/scratch/a", "made"], **mount}
            ],
            "containers": [
                {"name": "main", "image": image, "args": ["show", "/scratch/a"], **mount}
            ],
        }
    }
    path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    world.create(path, {"metadata": {"name": "job"}, "spec": {"template": template}})
    world.until(
        "the job", lambda: world.admin.request("GET", f"{path}/job")["status"].get("succeeded") == 1
    )
    logs = list((world.handle.settings.logs / "pods").glob(f"{namespace}_job-*/main.0.log"))
    assert [log.read_text() for log in logs] == ["made\n"]


def test_a_volume_above_the_checkout_does_not_hide_the_image(world: World) -> None:
    namespace = world.namespace()
    above = str(Path(sys.executable).parents[2])
    volumes = [{"name": "v", "emptyDir": {}}]
    mount = {"volumeMounts": [{"name": "v", "mountPath": above}]}
    address = world.server_with(namespace, "above", mount, volumes)
    assert world.http(address, "/") == "ok"


def test_what_a_claim_holds_survives_its_pod(world: World) -> None:
    namespace = world.namespace()
    claim = {
        "metadata": {"name": "data"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
    world.create(f"/api/v1/namespaces/{namespace}/persistentvolumeclaims", claim)
    volumes = [{"name": "data", "persistentVolumeClaim": {"claimName": "data"}}]
    mount = {"volumeMounts": [{"name": "data", "mountPath": "/data"}]}
    world.execute(
        namespace, "writer", "write", "/data/kept", "yes", container=mount, volumes=volumes
    )
    world.admin.request("DELETE", f"/api/v1/namespaces/{namespace}/pods/writer")
    address = world.server_with(namespace, "reader", mount, volumes)
    assert world.file(address, "/data/kept") == "yes"


def test_a_deleted_pod_gets_its_grace_and_then_goes(world: World) -> None:
    namespace = world.namespace()
    world.pod(namespace, "stubborn", container={"command": ["sleep", "600"]})
    world.phase(namespace, "stubborn", "Running")
    path = f"/api/v1/namespaces/{namespace}/pods/stubborn"
    world.admin.request("DELETE", path)
    world.until("the end", lambda: world.admin.send("GET", path)[0] == 404)


def test_the_host_cannot_reach_a_pod_directly(world: World) -> None:
    address = world.server(world.namespace(), "inside")
    assert world.http(address, "/") == "inside"
    assert _answer_on_the_host(address) == b""


def _answer_on_the_host(address: str) -> bytes:
    """Return what the host gets: a proxy of the machine may accept, only an answer counts."""
    try:
        with socket.create_connection((address, 8080), 1) as direct:
            direct.sendall(b"GET / HTTP/1.0\r\n\r\n")
            answer = direct.recv(100)
    except OSError:
        return b""
    return answer if b"200" in answer else b""
