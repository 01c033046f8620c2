"""The few calls to the boundary's API server: server-side apply, list, delete.

Used by `agent.apply` and `agent.status`. The token file is read for every request, since the
kubelet renews it.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import orjson

from wire.resources import ResourceKind

FIELD_MANAGER = "ringfence/agent"
TIMEOUT = aiohttp.ClientTimeout(total=30)


def own_path(kind: ResourceKind, namespace: str, boundary: str, **query: str) -> str:
    """Return where this boundary's objects of a kind are listed.

    Of a cluster-scoped kind that is the one object of the boundary's name: others are a neighbour's
    in the same cluster, which the API server does not show us.
    """
    if not kind.namespaced:
        query["fieldSelector"] = f"metadata.name={boundary}"
    return f"{kind.path(namespace)}?{urlencode(query)}" if query else kind.path(namespace)


class KubernetesError(RuntimeError):
    """The API server refused; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def in_cluster(environment: Mapping[str, str], token_file: Path) -> Kubernetes:
    """Return a client of the cluster this pod runs in."""
    host = environment["KUBERNETES_SERVICE_HOST"]
    port = environment["KUBERNETES_SERVICE_PORT"]
    context = ssl.create_default_context(cafile=str(token_file.parent / "ca.crt"))
    return Kubernetes(f"https://{host}:{port}", token_file, context)


class Kubernetes:
    """A minimal client; raises KubernetesError with the server's message."""

    def __init__(self, url: str, token_file: Path, context: ssl.SSLContext | None) -> None:
        self._url = url
        self._token_file = token_file
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context if context else False), timeout=TIMEOUT
        )

    async def close(self) -> None:
        await self._session.close()

    async def apply(self, path: str, manifest: dict[str, Any]) -> None:
        """Server-side apply one object; we own our fields even where somebody edited them."""
        await self._call(
            "PATCH",
            f"{path}?fieldManager={FIELD_MANAGER}&force=true",
            orjson.dumps(manifest),
            "application/apply-patch+yaml",
        )

    async def list(self, path: str) -> list[dict[str, Any]]:
        """Return the items of a collection."""
        items: list[dict[str, Any]] = (await self._call("GET", path))["items"]
        return items

    async def delete(self, path: str) -> None:
        """Delete one object; one that is gone already is fine."""
        try:
            await self._call("DELETE", path)
        except KubernetesError as error:
            if error.status != 404:
                raise

    async def _call(
        self, method: str, path: str, body: bytes | None = None, content_type: str = ""
    ) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._token_file.read_text().strip()}"}
        if content_type:
            headers["Content-Type"] = content_type
        async with self._session.request(
            method, f"{self._url}{path}", data=body, headers=headers
        ) as answer:
            data = await answer.read()
            if answer.status >= 400:
                raise KubernetesError(answer.status, _message(method, path, answer.status, data))
            document: dict[str, Any] = orjson.loads(data)
            return document


def _message(method: str, path: str, status: int, data: bytes) -> str:
    try:
        text = orjson.loads(data).get("message", "")
    except orjson.JSONDecodeError:
        text = ""
    return f"{method} {path.split('?')[0]}: {status} {text}".strip()
