"""The queue of keys to reconcile: de-duplicated, with priority and per-key backoff.

Used by `controller`. A key that is being worked on is never handed out a second time; if it is
added meanwhile, it is handed out again afterwards.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from enum import IntEnum

from operators.core.cache import Key
from operators.core.metrics import Metrics

FIRST_DELAY = 0.1
MAX_DELAY = 60.0


class Priority(IntEnum):
    """Who goes first: a change made by someone before a periodic look."""

    CHANGE = 0
    RESYNC = 1


class WorkQueue:
    """Keys that wait, keys in work, keys to be tried later."""

    def __init__(self, name: str, metrics: Metrics) -> None:
        self._name = name
        self._metrics = metrics
        self._ready: tuple[deque[Key], deque[Key]] = (deque(), deque())
        self._waiting: dict[Key, tuple[Priority, float]] = {}
        self._working: set[Key] = set()
        self._again: dict[Key, Priority] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Condition()
        self._notifiers: set[asyncio.Task[None]] = set()

    def add(self, key: Key, priority: Priority = Priority.CHANGE) -> None:
        """Ask for a reconcile of `key`; a second request before it starts changes nothing."""
        if key in self._working:
            self._again[key] = min(priority, self._again.get(key, priority))
            return
        known = self._waiting.get(key)
        if known is not None and known[0] <= priority:
            return
        # A key that moves up leaves its old place behind; `get` skips it.
        self._waiting[key] = (priority, known[1] if known else time.monotonic())
        self._ready[priority].append(key)
        self._changed()

    def add_after(self, key: Key, delay: float, priority: Priority = Priority.RESYNC) -> None:
        """Ask for a reconcile in `delay` seconds; an earlier request for the same key stays."""
        loop = asyncio.get_running_loop()
        due = loop.time() + delay
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= due and not timer.cancelled():
                return
            timer.cancel()
        self._timers[key] = loop.call_at(due, self._fire, key, priority)

    def retry(self, key: Key) -> float:
        """Ask for another try after a failure; return the delay in seconds."""
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        delay = min(FIRST_DELAY * 2.0 ** min(failures, 20), MAX_DELAY)
        self.add_after(key, delay)
        return float(delay)

    def forget(self, key: Key) -> None:
        """Clear the failures of a key that went well."""
        self._failures.pop(key, None)

    async def get(self) -> Key:
        """Return the next key and mark it as being worked on."""
        async with self._wake:
            while (key := self._take()) is None:
                await self._wake.wait()
        return key

    def done(self, key: Key) -> None:
        """Say that the work on a key has ended, so that it may be handed out again."""
        self._working.discard(key)
        again = self._again.pop(key, None)
        if again is not None:
            self.add(key, again)

    @property
    def idle(self) -> bool:
        """True when nothing waits and nothing is in work; timers do not count."""
        return not self._waiting and not self._working

    def _take(self) -> Key | None:
        for priority, ready in zip(Priority, self._ready, strict=True):
            while ready:
                key = ready.popleft()
                waiting = self._waiting.get(key)
                if waiting is None or waiting[0] != priority:
                    continue
                del self._waiting[key]
                self._working.add(key)
                waited = time.monotonic() - waiting[1]
                self._metrics.count("workqueue_latency_seconds_sum", waited, queue=self._name)
                self._metrics.gauge("workqueue_depth", len(self._waiting), queue=self._name)
                return key
        return None

    def _fire(self, key: Key, priority: Priority) -> None:
        self._timers.pop(key, None)
        self.add(key, priority)

    def _changed(self) -> None:
        self._metrics.gauge("workqueue_depth", len(self._waiting), queue=self._name)
        task = asyncio.get_running_loop().create_task(self._notify())
        self._notifiers.add(task)
        task.add_done_callback(self._notifiers.discard)

    async def _notify(self) -> None:
        async with self._wake:
            self._wake.notify()
