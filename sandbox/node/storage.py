"""Dynamic provisioning for the storage class `ringfence-local`: folders in the data folder.

Called by the agent when claims or volumes change, and by volumes to find a claim's folder.
Volumes survive a stop of the cluster; a released one is deleted with its claim.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from sandbox.cluster.bootstrap import PROVISIONER, STORAGE_CLASS
from sandbox.node.api import Api, ApiError, Object

Lookup = Callable[[str], Iterable[Object]]
RETRY_SECONDS = 1.0


class Storage:
    """Binds claims to folders."""

    def __init__(self, api: Api, folder: Path, objects: Lookup) -> None:
        self._api = api
        self._folder = folder
        self._objects = objects
        self._dirty = asyncio.Event()
        self._made: set[str] = set()

    def touch(self) -> None:
        """Say that a claim or a volume changed."""
        self._dirty.set()

    async def run(self) -> None:
        """Provision and delete as claims and volumes come and go, for ever."""
        while True:
            await self._dirty.wait()
            self._dirty.clear()
            try:
                await self._provision()
                await self._reclaim()
            except ApiError as error:
                print(f"storage: {error}", flush=True)
                self._dirty.set()
                await asyncio.sleep(RETRY_SECONDS)

    async def _provision(self) -> None:
        for claim in list(self._objects("persistentvolumeclaims")):
            meta, spec = claim["metadata"], claim["spec"]
            pending = (claim.get("status") or {}).get("phase") == "Pending"
            if spec.get("storageClassName") != STORAGE_CLASS or not pending:
                continue
            if spec.get("volumeName") or meta["uid"] in self._made:
                continue
            try:
                await self._api.request("POST", "/api/v1/persistentvolumes", self._volume(claim))
            except ApiError as error:
                if error.status != 409:
                    raise
            self._made.add(meta["uid"])

    def _volume(self, claim: Object) -> Object:
        meta, spec = claim["metadata"], claim["spec"]
        name = f"pvc-{meta['uid']}"
        path = self._folder / name
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {
                "name": name,
                "annotations": {"pv.kubernetes.io/provisioned-by": PROVISIONER},
            },
            "spec": {
                "capacity": {"storage": spec["resources"]["requests"]["storage"]},
                "accessModes": spec["accessModes"],
                "persistentVolumeReclaimPolicy": "Delete",
                "storageClassName": STORAGE_CLASS,
                "volumeMode": "Filesystem",
                "hostPath": {"path": str(path), "type": "DirectoryOrCreate"},
                "claimRef": {
                    "apiVersion": "v1",
                    "kind": "PersistentVolumeClaim",
                    "namespace": meta["namespace"],
                    "name": meta["name"],
                    "uid": meta["uid"],
                },
            },
        }

    async def _reclaim(self) -> None:
        for volume in list(self._objects("persistentvolumes")):
            meta = volume["metadata"]
            annotations = meta.get("annotations") or {}
            if annotations.get("pv.kubernetes.io/provisioned-by") != PROVISIONER:
                continue
            released = (volume.get("status") or {}).get("phase") in ("Released", "Failed")
            policy = volume["spec"].get("persistentVolumeReclaimPolicy")
            if not released or policy != "Delete":
                continue
            path = Path(volume["spec"]["hostPath"]["path"])
            # Only what this provisioner made may be deleted.
            if path.parent == self._folder:
                await asyncio.to_thread(shutil.rmtree, path, ignore_errors=True)
            try:
                await self._api.request("DELETE", f"/api/v1/persistentvolumes/{meta['name']}")
            except ApiError as error:
                if error.status != 404:
                    raise

    async def claim_path(self, namespace: str, name: str) -> Path | None:
        """Return the folder of a bound claim, or None while it is not bound."""
        for claim in self._objects("persistentvolumeclaims"):
            meta = claim["metadata"]
            if (meta["namespace"], meta["name"]) != (namespace, name):
                continue
            if (claim.get("status") or {}).get("phase") != "Bound":
                return None
            for volume in self._objects("persistentvolumes"):
                if volume["metadata"]["name"] == claim["spec"]["volumeName"]:
                    path = Path(volume["spec"]["hostPath"]["path"])
                    path.mkdir(mode=0o700, parents=True, exist_ok=True)
                    return path
        return None
