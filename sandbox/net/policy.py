"""NetworkPolicies of Kubernetes turned into matches per pod: pure, no I/O.

Called by the node agent whenever pods, namespaces or policies change; the result is rendered by
`sandbox.net.ruleset`. Semantics as in the Kubernetes documentation of networking.k8s.io/v1:
a pod selected by no policy for a direction is open in it, a selected one is closed save for the
union of the rules. Matches see addresses and ports after the Service's translation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True)
class PodFacts:
    """What policies see of one pod."""

    namespace: str
    name: str
    address: str
    labels: Mapping[str, str]
    ports: Mapping[tuple[str, str], int]
    """(protocol, port name) -> number."""


@dataclass(frozen=True)
class Ports:
    """A range of ports of a protocol; `first` None means all of them."""

    protocol: str
    first: int | None
    last: int | None


@dataclass(frozen=True)
class Match:
    """Allowed traffic of one direction; a field that is None matches everything."""

    addresses: tuple[str, ...] | None = None
    excluded: tuple[str, ...] = ()
    ports: tuple[Ports, ...] | None = None


@dataclass(frozen=True)
class PodRules:
    """The rules of one pod; a direction that is None is not isolated."""

    address: str
    ingress: tuple[Match, ...] | None = None
    egress: tuple[Match, ...] | None = None


def selects(selector: Object | None, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector matches; an empty one matches everything, None nothing."""
    if selector is None:
        return False
    for key, value in (selector.get("matchLabels") or {}).items():
        if labels.get(key) != value:
            return False
    return all(_expression(item, labels) for item in selector.get("matchExpressions") or ())


def _expression(item: Object, labels: Mapping[str, str]) -> bool:
    key, values = item["key"], item.get("values") or ()
    operator = item["operator"]
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values
    if operator == "Exists":
        return key in labels
    if operator == "DoesNotExist":
        return key not in labels
    raise ValueError(f"operator {operator!r} of a label selector is unknown")


def compile_policies(
    policies: Iterable[Object],
    pods: Iterable[PodFacts],
    namespaces: Mapping[str, Mapping[str, str]],
) -> list[PodRules]:
    """Return the rules of every pod; `namespaces` maps name to labels."""
    known = list(pods)
    listed = list(policies)
    compiled = []
    for pod in known:
        mine = [
            policy
            for policy in listed
            if policy["metadata"]["namespace"] == pod.namespace
            and selects(policy["spec"].get("podSelector") or {}, pod.labels)
        ]
        compiled.append(
            PodRules(
                pod.address,
                _direction("Ingress", pod, mine, known, namespaces),
                _direction("Egress", pod, mine, known, namespaces),
            )
        )
    return compiled


def _types(spec: Object) -> tuple[str, ...]:
    declared = spec.get("policyTypes")
    if declared:
        return tuple(declared)
    return ("Ingress", "Egress") if spec.get("egress") else ("Ingress",)


def _direction(
    direction: str,
    pod: PodFacts,
    policies: list[Object],
    pods: list[PodFacts],
    namespaces: Mapping[str, Mapping[str, str]],
) -> tuple[Match, ...] | None:
    isolating = [p for p in policies if direction in _types(p["spec"])]
    if not isolating:
        return None
    matches: dict[Match, None] = {}
    for policy in isolating:
        for rule in policy["spec"].get(direction.lower()) or ():
            peers = rule.get("from" if direction == "Ingress" else "to")
            for match in _rule(direction, pod, rule.get("ports"), peers, pods, namespaces):
                matches[match] = None
    return tuple(matches)


def _rule(
    direction: str,
    pod: PodFacts,
    ports: list[Object] | None,
    peers: list[Object] | None,
    pods: list[PodFacts],
    namespaces: Mapping[str, Mapping[str, str]],
) -> Iterable[Match]:
    if not peers:
        yield from _with_ports(direction, pod, ports, None, (), pods)
        return
    selected: list[PodFacts] = []
    for peer in peers:
        block = peer.get("ipBlock")
        if block is not None:
            excluded = tuple(block.get("except") or ())
            yield from _with_ports(direction, pod, ports, (block["cidr"],), excluded, [])
        else:
            selected += _peer_pods(pod.namespace, peer, pods, namespaces)
    if selected:
        addresses = tuple(sorted({peer.address for peer in selected}))
        yield from _with_ports(direction, pod, ports, addresses, (), selected)


def _peer_pods(
    namespace: str,
    peer: Object,
    pods: list[PodFacts],
    namespaces: Mapping[str, Mapping[str, str]],
) -> list[PodFacts]:
    chosen = peer.get("namespaceSelector")
    labels = peer.get("podSelector")
    return [
        pod
        for pod in pods
        if (
            pod.namespace == namespace
            if chosen is None
            else selects(chosen, namespaces.get(pod.namespace, {}))
        )
        and (labels is None or selects(labels, pod.labels))
    ]


def _with_ports(
    direction: str,
    pod: PodFacts,
    ports: list[Object] | None,
    addresses: tuple[str, ...] | None,
    excluded: tuple[str, ...],
    peers: list[PodFacts],
) -> Iterable[Match]:
    if not ports:
        yield Match(addresses, excluded)
        return
    numbered: list[Ports] = []
    for item in ports:
        protocol = (item.get("protocol") or "TCP").lower()
        port = item.get("port")
        if isinstance(port, str):
            # A name means another number in each pod that is connected to.
            named = [pod] if direction == "Ingress" else peers
            for target in named:
                number = target.ports.get((protocol, port))
                if number is None:
                    continue
                found = (Ports(protocol, number, number),)
                to = addresses if direction == "Ingress" else (target.address,)
                yield Match(to, excluded, found)
        else:
            numbered.append(Ports(protocol, port, item.get("endPort") or port))
    if numbered:
        yield Match(addresses, excluded, tuple(numbered))


def pod_facts(pod: Object, address: str) -> PodFacts:
    """Return what policies see of a pod object that has this address."""
    ports = {
        ((port.get("protocol") or "TCP").lower(), port["name"]): int(port["containerPort"])
        for container in pod["spec"]["containers"]
        for port in container.get("ports") or ()
        if port.get("name")
    }
    meta = pod["metadata"]
    return PodFacts(meta["namespace"], meta["name"], address, meta.get("labels") or {}, ports)
