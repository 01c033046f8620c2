"""Keep one cache equal to one collection of the API server: list, then watch, for ever.

Started per type by `operators.main`. A list replaces the cache (what is missing from it is
deleted, and listeners hear so); a watch goes on from the last bookmark; a 410 means list again; a
watch that is silent for longer than a bookmark's distance is taken for dead.
"""

from __future__ import annotations

import asyncio
import logging
import random
from contextlib import aclosing
from dataclasses import dataclass

import aiohttp

from operators.core.api import ApiError, GoneError, KubernetesApi, RawObject, ResourceType
from operators.core.cache import Cache
from operators.core.metrics import Metrics

log = logging.getLogger("operators.reflector")

PAGE_SIZE = 500
INACTIVITY_SECONDS = 70.0
"""Bookmarks come about every minute; a longer silence means a dead connection."""
WATCH_SECONDS = 290
BACKOFF_SECONDS = (0.2, 30.0)


@dataclass(frozen=True)
class Selection:
    """What of a collection is watched."""

    type: ResourceType
    namespace: str | None = None
    labels: str = ""
    fields: str = ""

    @property
    def path(self) -> str:
        return self.type.path(self.namespace)

    def query(self) -> dict[str, str]:
        """Return the selectors as query parameters."""
        query = {"labelSelector": self.labels, "fieldSelector": self.fields}
        return {name: value for name, value in query.items() if value}


class Reflector:
    """Feeds one cache."""

    def __init__(
        self,
        api: KubernetesApi,
        selection: Selection,
        cache: Cache,
        metrics: Metrics,
        inactivity: float = INACTIVITY_SECONDS,
        resource_version: str = "",
    ) -> None:
        """`resource_version`: where to go on watching a full cache; empty lists first."""
        self._api = api
        self._selection = selection
        self._cache = cache
        self._metrics = metrics
        self._inactivity = inactivity
        self._version = resource_version
        self.lists = 0
        """Complete lists taken so far."""

    async def run(self) -> None:
        """Run until cancelled; every failure of the API is retried with jittered backoff."""
        delay = BACKOFF_SECONDS[0]
        while True:
            try:
                if not self._version:
                    await self.list()
                await self._watch()
                delay = BACKOFF_SECONDS[0]
                continue
            except GoneError:
                log.info("%s: watch expired, listing again", self._selection.type.plural)
                self._version = ""
            except TimeoutError:
                log.warning("%s: watch was silent, reconnecting", self._selection.type.plural)
            except (ApiError, aiohttp.ClientError, OSError) as error:
                log.warning("%s: %s", self._selection.type.plural, error)
            self._metrics.count("watch_restarts_total", kind=self._selection.type.kind)
            await asyncio.sleep(random.uniform(delay / 2, delay))  # noqa: S311 - jitter
            delay = min(delay * 2, BACKOFF_SECONDS[1])

    async def list(self) -> None:
        """Read the whole collection in pages and replace the cache by it."""
        items: list[RawObject] = []
        token = ""
        while True:
            query = {**self._selection.query(), "limit": str(PAGE_SIZE)}
            if token:
                query["continue"] = token
            page = await self._api.list_page(self._selection.path, query)
            # Items of a list come without their type, unlike those of a watch.
            type_ = {
                "apiVersion": self._selection.type.api_version,
                "kind": self._selection.type.kind,
            }
            items.extend({**type_, **item} for item in page.items)
            token = page.continue_token
            if not token:
                break
        self._cache.replace(items, page.resource_version)
        self._version = page.resource_version
        self.lists += 1
        self._metrics.gauge("cache_objects", len(self._cache), kind=self._selection.type.kind)

    async def _watch(self) -> None:
        query = {
            **self._selection.query(),
            "resourceVersion": self._version,
            "timeoutSeconds": str(WATCH_SECONDS),
        }
        # Closed explicitly: a cancelled `async for` would leave the connection to the collector.
        watch = self._api.watch(self._selection.path, query, self._inactivity)
        async with aclosing(watch) as events:
            async for event in events:
                self._take(event)

    def _take(self, event: RawObject) -> None:
        obj = event["object"]
        self._cache.observe(event["type"], obj)
        self._version = obj["metadata"]["resourceVersion"]
        self._metrics.gauge("cache_objects", len(self._cache), kind=self._selection.type.kind)
