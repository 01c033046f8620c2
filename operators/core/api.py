"""The few calls of the Kubernetes API that controllers need, on raw JSON.

Used by the reflector, the writer and the lease. No client-side rate limit: the server's own
priority and fairness decides, and 429 is honoured.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import orjson

from operators.core.connection import ClusterConnection

RawObject = dict[str, Any]
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
REQUEST_SECONDS = 30.0
MAX_THROTTLED = 5
DEFAULT_RETRY_AFTER = 1.0


class ApiError(RuntimeError):
    """The API server refused a request; `reason` is Kubernetes' own word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class GoneError(ApiError):
    """The resourceVersion is too old: only a new list helps."""


@dataclass(frozen=True)
class ResourceType:
    """One type of object in the API."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        """Return the path of the collection, or of one object when it is named."""
        root = "/api" if "/" not in self.api_version else "/apis"
        parts = [root, self.api_version]
        if self.namespaced and namespace:
            parts += ["namespaces", namespace]
        parts.append(self.plural)
        if name:
            parts.append(name)
        return "/".join(parts)


@dataclass(frozen=True)
class Page:
    """One page of a list."""

    items: list[RawObject]
    resource_version: str
    continue_token: str


class KubernetesApi:
    """A pooled connection to one API server; use as an async context manager."""

    def __init__(self, connection: ClusterConnection) -> None:
        self._connection = connection
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        connector = aiohttp.TCPConnector(ssl=self._connection.ssl_context(), limit=64)
        self._session = aiohttp.ClientSession(self._connection.base_url, connector=connector)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is None:
            return
        connector = self._session.connector
        if connector is not None:
            # Watches are cut, not ended politely: nobody waits for what is still in flight.
            await connector.close(abort_ssl=True)
        await self._session.close()
        # An aborted TLS transport closes its socket in the loop's next turns.
        await asyncio.sleep(0.01)

    @property
    def session(self) -> aiohttp.ClientSession:
        if self._session is None:
            raise RuntimeError("KubernetesApi is used outside its context")
        return self._session

    def _headers(self, content_type: str | None = None) -> dict[str, str]:
        headers = {
            "Authorization": f"Bearer {self._connection.token()}",
            "Accept": "application/json",
        }
        if content_type:
            headers["Content-Type"] = content_type
        return headers

    async def request(
        self,
        method: str,
        path: str,
        query: dict[str, str] | None = None,
        body: RawObject | None = None,
        content_type: str = "application/json",
    ) -> RawObject:
        """Return the decoded answer; waits as told on 429, at most five times.

        Raises: ApiError; aiohttp.ClientError and TimeoutError when there is no answer.
        """
        data = None if body is None else orjson.dumps(body)
        timeout = aiohttp.ClientTimeout(total=REQUEST_SECONDS)
        for attempt in range(MAX_THROTTLED + 1):
            async with self.session.request(
                method,
                path,
                params=query,
                data=data,
                headers=self._headers(content_type if data is not None else None),
                timeout=timeout,
            ) as answer:
                content = await answer.read()
                if answer.status == 429 and attempt < MAX_THROTTLED:
                    after = float(answer.headers.get("Retry-After", DEFAULT_RETRY_AFTER))
                else:
                    return decode(answer.status, content)
            await asyncio.sleep(after)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def get(self, type_: ResourceType, namespace: str | None, name: str) -> RawObject:
        """Return one object. Raises: ApiError 404 when it does not exist."""
        return await self.request("GET", type_.path(namespace, name))

    async def list_page(self, path: str, query: dict[str, str]) -> Page:
        """Return one page of a collection. Raises: GoneError when the continuation expired."""
        answer = await self.request("GET", path, query)
        metadata = answer.get("metadata", {})
        return Page(
            answer.get("items") or [],
            metadata.get("resourceVersion", ""),
            metadata.get("continue", ""),
        )

    async def apply(
        self,
        type_: ResourceType,
        body: RawObject,
        manager: str,
        subresource: str = "",
    ) -> RawObject:
        """Server-side apply an object as `manager`, taking over conflicting fields."""
        metadata = body["metadata"]
        path = type_.path(metadata.get("namespace"), metadata["name"])
        if subresource:
            path = f"{path}/{subresource}"
        query = {"fieldManager": manager, "force": "true"}
        return await self.request("PATCH", path, query, body, APPLY)

    async def delete(self, type_: ResourceType, namespace: str | None, name: str) -> None:
        """Delete an object and, in the background, what it owns; absent is fine."""
        body = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
        }
        try:
            await self.request("DELETE", type_.path(namespace, name), body=body)
        except ApiError as error:
            if error.status != 404:
                raise

    async def watch(
        self, path: str, query: dict[str, str], inactivity: float
    ) -> AsyncGenerator[RawObject, None]:
        """Yield watch events until the server ends the watch.

        Raises: GoneError on 410; ApiError; TimeoutError after `inactivity` seconds of silence.
        """
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=10, sock_read=inactivity)
        url = f"{path}?{urlencode({**query, 'watch': '1', 'allowWatchBookmarks': 'true'})}"
        async with self.session.get(url, headers=self._headers(), timeout=timeout) as answer:
            if answer.status != 200:
                decode(answer.status, await answer.read())
            buffer = b""
            async for chunk in answer.content.iter_any():
                # Lines may be larger than the stream's buffer, so they are put together here.
                *lines, buffer = (buffer + chunk).split(b"\n")
                for line in lines:
                    if line:
                        yield _event(orjson.loads(line))


def decode(status: int, content: bytes) -> RawObject:
    """Return the JSON object of an answer. Raises: ApiError for 400 and above."""
    try:
        answer = orjson.loads(content) if content else {}
    except orjson.JSONDecodeError:
        answer = {"message": content[:200].decode(errors="replace")}
    if not isinstance(answer, dict):
        raise ApiError(status, "UnexpectedBody", "the answer is not a JSON object")
    if status >= 400:
        error = GoneError if status == 410 else ApiError
        raise error(status, str(answer.get("reason", "")), str(answer.get("message", "")))
    return answer


def _event(event: RawObject) -> RawObject:
    if event.get("type") == "ERROR":
        status = event.get("object", {})
        code = int(status.get("code", 500))
        error = GoneError if code == 410 else ApiError
        raise error(code, str(status.get("reason", "")), str(status.get("message", "")))
    return event
