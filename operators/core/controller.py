"""Run one reconciler: hand it keys, one at a time each, and try again what failed.

Used by `operators.main` once per kind. An event only nudges; `reconcile` looks at the whole
object, so a lost or doubled event changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Protocol

import aiohttp

from operators.core.api import ApiError
from operators.core.cache import Cache, Key, key_of
from operators.core.metrics import Metrics
from operators.core.workqueue import Priority, WorkQueue

log = logging.getLogger("operators.controller")

WORKERS = 8
RESYNC_SECONDS = 300.0


class Reconciler(Protocol):
    """What a controller has to bring."""

    async def reconcile(self, key: Key) -> float | None:
        """Bring the world to the state the object wants.

        Reads caches only and writes only differences. Returns seconds until the next look, or
        None when an event will say when. Raises what the API raises: the key is tried again.
        """
        ...


class Controller:
    """A queue and its workers."""

    def __init__(self, name: str, primary: Cache, metrics: Metrics, workers: int = WORKERS) -> None:
        self.name = name
        self.queue = WorkQueue(name, metrics)
        self._primary = primary
        self._metrics = metrics
        self._workers = workers
        primary.listen(
            lambda old, new: self.queue.add(key_of(new or old))  # type: ignore[arg-type]  # one is set
        )

    async def run(self, reconciler: Reconciler) -> None:
        """Work until cancelled."""
        for obj in self._primary:
            self.queue.add(key_of(obj))
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._resync())
            for _ in range(self._workers):
                tasks.create_task(self._work(reconciler))

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(RESYNC_SECONDS)
            for obj in self._primary:
                self.queue.add(key_of(obj), Priority.RESYNC)

    async def _work(self, reconciler: Reconciler) -> None:
        while True:
            key = await self.queue.get()
            started = time.monotonic()
            result = "ok"
            try:
                again = await reconciler.reconcile(key)
                self.queue.forget(key)
                if again is not None:
                    self.queue.add_after(key, again)
            except (ApiError, aiohttp.ClientError, OSError) as error:
                result = "error"
                delay = self.queue.retry(key)
                log.warning("%s %s: %s; again in %.1f s", self.name, key, error, delay)
            except Exception:  # edge: a task's; one object must not stop the others
                result = "bug"
                delay = self.queue.retry(key)
                log.exception("%s %s: again in %.1f s", self.name, key, delay)
            finally:
                self.queue.done(key)
                took = time.monotonic() - started
                self._metrics.count("reconcile_seconds_sum", took, controller=self.name)
            self._metrics.count("reconcile_total", controller=self.name, result=result)
