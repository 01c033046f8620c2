"""The emulated cluster's network: Services, load balancers, and policies that bite."""

from __future__ import annotations

import socket
import urllib.request

import pytest

from sandbox.cluster import ClusterError
from tests.sandbox_cluster.world import World

pytestmark = pytest.mark.cluster
DENY_ALL = {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}


def test_a_service_is_reached_by_cluster_ip_name_and_variables(world: World) -> None:
    namespace = world.namespace()
    service = world.service(namespace, "web", "back")
    world.server(namespace, "back")
    client = world.server(namespace, "client")
    address = service["spec"]["clusterIP"]
    world.until("the endpoint", lambda: world.dial(client, address, 80) == "connected")
    assert world.dial(client, "web", 80) == "connected"
    assert world.dial(client, f"web.{namespace}.svc.cluster.local", 80) == "connected"
    assert world.environment(client)["WEB_SERVICE_HOST"] == address
    assert world.http(address, "/", 80) == "back"


def test_a_pod_reaches_itself_through_its_service(world: World) -> None:
    namespace = world.namespace()
    service = world.service(namespace, "self", "alone")
    address = world.server(namespace, "alone")
    target = service["spec"]["clusterIP"]
    world.until("the way round", lambda: world.dial(address, target, 80) == "connected")


def test_a_service_without_endpoints_refuses_at_once(world: World) -> None:
    namespace = world.namespace()
    service = world.service(namespace, "empty", "nobody")
    client = world.server(namespace, "client")
    assert world.dial(client, service["spec"]["clusterIP"], 80, 5) == "refused"
    with pytest.raises(ClusterError, match="Connect call failed"):
        world.http(service["spec"]["clusterIP"], "/", 80)


def test_ingress_is_blocked_with_a_policy_and_open_without(world: World) -> None:
    namespace = world.namespace()
    server, client = world.server(namespace, "server"), world.server(namespace, "client")
    assert world.dial(client, server, 8080) == "connected"
    world.policy(namespace, "deny", {"podSelector": {"matchLabels": {"app": "server"}}})
    world.until("the block", lambda: world.dial(client, server, 8080, 0.5) == "timeout")
    # Probes of the node still pass, as in Kubernetes.
    assert world.http(server, "/") == "server"
    allowed = {
        "podSelector": {"matchLabels": {"app": "server"}},
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
                "ports": [{"port": 8080}],
            }
        ],
    }
    world.policy(namespace, "allow", allowed)
    world.until("the way", lambda: world.dial(client, server, 8080, 0.5) == "connected")
    assert world.dial(client, server, 8081, 0.5) == "timeout"
    other = world.server(namespace, "other")
    assert world.dial(other, server, 8080, 0.5) == "timeout"
    world.admin.request(
        "DELETE", f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/deny"
    )
    world.admin.request(
        "DELETE", f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/allow"
    )
    world.until("the opening", lambda: world.dial(other, server, 8080, 0.5) == "connected")


def test_egress_is_blocked_also_to_the_node_and_opened_by_address(world: World) -> None:
    namespace = world.namespace()
    client = world.server(namespace, "client")
    assert world.dial(client, "10.88.0.1", 6443) == "connected"
    assert world.dial(client, "10.96.0.1", 443) == "connected"
    world.policy(namespace, "deny", DENY_ALL)
    world.until("the block", lambda: world.dial(client, "10.88.0.1", 6443, 0.5) == "timeout")
    assert world.dial(client, "10.96.0.1", 443, 0.5) == "timeout"
    world.policy(
        namespace,
        "api",
        {
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [
                {
                    "to": [{"ipBlock": {"cidr": "10.88.0.0/24", "except": ["10.88.0.10/32"]}}],
                    "ports": [{"port": 6443}],
                }
            ],
        },
    )
    world.until("the way", lambda: world.dial(client, "10.88.0.1", 6443, 0.5) == "connected")
    # The Service's address is translated before policies see it.
    assert world.dial(client, "10.96.0.1", 443, 0.5) == "connected"
    assert world.dial(client, "10.88.0.10", 6443, 0.5) == "timeout"


def test_namespaces_are_told_apart_by_their_labels(world: World) -> None:
    here, there, elsewhere = world.namespace(), world.namespace(), world.namespace()
    server = world.server(here, "server")
    friend, stranger = world.server(there, "client"), world.server(elsewhere, "client")
    assert world.dial(stranger, server, 8080) == "connected"
    world.policy(
        here,
        "friends",
        {
            "podSelector": {},
            "ingress": [
                {
                    "from": [
                        {
                            "namespaceSelector": {"matchLabels": {"team": there}},
                            "podSelector": {"matchLabels": {"app": "client"}},
                        }
                    ]
                }
            ],
        },
    )
    world.until("the block", lambda: world.dial(stranger, server, 8080, 0.5) == "timeout")
    assert world.dial(friend, server, 8080) == "connected"


def test_a_pod_that_starts_under_a_policy_is_closed_from_its_first_packet(world: World) -> None:
    namespace = world.namespace()
    server = world.server(world.namespace(), "server")
    world.policy(namespace, "deny", DENY_ALL)
    world.pod(
        namespace,
        "early",
        "connect",
        server,
        "8080",
        "--seconds",
        "0.5",
        restartPolicy="Never",
    )
    pod = world.phase(namespace, "early", "Failed")
    assert pod["status"]["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 1


def test_a_pod_cannot_reach_the_store_or_other_ports_of_the_node(world: World) -> None:
    client = world.server(world.namespace(), "client")
    for port in (2379, 10257, 10259, 10250):
        assert world.dial(client, "10.88.0.1", port, 0.5) == "timeout", port


def test_a_load_balancer_is_reached_from_the_host_and_obeys_policies(world: World) -> None:
    namespace = world.namespace()
    world.server(namespace, "front")
    world.service(namespace, "public", "front", type="LoadBalancer")
    path = f"/api/v1/namespaces/{namespace}/services/public"

    def address() -> str | None:
        status = world.admin.request("GET", path)["status"].get("loadBalancer") or {}
        return status["ingress"][0]["ip"] if status.get("ingress") else None

    found = world.until("the address", address)
    assert found.startswith("127.88.")

    def body() -> str:
        try:
            with urllib.request.urlopen(f"http://{found}/", timeout=2) as response:
                return str(response.read().decode())
        except OSError as error:
            return f"failed {error}"

    world.until("the answer", lambda: body() == "front")
    with socket.create_connection((found, 80), 2) as early:
        world.policy(namespace, "deny", DENY_ALL)
        world.until("the block", lambda: body().startswith("failed"))
        # A connection from before the policy is cut as well.
        early.settimeout(1)
        early.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(TimeoutError):
            early.recv(100)
    world.policy(
        namespace,
        "public",
        {"podSelector": {}, "ingress": [{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]},
    )
    world.until("the answer", lambda: body() == "front")
    world.admin.request("DELETE", path)
    world.until("the end of the listener", lambda: "refused" in body())
