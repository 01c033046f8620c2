"""Write only differences: server-side apply with a field manager, and nothing when equal.

Used by every controller. A child carries the SHA-256 of what we last wanted of it, so a field we
no longer want is noticed; and what we want is compared with what is there, so a foreign change is
noticed as well.
"""

from __future__ import annotations

import hashlib
import re
from decimal import Decimal
from typing import Any

import orjson

from operators.core.api import KubernetesApi, RawObject, ResourceType
from operators.core.cache import Cache, Key, key_of
from operators.core.metrics import Metrics
from wire.resources import Status

DESIRED_HASH = "ringfence.dev/desired-hash"
_QUANTITY = re.compile(r"^([0-9]+(?:\.[0-9]+)?)(m|k|Ki|M|Mi|G|Gi|T|Ti)?$")
_FACTORS = {
    None: Decimal(1),
    "m": Decimal("0.001"),
    "k": Decimal(1000),
    "M": Decimal(1000) ** 2,
    "G": Decimal(1000) ** 3,
    "T": Decimal(1000) ** 4,
    "Ki": Decimal(1024),
    "Mi": Decimal(1024) ** 2,
    "Gi": Decimal(1024) ** 3,
    "Ti": Decimal(1024) ** 4,
}
_MERGE_KEYS = ("name", "containerPort", "mountPath", "port", "type", "uid")


def fingerprint(desired: RawObject) -> str:
    """Return the SHA-256 of an object as canonical JSON."""
    return hashlib.sha256(orjson.dumps(desired, option=orjson.OPT_SORT_KEYS)).hexdigest()


def stamped(desired: RawObject) -> RawObject:
    """Return the object with its own fingerprint as an annotation."""
    metadata = desired["metadata"]
    annotations = {**metadata.get("annotations", {}), DESIRED_HASH: fingerprint(desired)}
    return {**desired, "metadata": {**metadata, "annotations": annotations}}


def contains(live: Any, desired: Any) -> bool:
    """Return whether everything in `desired` is in `live`; equal quantities may differ in form."""
    if live is None and desired in ({}, []):
        return True  # the API server leaves empty fields out
    if isinstance(desired, dict):
        return isinstance(live, dict) and all(
            contains(live.get(name), value) for name, value in desired.items()
        )
    if isinstance(desired, list):
        return isinstance(live, list) and _contains_list(live, desired)
    return bool(live == desired) or _same_quantity(live, desired)


def _contains_list(live: list[Any], desired: list[Any]) -> bool:
    if len(live) < len(desired):
        return False
    merge_key = next(
        (
            k
            for k in _MERGE_KEYS
            if desired and all(isinstance(d, dict) and k in d for d in desired)
        ),
        None,
    )
    if merge_key is None:
        return len(live) == len(desired) and all(map(contains, live, desired))
    found = {item.get(merge_key): item for item in live if isinstance(item, dict)}
    return all(contains(found.get(item[merge_key]), item) for item in desired)


def _same_quantity(live: Any, desired: Any) -> bool:
    if not (isinstance(live, str) and isinstance(desired, str)):
        return False
    one, other = _QUANTITY.match(live), _QUANTITY.match(desired)
    if one is None or other is None:
        return False
    return Decimal(one[1]) * _FACTORS[one[2]] == Decimal(other[1]) * _FACTORS[other[2]]


class Writer:
    """Applies objects and statuses, and feeds the answers back into the caches."""

    def __init__(self, api: KubernetesApi, metrics: Metrics) -> None:
        self._api = api
        self._metrics = metrics

    async def apply(
        self, type_: ResourceType, desired: RawObject, cache: Cache, manager: str
    ) -> RawObject:
        """Make `desired` so, unless the cached object already is; return the object."""
        wanted = stamped(desired)
        live = cache.find(key_of(wanted))
        if live is not None and contains(live, wanted):
            self._metrics.count("writes_total", kind=type_.kind, verb="apply", noop="true")
            return live
        answer = await self._api.apply(type_, wanted, manager)
        self._metrics.count("writes_total", kind=type_.kind, verb="apply", noop="false")
        cache.learn(answer)
        return answer

    async def delete(self, type_: ResourceType, key: Key) -> None:
        """Delete an object; absent is fine."""
        await self._api.delete(type_, key.namespace or None, key.name)
        self._metrics.count("writes_total", kind=type_.kind, verb="delete", noop="false")

    async def status(
        self,
        type_: ResourceType,
        obj: RawObject,
        before: Status | None,
        after: Status,
        cache: Cache,
        manager: str = "ringfence/status",
    ) -> None:
        """Store `after` in the status subresource when it differs from `before`."""
        if before == after:
            self._metrics.count("writes_total", kind=type_.kind, verb="status", noop="true")
            return
        metadata = {"name": obj["metadata"]["name"]}
        if type_.namespaced:
            metadata["namespace"] = obj["metadata"]["namespace"]
        body = {
            "apiVersion": type_.api_version,
            "kind": type_.kind,
            # The uid turns a write to a re-created namesake into a conflict.
            "metadata": {**metadata, "uid": obj["metadata"]["uid"]},
            "status": after.to_kubernetes(),
        }
        answer = await self._api.apply(type_, body, manager, "status")
        self._metrics.count("writes_total", kind=type_.kind, verb="status", noop="false")
        cache.learn(answer)
