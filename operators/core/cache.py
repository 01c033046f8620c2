"""A cache of raw objects with secondary indexes, fed by one reflector.

Read by reconcilers, which never ask the API server. Objects are kept as raw dicts without
`managedFields`; only the one that is reconciled is parsed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from operators.core.api import RawObject


class Key(NamedTuple):
    """Namespace (empty for a cluster-scoped object) and name."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


IndexFunction = Callable[[RawObject], Iterable[str]]
Listener = Callable[[RawObject | None, RawObject | None], None]
"""Called with the old and the new object; None for absent."""


def key_of(obj: RawObject) -> Key:
    """Return the key of an object."""
    metadata = obj["metadata"]
    return Key(metadata.get("namespace", ""), metadata["name"])


def version_of(obj: RawObject) -> int:
    """Return the resourceVersion as a number; the API promises that it is comparable."""
    return int(obj["metadata"].get("resourceVersion", 0))


class Cache:
    """The objects of one type as last seen."""

    def __init__(self, indexes: Mapping[str, IndexFunction] | None = None) -> None:
        self._objects: dict[Key, RawObject] = {}
        self._functions = dict(indexes or {})
        self._indexes: dict[str, dict[str, set[Key]]] = {name: {} for name in self._functions}
        self._listeners: list[Listener] = []
        self._seen = 0
        self.synced = asyncio.Event()
        """Set after the first complete list."""

    def __len__(self) -> int:
        return len(self._objects)

    def __iter__(self) -> Iterator[RawObject]:
        return iter(list(self._objects.values()))

    def listen(self, listener: Listener) -> None:
        """Call `listener` on every change from now on."""
        self._listeners.append(listener)

    def find(self, key: Key) -> RawObject | None:
        """Return the object, or None; callers must not change it."""
        return self._objects.get(key)

    def by_index(self, index: str, value: str) -> list[RawObject]:
        """Return the objects whose index function yields `value`, ordered by key."""
        return [self._objects[key] for key in sorted(self._indexes[index].get(value, ()))]

    def replace(self, objects: Iterable[RawObject], resource_version: str) -> None:
        """Take a complete list: what it lacks is gone. Listeners hear every difference."""
        listed = {key_of(obj): obj for obj in objects}
        self._seen = max(self._seen, int(resource_version or 0))
        for key in [key for key in self._objects if key not in listed]:
            self._set(key, None)
        for key, obj in listed.items():
            self._store_if_newer(key, obj)
        self.synced.set()

    def observe(self, kind: str, obj: RawObject) -> None:
        """Take one watch event: ADDED, MODIFIED, DELETED or BOOKMARK."""
        self._seen = max(self._seen, version_of(obj))
        if kind == "BOOKMARK":
            return
        key = key_of(obj)
        if kind == "DELETED":
            self._set(key, None)
        else:
            self._store_if_newer(key, obj)

    def learn(self, obj: RawObject) -> None:
        """Take the answer to a write of our own, so that the next reconcile knows of it.

        Ignored when the watch is already past it: then it has told us, or the object is gone.
        """
        key, version = key_of(obj), version_of(obj)
        if version > self._seen or key in self._objects:
            self._store_if_newer(key, obj)

    def _store_if_newer(self, key: Key, obj: RawObject) -> None:
        current = self._objects.get(key)
        if (
            current is not None
            and _same_object(current, obj)
            and version_of(obj) <= version_of(current)
        ):
            return
        obj["metadata"].pop("managedFields", None)
        self._set(key, obj)

    def _set(self, key: Key, new: RawObject | None) -> None:
        old = self._objects.pop(key, None)
        if old is not None:
            self._unindex(key, old)
        if new is not None:
            self._objects[key] = new
            for name, function in self._functions.items():
                for value in function(new):
                    self._indexes[name].setdefault(value, set()).add(key)
        if old is not None or new is not None:
            for listener in self._listeners:
                listener(old, new)

    def _unindex(self, key: Key, obj: RawObject) -> None:
        for name, function in self._functions.items():
            for value in function(obj):
                keys = self._indexes[name].get(value, set())
                keys.discard(key)
                if not keys:
                    self._indexes[name].pop(value, None)


def _same_object(one: RawObject, other: RawObject) -> bool:
    return bool(one["metadata"].get("uid") == other["metadata"].get("uid"))
