"""A pod's volumes: folders on the host that the launcher binds into its containers.

Called by the pod runner before the first container and then every few seconds, so that tokens are
renewed and changed ConfigMaps and Secrets arrive. What is secret lies on the cluster's tmpfs.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandbox.node.api import Api, ApiError, Object
from sandbox.node.environment import ConfigError, Fetch, content, field_value
from sandbox.node.process import Mount

RENEW_AT = 0.8
POD_IDENTITY_VOLUME = "eks-pod-identity-token"


class VolumeError(RuntimeError):
    """A volume is not there yet: the pod waits in ContainerCreating and tries again."""


@dataclass
class _Token:
    renew_at: dt.datetime


@dataclass
class Volumes:
    """The volumes of one pod."""

    api: Api
    fetch: Fetch
    pod: Object
    address: str
    durable: Path
    """Folder for emptyDir, kept until the pod is deleted."""
    volatile: Path
    """Folder on tmpfs for everything projected."""
    claim_path: Callable[[str, str], Awaitable[Path | None]]
    """(namespace, claim) -> folder of the bound volume."""
    _sources: dict[str, Path] = field(default_factory=dict)
    _tokens: dict[Path, _Token] = field(default_factory=dict)

    async def prepare(self) -> None:
        """Make every volume, or write again what changed.

        Raises: VolumeError when an object or a claim is missing.
        """
        for volume in self.pod["spec"].get("volumes") or ():
            self._sources[volume["name"]] = await self._one(volume)

    async def _one(self, volume: Object) -> Path:
        name = volume["name"]
        if "emptyDir" in volume:
            memory = (volume["emptyDir"] or {}).get("medium") == "Memory"
            return _folder((self.volatile if memory else self.durable) / name)
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            path = await self.claim_path(self.pod["metadata"]["namespace"], claim)
            if path is None:
                raise VolumeError(f"volume {name!r}: claim {claim!r} is not bound yet")
            return path
        folder = _folder(self.volatile / name)
        await self._project(folder, _projections(volume))
        return folder

    async def _project(self, folder: Path, sources: list[Object]) -> None:
        wanted: dict[str, bytes | None] = {}
        for source in sources:
            wanted.update(await self._source(folder, source))
        for relative, data in wanted.items():
            if data is not None:
                await asyncio.to_thread(_write, folder / relative, data)
        for path in [p for p in folder.rglob("*") if p.is_file()]:
            if str(path.relative_to(folder)) not in wanted:
                path.unlink()

    async def _source(self, folder: Path, source: Object) -> dict[str, bytes | None]:
        """Return relative path -> content; None keeps the file as it is."""
        if "serviceAccountToken" in source:
            return await self._token(folder, source["serviceAccountToken"])
        if "downwardAPI" in source:
            return self._downward(source["downwardAPI"].get("items") or ())
        for kind in ("configMap", "secret"):
            if kind in source:
                return await self._keys(kind, source[kind])
        raise VolumeError(f"volume source {sorted(source)} is not supported by the sandbox")

    def _downward(self, items: Any) -> dict[str, bytes | None]:
        try:
            return {
                item["path"]: field_value(
                    self.pod, item["fieldRef"]["fieldPath"], self.address
                ).encode()
                for item in items
            }
        except (ConfigError, KeyError) as error:
            raise VolumeError(f"downwardAPI: {error}") from error

    async def _keys(self, kind: str, source: Object) -> dict[str, bytes | None]:
        name = source.get("name") or source.get("secretName")
        found = await self.fetch(f"{kind.lower()}s", str(name))
        if found is None:
            if source.get("optional"):
                return {}
            raise VolumeError(f"{kind} {name!r} not found")
        data = content(found)
        if not source.get("items"):
            return dict(data)
        chosen: dict[str, bytes | None] = {}
        for item in source["items"]:
            if item["key"] not in data:
                if source.get("optional"):
                    continue
                raise VolumeError(f"{kind} {name!r} has no key {item['key']!r}")
            chosen[item["path"]] = data[item["key"]]
        return chosen

    async def _token(self, folder: Path, source: Object) -> dict[str, bytes | None]:
        relative = source["path"]
        path = folder / relative
        kept = self._tokens.get(path)
        now = dt.datetime.now(dt.UTC)
        if kept is not None and path.exists() and now < kept.renew_at:
            return {relative: None}
        meta, spec = self.pod["metadata"], self.pod["spec"]
        account = spec.get("serviceAccountName", "default")
        seconds = int(source.get("expirationSeconds") or 3600)
        audience = source.get("audience")
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": [audience] if audience else [],
                "expirationSeconds": seconds,
                "boundObjectRef": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "name": meta["name"],
                    "uid": meta["uid"],
                },
            },
        }
        where = f"/api/v1/namespaces/{meta['namespace']}/serviceaccounts/{account}/token"
        try:
            answer = await self.api.request("POST", where, body)
        except ApiError as error:
            raise VolumeError(f"token of service account {account!r}: {error}") from error
        self._tokens[path] = _Token(now + dt.timedelta(seconds=seconds * RENEW_AT))
        return {relative: str(answer["status"]["token"]).encode()}

    def mounts(self, container: Object) -> list[Mount]:
        """Return what the launcher binds, outer paths before inner ones.

        Raises: VolumeError when a mount names no volume.
        """
        found = []
        for mount in container.get("volumeMounts") or ():
            source = self._sources.get(mount["name"])
            if source is None:
                raise VolumeError(f"volumeMount {mount['name']!r} names no volume of the pod")
            if mount.get("subPath"):
                source = source / mount["subPath"]
                if not source.resolve().is_relative_to(self._sources[mount["name"]].resolve()):
                    raise VolumeError(f"subPath {mount['subPath']!r} leaves its volume")
                if not source.exists():
                    source.mkdir(parents=True)
            read_only = bool(mount.get("readOnly")) or self._projected(mount["name"])
            found.append(Mount(str(source), mount["mountPath"], read_only))
        return sorted(found, key=lambda mount: mount.target.count("/"))

    def _projected(self, name: str) -> bool:
        for volume in self.pod["spec"].get("volumes") or ():
            if volume["name"] == name:
                return "emptyDir" not in volume and "persistentVolumeClaim" not in volume
        return False

    def remove(self) -> None:
        """Delete what the pod alone used; claims stay."""
        shutil.rmtree(self.durable, ignore_errors=True)
        shutil.rmtree(self.volatile, ignore_errors=True)


def _projections(volume: Object) -> list[Object]:
    if "projected" in volume:
        return list(volume["projected"].get("sources") or ())
    return [
        {kind: volume[kind]} for kind in ("configMap", "secret", "downwardAPI") if kind in volume
    ] or [{key: value for key, value in volume.items() if key != "name"}]


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    return path


def _write(path: Path, data: bytes) -> None:
    if path.exists() and path.read_bytes() == data:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    stage = path.with_name(f".{path.name}.new")
    stage.touch(mode=0o600)
    stage.write_bytes(data)
    stage.rename(path)
