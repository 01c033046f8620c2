"""The conditions of a GatewayAccess from what was gathered; pure."""

from __future__ import annotations

from dataclasses import dataclass

from operators.core.api import RawObject
from operators.core.conditions import Finding, summary
from wire.resources import AccessReason, GatewayAccessSpec

COMPONENT = "gateway"
API_PORT_NAME = "http"


@dataclass(frozen=True)
class GatewayState:
    """What there is of a gateway."""

    present: bool
    endpoint: str | None
    ready_replicas: int


def read_gateway(services: list[RawObject], deployments: list[RawObject]) -> GatewayState:
    """Return the gateway's state; its public Service is the one of type LoadBalancer."""
    public = [s for s in services if s["spec"].get("type") == "LoadBalancer"]
    ready = sum(d.get("status", {}).get("readyReplicas", 0) for d in deployments)
    for service in public:
        port = next(
            (p["port"] for p in service["spec"]["ports"] if p.get("name") == API_PORT_NAME), None
        )
        for ingress in service.get("status", {}).get("loadBalancer", {}).get("ingress", []):
            address = ingress.get("hostname") or ingress.get("ip")
            if address and port:
                return GatewayState(True, f"http://{address}:{port}", ready)
    return GatewayState(bool(public), None, ready)


def findings(spec: GatewayAccessSpec, gateway: GatewayState, served: set[str]) -> list[Finding]:
    """Return all conditions, `Ready` first; `served` are the names of instances and bindings."""
    if not gateway.present:
        programmed = Finding(
            "Programmed", "False", AccessReason.NO_GATEWAY, "no gateway Service in this namespace"
        )
    elif gateway.ready_replicas < 1:
        programmed = Finding(
            "Programmed", "False", AccessReason.GATEWAY_NOT_READY, "no gateway replica is ready"
        )
    elif gateway.endpoint is None:
        programmed = Finding(
            "Programmed", "False", AccessReason.NO_ADDRESS, "the load balancer has no address yet"
        )
    else:
        programmed = Finding("Programmed", "True", AccessReason.PROGRAMMED)
    named = {model for group in spec.groups for model in group.models}
    unknown = sorted(named - served)
    if unknown:
        message = f"nothing here serves {', '.join(unknown)}"
        resolved = Finding("ResolvedModels", "False", AccessReason.UNKNOWN_MODEL, message)
    else:
        resolved = Finding("ResolvedModels", "True", AccessReason.PROGRAMMED)
    return [summary([programmed], AccessReason.READY), programmed, resolved]
