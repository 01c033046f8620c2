"""Counters that all processes of the API share, in Redis; in this process alone while it is away.

Used by `domains.identity.sign_in_limits`. Separate because Redis is another process that may not
answer: nobody waits for it longer than a quarter of a second, and a bound per process is kept
instead, which lets through at most as many times more as there are processes.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from controlplane.core.logging import get

log = get(__name__)
ANSWER_SECONDS = 0.25
AWAY_SECONDS = 5.0
"""How long Redis is left alone after it did not answer."""
MOST_KEYS = 20_000
"""Keys that this process counts at most; beyond them the oldest are forgotten."""
_ADD = """
local count = redis.call('INCR', KEYS[1])
if count == 1 then redis.call('PEXPIRE', KEYS[1], ARGV[1]) end
return {count, redis.call('PTTL', KEYS[1])}
"""


@dataclass(frozen=True)
class Counted:
    """How often a key was counted in its window, and the seconds until the window ends."""

    count: int
    seconds_left: float


class Counters(Protocol):
    """Counts keys in windows, and remembers keys for a while."""

    def add(self, key: str, window_seconds: float) -> Counted:
        """Count a key once more; its window begins with its first count."""

    def remember(self, key: str, seconds: float) -> None:
        """Keep a key for so long from now on."""

    def knows(self, key: str) -> bool:
        """Tell whether a key is kept."""


class LocalCounters:
    """Counters of this process."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._kept: OrderedDict[str, float] = OrderedDict()

    def add(self, key: str, window_seconds: float) -> Counted:
        """Count a key once more."""
        with self._lock:
            at = self._clock()
            count, ends_at = self._counts.get(key, (0, 0.0))
            if at >= ends_at:
                self._counts.pop(key, None)
                count, ends_at = 0, at + window_seconds
            self._counts[key] = (count + 1, ends_at)
            if len(self._counts) > MOST_KEYS:
                self._counts.popitem(last=False)
            return Counted(count + 1, ends_at - at)

    def remember(self, key: str, seconds: float) -> None:
        """Keep a key for so long from now on."""
        with self._lock:
            self._kept.pop(key, None)
            self._kept[key] = self._clock() + seconds
            if len(self._kept) > MOST_KEYS:
                self._kept.popitem(last=False)

    def knows(self, key: str) -> bool:
        """Tell whether a key is kept."""
        with self._lock:
            return self._kept.get(key, 0.0) > self._clock()


class SharedCounters:
    """Counters in Redis; what Redis cannot be asked is answered from this process's own."""

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic) -> None:
        # The library's type stubs say less than the library: this is its untyped constructor.
        connect: Any = redis.Redis.from_url
        self._redis: Any = connect(
            url,
            socket_timeout=ANSWER_SECONDS,
            socket_connect_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )
        self._script: Any = self._redis.register_script(_ADD)
        self._own = LocalCounters(clock)
        self._clock = clock
        self._away_until = 0.0

    def add(self, key: str, window_seconds: float) -> Counted:
        """Count a key once more."""
        own = self._own.add(key, window_seconds)
        found = self._ask(lambda: self._script(keys=[key], args=[int(window_seconds * 1000)]))
        return own if found is None else Counted(int(found[0]), max(int(found[1]), 0) / 1000)

    def remember(self, key: str, seconds: float) -> None:
        """Keep a key for so long from now on."""
        self._own.remember(key, seconds)
        self._ask(lambda: self._redis.set(key, "1", px=int(seconds * 1000)))

    def knows(self, key: str) -> bool:
        """Tell whether a key is kept."""
        return self._own.knows(key) or bool(self._ask(lambda: self._redis.exists(key)))

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return Redis's answer, or None while it is away."""
        if self._clock() < self._away_until:
            return None
        try:
            return question()
        except redis.RedisError as error:
            self._away_until = self._clock() + AWAY_SECONDS
            log.warning("counters.redis-away", error=type(error).__name__)
            return None
