"""Kubernetes Events of the node agent: why a pod or a load balancer waits.

Called by the pod runners and the balancers; each distinct message is recorded once per object.
"""

from __future__ import annotations

from sandbox.node.api import Api, ApiError, Object
from sandbox.node.container import timestamp

COMPONENT = "ringfence-node-agent"
MAX_MESSAGE = 1000
MAX_REMEMBERED = 5000


class Events:
    """Records events; a failure to record one stops nothing."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._seen: dict[tuple[str, str, str], None] = {}

    async def warn(self, kind: str, item: Object, reason: str, message: str) -> None:
        """Record a warning about an object unless it was recorded before."""
        meta = item["metadata"]
        key = (meta["uid"], reason, message)
        if key in self._seen:
            return
        self._seen[key] = None
        while len(self._seen) > MAX_REMEMBERED:
            self._seen.pop(next(iter(self._seen)))
        print(f"{kind} {meta['namespace']}/{meta['name']}: {reason}: {message}", flush=True)
        now = timestamp()
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{meta['name']}.", "namespace": meta["namespace"]},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": kind,
                "name": meta["name"],
                "namespace": meta["namespace"],
                "uid": meta["uid"],
            },
            "type": "Warning",
            "reason": reason,
            "message": message[:MAX_MESSAGE],
            "source": {"component": COMPONENT},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        path = f"/api/v1/namespaces/{meta['namespace']}/events"
        try:
            await self._api.request("POST", path, body)
        except ApiError as error:
            print(f"event: {error}", flush=True)
