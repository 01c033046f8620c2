"""The status of a pod from the states of its containers: pure.

Called by the pod runner before each write of the status.
"""

from __future__ import annotations

from typing import Any

from sandbox.cluster.settings import NODE_ADDRESS
from sandbox.node.api import Object
from sandbox.node.container import Container, timestamp


def phase(pod: Object, init: list[Container], main: list[Container]) -> str:
    """Return the pod's phase as the kubelet computes it."""
    policy = pod["spec"].get("restartPolicy", "Always")
    failed_init = [c for c in init if c.terminated and c.terminated["exitCode"] != 0]
    if failed_init and policy == "Never":
        return "Failed"
    if main and all(c.terminated for c in main):
        codes = [c.terminated["exitCode"] for c in main if c.terminated]
        if policy == "Never" or (policy == "OnFailure" and not any(codes)):
            return "Failed" if any(codes) else "Succeeded"
    if any("running" in c.state or c.terminated or c.restarts for c in main):
        return "Running"
    return "Pending"


def _condition(previous: list[Object], kind: str, holds: bool, reason: str) -> Object:
    status = "True" if holds else "False"
    old = next((item for item in previous if item["type"] == kind), None)
    since = old["lastTransitionTime"] if old and old["status"] == status else timestamp()
    found: dict[str, Any] = {"type": kind, "status": status, "lastTransitionTime": since}
    if not holds and reason:
        found["reason"] = reason
    return found


def pod_status(
    pod: Object,
    previous: Object,
    init: list[Container],
    main: list[Container],
    *,
    address: str | None,
    started_at: str,
    initialized: bool,
    message: tuple[str, str] | None = None,
) -> Object:
    """Return the status to write; `previous` keeps times of conditions that did not change."""
    now = phase(pod, init, main)
    ready = now == "Running" and bool(main) and all(c.ready for c in main)
    done = now in ("Succeeded", "Failed")
    why = "PodCompleted" if done else "ContainersNotReady"
    # Conditions of others (the scheduler's) stay as they are.
    own = ("PodReadyToStartContainers", "Initialized", "ContainersReady", "Ready")
    old = list(previous.get("conditions") or (pod.get("status") or {}).get("conditions") or ())
    conditions = [item for item in old if item["type"] not in own]
    conditions += [
        _condition(old, "PodReadyToStartContainers", address is not None and not done, ""),
        _condition(old, "Initialized", initialized, "ContainersNotInitialized"),
        _condition(old, "ContainersReady", ready, why),
        _condition(old, "Ready", ready, why),
    ]
    found: dict[str, Any] = {
        "phase": now,
        "conditions": conditions,
        "hostIP": NODE_ADDRESS,
        "hostIPs": [{"ip": NODE_ADDRESS}],
        "startTime": started_at,
        "containerStatuses": [container.status() for container in main],
        "initContainerStatuses": [container.status() for container in init],
        "qosClass": (pod.get("status") or {}).get("qosClass", "BestEffort"),
    }
    if address is not None:
        found["podIP"] = address
        found["podIPs"] = [{"ip": address}]
    if message is not None:
        found["reason"], found["message"] = message
    return found
