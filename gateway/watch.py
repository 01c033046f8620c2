"""Keep the routing table in step with the boundary's resources: list, watch, compile, swap.

Run by `main` as one loop per kind. Separate from the compiler, which is pure. A re-list replaces
what was known, so that a deletion that was missed is still a deletion. While the API server is
away the last table stays in force; keys go on expiring by their own date.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from gateway.cluster import Cluster
from gateway.routing import Resources, RoutingTable, compile_table
from wire.resources.adapter_binding import ADAPTER_BINDING
from wire.resources.base import ResourceKind
from wire.resources.gateway_access import GATEWAY_ACCESS
from wire.resources.model_instance import MODEL_INSTANCE

KINDS = (GATEWAY_ACCESS, MODEL_INSTANCE, ADAPTER_BINDING)
PAGE = 500
INACTIVITY_SECONDS = 70
"""A watch that says nothing for this long is dead: bookmarks come every minute."""
_MAX_LINE = 8 * 2**20
_TROUBLE = (aiohttp.ClientError, TimeoutError, OSError, json.JSONDecodeError, ValueError)


class _GoneError(Exception):
    """The API server cannot continue a watch from our version: list again."""


class Routes:
    """The current routing table, and the resources it was compiled from."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self.table = RoutingTable()
        self._objects: dict[str, dict[str, Mapping[str, Any]]] = {}
        self._log = log

    @property
    def synced(self) -> bool:
        """Whether every kind has been listed once: before that nothing may be served."""
        return len(self._objects) == len(KINDS)

    def replace(self, kind: ResourceKind, objects: dict[str, Mapping[str, Any]]) -> None:
        """Take a complete list of one kind."""
        self._objects[kind.kind] = objects
        self._compile()

    def change(self, kind: ResourceKind, name: str, value: Mapping[str, Any] | None) -> None:
        """Take one object that was added, changed or (None) deleted."""
        if value is None:
            self._objects[kind.kind].pop(name, None)
        else:
            self._objects[kind.kind][name] = value
        self._compile()

    def _compile(self) -> None:
        if not self.synced:
            return
        accesses, instances, bindings = (tuple(self._objects[k.kind].values()) for k in KINDS)
        table = compile_table(Resources(accesses, instances, bindings))
        if table == self.table:
            return
        for reason in sorted(set(table.refused) - set(self.table.refused)):
            self._log(f"left out: {reason}")
        self.table = table
        self._log(f"routing table in force: {len(table.callers)} keys")


class Reflector:
    """List and watch one kind in one namespace, for ever."""

    def __init__(
        self, cluster: Cluster, namespace: str, kind: ResourceKind, routes: Routes
    ) -> None:
        self._cluster, self._kind, self._routes = cluster, kind, routes
        self._path = kind.path(namespace)

    async def run(self, log: Callable[[str], None]) -> None:
        """List, then watch; on trouble wait (with jitter, at most 30 s) and list again."""
        failures = 0
        while True:
            try:
                version = await self._list()
                failures = 0
                while True:
                    version = await self._watch(version)
            except _GoneError:
                continue
            except _TROUBLE as error:
                failures += 1
                reason = str(error) or type(error).__name__
                log(f"{self._kind.plural}: {reason}; trying again")
            await asyncio.sleep(min(30.0, 0.25 * 2 ** min(failures, 7)) * random.uniform(0.5, 1.0))  # noqa: S311 - jitter, not a secret

    async def _list(self) -> str:
        """Read the complete list, page by page; return its version."""
        objects: dict[str, Mapping[str, Any]] = {}
        params = {"limit": str(PAGE)}
        while True:
            async with self._cluster.get(self._path, params) as answer:
                if answer.status == 410:
                    raise _GoneError
                if answer.status != 200:
                    raise ValueError(f"list was answered {answer.status}; check the Role")
                body = await answer.json()
            for item in body["items"]:
                objects[item["metadata"]["name"]] = item
            metadata = body["metadata"]
            if not metadata.get("continue"):
                self._routes.replace(self._kind, objects)
                return str(metadata["resourceVersion"])
            params = {"limit": str(PAGE), "continue": metadata["continue"]}

    async def _watch(self, version: str) -> str:
        """Follow changes until the server ends the watch; return the last version seen."""
        params = {
            "watch": "1",
            "resourceVersion": version,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": "290",
        }
        patience = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=INACTIVITY_SECONDS)
        async with self._cluster.get(self._path, params, patience) as answer:
            if answer.status == 410:
                raise _GoneError
            if answer.status != 200:
                raise ValueError(f"watch was answered {answer.status}; check the Role")
            pending = b""
            async for chunk in answer.content.iter_any():
                *lines, pending = (pending + chunk).split(b"\n")
                if len(pending) > _MAX_LINE:
                    raise ValueError("a watch event is larger than 8 MiB")
                for line in filter(None, lines):
                    version = self._take(json.loads(line)) or version
        return version

    def _take(self, event: Mapping[str, Any]) -> str | None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            if item.get("code") == 410:
                raise _GoneError
            raise ValueError(f"watch error {item.get('code')} {item.get('reason')}")
        metadata = item["metadata"]
        if kind in {"ADDED", "MODIFIED"}:
            self._routes.change(self._kind, metadata["name"], item)
        elif kind == "DELETED":
            self._routes.change(self._kind, metadata["name"], None)
        return str(metadata["resourceVersion"])
