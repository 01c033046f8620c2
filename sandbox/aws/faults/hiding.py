"""Reads that lag behind writes: what was just created is not shown for a while.

Used by the injector after a read. Apart because the answer of a service must be taken apart for it:
an object named in the question gives the service's own not-found error, a list goes without it.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any
from xml.etree import ElementTree as ET

from sandbox.aws.faults.catalogue import absent
from sandbox.aws.messages import Call, Response


class Hidden:
    """What reads do not show yet, and until when."""

    def __init__(self) -> None:
        """Hide nothing."""
        self._until: dict[tuple[str, str, str], float] = {}
        self._lock = threading.Lock()

    def add(self, account: str, service: str, identifiers: list[str], seconds: float) -> None:
        """Hide objects for some seconds."""
        end = time.monotonic() + seconds
        with self._lock:
            for identifier in identifiers:
                self._until[account, service, identifier] = end

    def show(self, call: Call, response: Response) -> Response:
        """Give the answer of a read as it looks now. Raises: AwsError of an object not seen."""
        hidden = self._now(call)
        if not hidden or response.status >= 400:
            return response
        named = hidden & set(_texts(call.params))
        if named:
            raise absent(call.service, sorted(named)[0])
        if call.service == "ec2":
            response.body = _without_items(response.body, hidden)
        elif call.service in ("eks", "kms"):
            response.body = json.dumps(_without(json.loads(response.body), hidden)).encode()
        return response

    def _now(self, call: Call) -> set[str]:
        now = time.monotonic()
        with self._lock:
            self._until = {key: end for key, end in self._until.items() if end > now}
            return {
                identifier
                for account, service, identifier in self._until
                if (account, service) == (call.account, call.service)
            }


def _texts(value: Any) -> list[str]:
    """List every text within nested values; the last part of an ARN counts as a text too."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    text = str(value)
    return [text, text.rpartition("/")[2]] if text.startswith("arn:") else [text]


def _without_items(body: bytes, hidden: set[str]) -> bytes:
    """Drop the items of an EC2 list that are, by their own id, hidden."""
    root = ET.fromstring(body)  # noqa: S314 (our own)
    for child in root:
        name = child.tag.rpartition("}")[2]
        # vpcSet holds items that are known by their vpcId; others only name it.
        known_by = "allocationId" if name == "addressesSet" else f"{name.removesuffix('Set')}Id"
        for item in list(child):
            own = {part.text for part in item if part.tag.rpartition("}")[2] == known_by}
            if hidden & own:
                child.remove(item)
    return ET.tostring(root)


def _without(value: Any, hidden: set[str]) -> Any:
    """Drop hidden names, and objects that carry one, from every list."""
    if isinstance(value, dict):
        return {key: _without(one, hidden) for key, one in value.items()}
    if isinstance(value, list):
        return [
            _without(one, hidden)
            for one in value
            if not (hidden & set(map(str, one.values() if isinstance(one, dict) else [one])))
        ]
    return value
