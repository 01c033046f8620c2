"""Node objects: registration, heartbeats and removal.

Called by the agent. One agent serves every node of a cluster, because all of them are this
machine (emulation): nodes differ in name, labels, taints and capacity only.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import json
from pathlib import Path
from typing import Any

from sandbox.cluster.settings import KUBELET_PORT, NODE_ADDRESS, ClusterSettings
from sandbox.node.api import Api, ApiError, Object
from sandbox.node.container import timestamp

LEASE_SECONDS = 10.0
STATUS_EVERY = 6
CAPACITY = {"cpu": "8", "memory": "32Gi", "pods": "110", "ephemeral-storage": "100Gi"}
NODEGROUP = "eks.amazonaws.com/nodegroup"
EMULATED = "ringfence.dev/emulated"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"


def read_groups(settings: ClusterSettings) -> dict[str, Object]:
    """Return the wanted node groups: name -> count, labels, taints, resources."""
    path = Path(settings.data / "nodes.json")
    if not path.exists():
        return {}
    groups: dict[str, Object] = json.loads(path.read_text())
    return groups


class Nodes:
    """The nodes this agent stands for."""

    def __init__(self, api: Api, settings: ClusterSettings) -> None:
        self._api = api
        self._settings = settings
        self.names: set[str] = set()

    async def sync(self) -> set[str]:
        """Register what is wanted; return the names of nodes that are wanted no more."""
        wanted: dict[str, Object] = {}
        for group, entry in read_groups(self._settings).items():
            for index in range(int(entry["count"])):
                node = self._node(group, index, entry)
                wanted[node["metadata"]["name"]] = node
        for node in wanted.values():
            await self._register(node)
        listed = await self._api.request("GET", f"/api/v1/nodes?labelSelector={EMULATED}%3Dtrue")
        present = {item["metadata"]["name"] for item in listed["items"]}
        self.names = set(wanted)
        return present - self.names

    async def remove(self, name: str) -> None:
        """Delete a node and its lease."""
        for path in (f"/api/v1/nodes/{name}", f"{LEASES}/{name}"):
            try:
                await self._api.request("DELETE", path)
            except ApiError as error:
                if error.status != 404:
                    raise

    async def _register(self, node: Object) -> None:
        name = node["metadata"]["name"]
        try:
            await self._api.request("POST", "/api/v1/nodes", node)
        except ApiError as error:
            if error.status != 409:
                raise
            labels = {"metadata": {"labels": node["metadata"]["labels"]}}
            await self._api.request("PATCH", f"/api/v1/nodes/{name}", labels)
            await self._write_status(name, node["status"])
        await self._lease(name)

    async def _write_status(self, name: str, status: Object) -> None:
        await self._api.request("PATCH", f"/api/v1/nodes/{name}/status", {"status": status})

    async def _lease(self, name: str) -> None:
        now = dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": now}
        try:
            await self._api.request("PATCH", f"{LEASES}/{name}", {"spec": spec})
        except ApiError as error:
            if error.status != 404:
                raise
            lease = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": name, "namespace": "kube-node-lease"},
                "spec": spec,
            }
            await self._api.request("POST", LEASES, lease)

    async def heartbeat(self) -> None:
        """Renew leases and, less often, the status of every node, for ever."""
        rounds = 0
        while True:
            await asyncio.sleep(LEASE_SECONDS)
            rounds += 1
            for name in sorted(self.names):
                try:
                    await self._lease(name)
                    if rounds % STATUS_EVERY == 0:
                        await self._write_status(name, {"conditions": _conditions()})
                except ApiError as error:
                    print(f"heartbeat of {name}: {error}", flush=True)

    def _node(self, group: str, index: int, entry: Object) -> Object:
        name = f"{group}-{index}"
        capacity = {**CAPACITY, **(entry.get("resources") or {})}
        zone = self._settings.region + "ab"[index % 2]
        labels = {
            "kubernetes.io/hostname": name,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": "amd64",
            "topology.kubernetes.io/region": self._settings.region,
            "topology.kubernetes.io/zone": zone,
            "ringfence.dev/accelerator": "cpu",
            NODEGROUP: group,
            EMULATED: "true",
            **(entry.get("labels") or {}),
        }
        spec: dict[str, Any] = {
            "providerID": f"aws:///{zone}/i-{hashlib.sha256(name.encode()).hexdigest()[:17]}"
        }
        if entry.get("taints"):
            spec["taints"] = entry["taints"]
        return {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": labels},
            "spec": spec,
            "status": {
                "capacity": capacity,
                "allocatable": capacity,
                "conditions": _conditions(),
                "addresses": [
                    {"type": "InternalIP", "address": NODE_ADDRESS},
                    {"type": "Hostname", "address": name},
                ],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": KUBELET_PORT}},
                "nodeInfo": _info(),
            },
        }


def _conditions() -> list[Object]:
    now = timestamp()
    kinds = (
        ("MemoryPressure", "False", "KubeletHasSufficientMemory"),
        ("DiskPressure", "False", "KubeletHasNoDiskPressure"),
        ("PIDPressure", "False", "KubeletHasSufficientPID"),
        ("Ready", "True", "KubeletReady"),
    )
    return [
        {
            "type": kind,
            "status": status,
            "reason": reason,
            "message": "sandbox node agent",
            "lastHeartbeatTime": now,
            "lastTransitionTime": now,
        }
        for kind, status, reason in kinds
    ]


def _info() -> Object:
    return {
        "architecture": "amd64",
        "operatingSystem": "linux",
        "kubeletVersion": "v1.34.4-sandbox",
        "kubeProxyVersion": "",
        "containerRuntimeVersion": "sandbox://1",
        "kernelVersion": "",
        "osImage": "Ringfence sandbox (emulated node)",
        "bootID": "",
        "machineID": "",
        "systemUUID": "",
    }
