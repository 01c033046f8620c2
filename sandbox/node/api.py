"""The node agent's client of the API server: raw JSON over aiohttp, and list/watch caches.

Called by every part of the agent. Separate so that reconnecting, re-listing and the handling of
expired resource versions stand in one place.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

Object = dict[str, Any]
Key = tuple[str, str]
OnChange = Callable[[Object | None, Object | None], None]
"""Called with the old and the new object; None for absent."""

RETRY_SECONDS = 0.3
WATCH_SECONDS = 280
GONE = 410


class ApiError(RuntimeError):
    """The API server refused; `status` is its code."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Api:
    """One session to one API server."""

    def __init__(self, pki: Path, server: str) -> None:
        context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
        context.load_cert_chain(pki / "node-agent.crt", pki / "node-agent.key")
        self._session = aiohttp.ClientSession(
            server,
            connector=aiohttp.TCPConnector(ssl=context, limit=0),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )

    async def close(self) -> None:
        await self._session.close()

    async def request(
        self, method: str, path: str, body: Any = None, *, params: dict[str, str] | None = None
    ) -> Object:
        """Send one request and return the object of the answer.

        Raises: ApiError for any status of 400 or more and when the server cannot be reached (599).
        """
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        data = None if body is None else json.dumps(body).encode()
        try:
            async with self._session.request(
                method,
                path,
                data=data,
                params=params,
                headers={"Content-Type": kind},
                timeout=aiohttp.ClientTimeout(total=15),
            ) as response:
                answer: Object = await response.json(content_type=None)
                if response.status >= 400:
                    message = (answer or {}).get("message") or response.reason or ""
                    raise ApiError(response.status, f"{method} {path}: {message}")
                return answer
        except (aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
            raise ApiError(599, f"{method} {path}: {error!r}") from error

    async def events(self, path: str, version: str) -> Any:
        """Open a watch; yields decoded events until the server ends it."""
        params = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_read=WATCH_SECONDS + 20)
        async with self._session.get(path, params=params, timeout=timeout) as response:
            if response.status >= 400:
                raise ApiError(response.status, f"watch {path}: {response.reason}")
            buffer = b""
            async for chunk in response.content.iter_any():
                buffer += chunk
                *lines, buffer = buffer.split(b"\n")
                for line in lines:
                    yield json.loads(line)


class Cache:
    """All objects of one kind, kept current; tells what changed."""

    def __init__(self, api: Api, path: str, on_change: OnChange) -> None:
        self._api = api
        self._path = path
        self._on_change = on_change
        self.objects: dict[Key, Object] = {}
        self.synced = asyncio.Event()

    def list(self) -> list[Object]:
        return list(self.objects.values())

    async def run(self) -> None:
        """List and watch for ever."""
        while True:
            try:
                version = await self._list()
                self.synced.set()
                await self._watch(version)
            except (ApiError, aiohttp.ClientError, TimeoutError, json.JSONDecodeError) as error:
                print(f"watch {self._path}: {error}; listing again", flush=True)
                await asyncio.sleep(RETRY_SECONDS)

    async def _list(self) -> str:
        answer = await self._api.request("GET", self._path)
        found = {_key(item): item for item in answer["items"]}
        # A re-list replaces: what is gone was deleted while nobody watched.
        for key in list(self.objects):
            if key not in found:
                self._set(key, None)
        for key, item in found.items():
            if (self.objects.get(key) or {}).get("metadata", {}).get("resourceVersion") != item[
                "metadata"
            ]["resourceVersion"]:
                self._set(key, item)
        return str(answer["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> None:
        while True:
            async with contextlib.aclosing(self._api.events(self._path, version)) as events:
                async for event in events:
                    item = event["object"]
                    if event["type"] == "ERROR":
                        raise ApiError(int(item.get("code") or GONE), str(item.get("message")))
                    version = item["metadata"]["resourceVersion"]
                    if event["type"] == "BOOKMARK":
                        continue
                    self._set(_key(item), None if event["type"] == "DELETED" else item)

    def _set(self, key: Key, item: Object | None) -> None:
        old = self.objects.get(key)
        if item is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = item
        self._on_change(old, item)


def _key(item: Object) -> Key:
    meta = item["metadata"]
    return meta.get("namespace", ""), meta["name"]
