"""Say what runs in the boundary: read the custom resources' status and sum it up.

Called by `agent.main` on a timer and after each change. `summarise` is pure.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

from agent.kubernetes import Kubernetes, own_path
from agent.settings import AGENT_VERSION
from wire.agent import AgentStatus, ResourceReport, SmokeReport
from wire.bundle import Refusal
from wire.resources import KINDS


async def gather(kubernetes: Kubernetes, namespace: str, boundary: str) -> list[dict[str, Any]]:
    """Return the boundary's custom resources of the vocabulary, each with its `kind`."""
    found: list[dict[str, Any]] = []
    for kind in KINDS.values():
        items = await kubernetes.list(own_path(kind, namespace, boundary))
        found += [{**item, "kind": kind.kind} for item in items]
    return found


def summarise(
    resources: list[dict[str, Any]],
    applied_sequence: int,
    refused: Refusal | None,
    observed_at: datetime,
) -> AgentStatus:
    """Return the status message for these resources."""
    smoke: list[SmokeReport] = []
    verified: dict[str, str] = {}
    gateway_url: str | None = None
    for item in resources:
        status = item.get("status") or {}
        name = item["metadata"]["name"]
        if item["kind"] == "ModelInstance" and (result := status.get("smoke")):
            smoke.append(
                SmokeReport(
                    instance=name,
                    model=result["model"],
                    output_tokens=result["outputTokens"],
                    ttft_ms=result["ttftMs"],
                )
            )
        if item["kind"] == "ModelArtifact" and (digest := status.get("verifiedDigest")):
            verified[name] = digest
        if item["kind"] == "GatewayAccess":
            gateway_url = status.get("endpoint") or gateway_url
    return AgentStatus(
        agent_version=AGENT_VERSION,
        applied_sequence=applied_sequence,
        refused=refused,
        gateway_url=gateway_url,
        resources=tuple(_report(item) for item in resources),
        smoke=tuple(smoke),
        verified_artifacts=verified,
        observed_at=observed_at,
    )


def _report(item: dict[str, Any]) -> ResourceReport:
    status = item.get("status") or {}
    generation = int(item["metadata"].get("generation", 0))
    ready = next((c for c in status.get("conditions", ()) if c["type"] == "Ready"), None)
    observed = int(ready.get("observedGeneration", 0)) if ready else 0
    return ResourceReport(
        kind=item["kind"],
        name=item["metadata"]["name"],
        # A condition about an older generation says nothing about this one.
        ready=bool(ready and ready["status"] == "True" and observed >= generation),
        reason=ready["reason"] if ready else "NotObserved",
        message=(ready.get("message", "") if ready else "")[:1000],
        observed_generation=observed,
        generation=generation,
    )
