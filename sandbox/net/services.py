"""Services and EndpointSlices of Kubernetes turned into address translations: pure, no I/O.

Called by the node agent whenever either changes; stands in for kube-proxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]


@dataclass(frozen=True)
class ServicePort:
    """One port of a ClusterIP with the ready endpoints behind it."""

    address: str
    protocol: str
    port: int
    endpoints: tuple[tuple[str, int], ...]


def translations(services: Iterable[Object], slices: Iterable[Object]) -> list[ServicePort]:
    """Return every port of every Service that has a ClusterIP, also those without endpoints."""
    by_service: dict[tuple[str, str], list[Object]] = {}
    for item in slices:
        meta = item["metadata"]
        name = (meta.get("labels") or {}).get("kubernetes.io/service-name")
        if name and item.get("addressType") == "IPv4":
            by_service.setdefault((meta["namespace"], name), []).append(item)
    found = []
    for service in services:
        meta, spec = service["metadata"], service["spec"]
        address = spec.get("clusterIP")
        if not address or address == "None":
            continue
        mine = by_service.get((meta["namespace"], meta["name"]), [])
        for port in spec.get("ports") or ():
            found.append(
                ServicePort(
                    address,
                    (port.get("protocol") or "TCP").lower(),
                    int(port["port"]),
                    _endpoints(mine, port.get("name") or ""),
                )
            )
    return found


def _endpoints(slices: list[Object], port_name: str) -> tuple[tuple[str, int], ...]:
    found = set()
    for item in slices:
        numbers = [
            port["port"]
            for port in item.get("ports") or ()
            if (port.get("name") or "") == port_name and port.get("port")
        ]
        for endpoint in item.get("endpoints") or ():
            # `ready` absent means ready (discovery.k8s.io/v1).
            if (endpoint.get("conditions") or {}).get("ready", True) is False:
                continue
            found |= {(address, int(n)) for address in endpoint["addresses"] for n in numbers}
    return tuple(sorted(found))
