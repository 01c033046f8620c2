"""Services of type LoadBalancer: asks the host for addresses and writes them into the status.

Called by the agent when Services change. The listeners belong to the host-side process, because
this one lives in the cluster's network namespace.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from pathlib import Path

from sandbox.node.api import Api, ApiError, Object
from sandbox.node.events import Events

RETRY_SECONDS = 1.0


class Balancers:
    """Keeps the host's load balancers and the Services' status in line."""

    def __init__(
        self, api: Api, socket: Path, objects: Callable[[str], Iterable[Object]], events: Events
    ) -> None:
        self._api = api
        self._socket = socket
        self._objects = objects
        self._events = events
        self._dirty = asyncio.Event()
        self._sent: list[Object] | None = None

    def touch(self) -> None:
        self._dirty.set()

    async def run(self) -> None:
        """Follow the Services, for ever."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._follow()
            except (ApiError, OSError, ValueError, KeyError) as error:
                print(f"load balancers: {error}", flush=True)
                self._sent = None
                self._dirty.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _follow(self) -> None:
        services = [
            service
            for service in self._objects("services")
            if service["spec"].get("type") == "LoadBalancer"
            and not service["metadata"].get("deletionTimestamp")
            and service["spec"].get("clusterIP") not in (None, "", "None")
        ]
        wanted = [
            {
                "uid": service["metadata"]["uid"],
                "target": service["spec"]["clusterIP"],
                "ports": [
                    int(port["port"])
                    for port in service["spec"].get("ports") or ()
                    if port.get("protocol", "TCP") == "TCP"
                ],
            }
            for service in services
        ]
        if wanted != self._sent:
            answer = await self._ask(wanted)
            self._sent = wanted
            for service in services:
                uid = service["metadata"]["uid"]
                if uid in answer["addresses"]:
                    await self._write(service, answer["addresses"][uid])
                else:
                    reason = "SyncLoadBalancerFailed"
                    await self._events.warn("Service", service, reason, answer["errors"][uid])

    async def _ask(self, wanted: list[Object]) -> Object:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(json.dumps({"services": wanted}).encode() + b"\n")
            answer = json.loads(await asyncio.wait_for(reader.readline(), 10))
        finally:
            writer.close()
        if "error" in answer:
            raise OSError(answer["error"])
        found: Object = answer
        return found

    async def _write(self, service: Object, address: str) -> None:
        ingress = [{"ip": address, "ipMode": "Proxy"}]
        if ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") == ingress:
            return
        meta = service["metadata"]
        path = f"/api/v1/namespaces/{meta['namespace']}/services/{meta['name']}/status"
        await self._api.request("PATCH", path, {"status": {"loadBalancer": {"ingress": ingress}}})
