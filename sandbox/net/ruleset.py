"""The nft ruleset of one emulated cluster: Services by DNAT, policies by default-drop chains.

Pure: `render` turns a description of the network into one script that replaces the table in one
transaction. Called by the supervisor (empty network, everything dropped) and by the node agent.

A pod that is not listed can neither send nor receive, so a pod whose policies are not compiled
yet is closed. Traffic from the node itself (probes) always reaches pods, as in Kubernetes.
Load-balanced connections come from an address of their own, to which policies do apply.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sandbox.cluster.settings import (
    API_PORT,
    AWS_ADDRESS,
    CONTROL_PLANE_ADDRESS,
    IDENTITY_ADDRESS,
    LOAD_BALANCER_ADDRESS,
    NODE_ADDRESS,
    SERVICE_RANGE,
)
from sandbox.net.policy import Match, PodRules, Ports
from sandbox.net.services import ServicePort

TABLE = "inet ringfence"
NODE_PORTS = (
    (NODE_ADDRESS, API_PORT),
    (AWS_ADDRESS, 80),
    (CONTROL_PLANE_ADDRESS, 80),
    (IDENTITY_ADDRESS, 80),
)
CLOSED_PORT = 1
# Only answers pass unseen: what a pod sends on an open connection is judged by today's policies.
ANSWERS = "ct state established,related ct direction reply accept"


@dataclass(frozen=True)
class Network:
    """All that the ruleset depends on."""

    pods: tuple[PodRules, ...] = ()
    services: tuple[ServicePort, ...] = field(default=())


def render(network: Network) -> str:
    """Return the script that replaces the whole table."""
    pods = sorted(network.pods, key=lambda pod: pod.address)
    lines = [f"table {TABLE} {{}}", f"delete table {TABLE}", f"table {TABLE} {{"]
    lines += _pod_sets(pods)
    lines += _nat(network.services)
    lines += _policy_chains(pods)
    lines += _filters(pods)
    lines.append("}")
    return "\n".join(lines) + "\n"


def _elements(items: list[str]) -> list[str]:
    return [f"elements = {{ {', '.join(items)} }}"] if items else []


def _pod_sets(pods: list[PodRules]) -> list[str]:
    return [
        "set pods {",
        "type ipv4_addr",
        *_elements([pod.address for pod in pods]),
        "}",
        "set self {",
        "type ipv4_addr . ipv4_addr",
        *_elements([f"{pod.address} . {pod.address}" for pod in pods]),
        "}",
    ]


def _nat(services: tuple[ServicePort, ...]) -> list[str]:
    rules = []
    for service in sorted(services, key=lambda s: (s.address, s.protocol, s.port)):
        if not service.endpoints:
            continue
        targets = ", ".join(
            f"{index} : {address} . {port}"
            for index, (address, port) in enumerate(service.endpoints)
        )
        rules.append(
            f"ip daddr {service.address} {service.protocol} dport {service.port} "
            f"dnat ip to numgen random mod {len(service.endpoints)} map {{ {targets} }}"
        )
    return [
        "chain services {",
        *rules,
        "}",
        "chain pods_nat {",
        "type nat hook prerouting priority -100; policy accept;",
        f"ip daddr {SERVICE_RANGE} jump services",
        "}",
        "chain node_nat {",
        "type nat hook output priority -100; policy accept;",
        f"ip daddr {SERVICE_RANGE} jump services",
        # A Service without endpoints must refuse, not hang.
        f"ip daddr {SERVICE_RANGE} meta l4proto tcp dnat ip to {NODE_ADDRESS}:{CLOSED_PORT}",
        "}",
        "chain self_nat {",
        "type nat hook postrouting priority 100; policy accept;",
        # A pod that reaches itself through a Service must see the answer come back.
        f"ip saddr . ip daddr @self snat ip to {NODE_ADDRESS}",
        "}",
    ]


def _chain(direction: str, address: str) -> str:
    return f"{direction}_{address.replace('.', '_')}"


def _policy_chains(pods: list[PodRules]) -> list[str]:
    lines = []
    for pod in pods:
        for direction, side, matches in (
            ("ingress", "saddr", pod.ingress),
            ("egress", "daddr", pod.egress),
        ):
            if matches is None:
                continue
            lines.append(f"chain {_chain(direction, pod.address)} {{")
            for match in matches:
                lines += [f"{text} return" for text in _match(side, match)]
            lines += ["drop", "}"]
    return lines


def _match(side: str, match: Match) -> list[str]:
    who = []
    if match.addresses is not None:
        who.append(f"ip {side} {{ {', '.join(match.addresses)} }}")
    if match.excluded:
        who.append(f"ip {side} != {{ {', '.join(match.excluded)} }}")
    if match.ports is None:
        # nft wants a condition: every packet here is IPv4.
        return [" ".join(who) or "meta nfproto ipv4"]
    return [" ".join([*who, _ports(ports)]) for ports in match.ports]


def _ports(ports: Ports) -> str:
    if ports.first is None:
        return f"meta l4proto {ports.protocol}"
    span = str(ports.first) if ports.last == ports.first else f"{ports.first}-{ports.last}"
    return f"{ports.protocol} dport {span}"


def _jumps(side: str, direction: str, isolated: list[PodRules]) -> list[str]:
    if not isolated:
        return []
    cases = ", ".join(f"{pod.address} : jump {_chain(direction, pod.address)}" for pod in isolated)
    return [f"ip {side} vmap {{ {cases} }}"]


def _filters(pods: list[PodRules]) -> list[str]:
    egress = _jumps("saddr", "egress", [pod for pod in pods if pod.egress is not None])
    ingress = _jumps("daddr", "ingress", [pod for pod in pods if pod.ingress is not None])
    node_ports = ", ".join(f"{address} . {port}" for address, port in NODE_PORTS)
    balanced = [f"ip saddr {LOAD_BALANCER_ADDRESS} {rule}" for rule in ingress]
    return [
        "chain forward {",
        "type filter hook forward priority 0; policy drop;",
        ANSWERS,
        "ct state invalid drop",
        "ip saddr . ip daddr @self accept",
        f"ip daddr {SERVICE_RANGE} meta l4proto tcp reject with tcp reset",
        *egress,
        *ingress,
        "ip saddr @pods ip daddr @pods accept",
        "}",
        "chain input {",
        "type filter hook input priority 0; policy drop;",
        'iifname "lo" accept',
        ANSWERS,
        "ct state invalid drop",
        *egress,
        f"ip saddr @pods ip daddr . tcp dport {{ {node_ports} }} accept",
        "}",
        "chain output {",
        "type filter hook output priority 0; policy accept;",
        ANSWERS,
        *balanced,
        "}",
    ]
