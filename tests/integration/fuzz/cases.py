"""Requests that nobody sane sends: from the API's description, against it, and bent valid ones.

Used by `test_every_route.py`. schemathesis makes requests that fit the description and requests
that break it; a third kind takes the smallest valid body and puts one hostile value somewhere.
"""

from __future__ import annotations

import copy
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import schemathesis
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.core import NotSet

from tests.integration.api.people import organization
from tests.integration.authorization.requests import DESCRIPTION, body, concrete
from tests.integration.authorization.world import World

ROLES = ("platform-admin", "solution-architect", "approver", "boundary-admin", "auditor")
HOSTILE: tuple[Any, ...] = (
    "\x00",
    "a\x00b",
    "\ud800",
    "\u202e\u0007",
    "x" * 70_000,
    "'; DROP TABLE run; --",
    "../../etc/passwd",
    "line\r\nSet-Cookie: a=b",
    "0000-99-99T99:99:99Z",
    "9999-12-31T23:59:59+23:59",
    "٣",
    2**31,
    2**63,
    -(2**63) - 1,
    10**400,
    1e308,
    -1,
    0.1,
    None,
    True,
    [],
    {},
    [[[[[[[[]]]]]]]],
    {"$ref": "#"},
)


@dataclass(frozen=True)
class Raw:
    """One request as it goes out; `role` None is a caller without a token."""

    method: str
    path: str
    role: str | None
    query: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None


def operations() -> Iterator[Any]:
    """Return every operation of the API's description, for schemathesis."""
    # Bytes are bytes: what a file of the customer's trail holds is not described further.
    schemathesis.serializer.alias("application/gzip", "application/octet-stream")
    schema: Any = schemathesis.openapi.from_dict(DESCRIPTION)
    for found in schema.get_all_operations():
        yield found.ok()


def requests_to(operation: Any, world: World) -> st.SearchStrategy[Raw]:
    """Return random requests to one operation, by any caller."""
    described = [
        operation.as_strategy(generation_mode=mode).flatmap(lambda case: _described(case, world))
        for mode in (GenerationMode.POSITIVE, *_breakable(operation))
    ]
    return st.one_of(*described, _bent(operation.method, operation.path, world))


def _breakable(operation: Any) -> tuple[GenerationMode, ...]:
    """Return the breaking mode where there is something to break: any text is a valid name."""
    text = json.dumps(DESCRIPTION["paths"][operation.path][operation.method])
    has_rules = "requestBody" in text or '"uuid"' in text or '"integer"' in text
    return (GenerationMode.NEGATIVE,) if has_rules else ()


@st.composite
def _described(draw: st.DrawFn, case: Any, world: World) -> Raw:
    real = draw(st.booleans())
    path = case.operation.path
    given_parameters = case.path_parameters or {}
    for name, value in given_parameters.items():
        if not real:
            path = path.replace("{" + name + "}", _segment(value))
    content = None
    if isinstance(case.body, bytes):
        content = case.body
    elif not isinstance(case.body, NotSet):
        content = json.dumps(case.body, default=str).encode()
    return Raw(
        case.method.upper(),
        concrete(path, world.own, case.method),
        draw(st.sampled_from([*ROLES, *ROLES, None])),
        dict(case.query or {}),
        {k: str(v) for k, v in (case.headers or {}).items() if str(v).isprintable()},
        content,
    )


@st.composite
def _bent(draw: st.DrawFn, method: str, path: str, world: World) -> Raw:
    sent = body(method, path, world.own)
    if "/organizations" in path and method in ("put", "post") and sent == {}:
        sent = organization()
    if draw(st.booleans()):
        url = concrete(path, world.own)
    else:
        hostile = _segment(draw(st.sampled_from([h for h in HOSTILE if h != "x" * 70_000])))
        url = concrete("/".join(_bend(part, hostile) for part in path.split("/")), world.own)
    names = [p["name"] for p in _parameters(method, path) if p["in"] == "query"]
    query = {name: _plain(draw(st.sampled_from(HOSTILE))) for name in names if draw(st.booleans())}
    content = None if sent is None else _encoded(bent(draw, copy.deepcopy(sent)))
    return Raw(method.upper(), url, draw(st.sampled_from(ROLES)), query, {}, content)


def _bend(part: str, hostile: str) -> str:
    return hostile if part.startswith("{") else part


def _parameters(method: str, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = DESCRIPTION["paths"][path][method].get("parameters", [])
    return found


def bent(draw: st.DrawFn, value: Any) -> Any:
    """Return the value with one part of it replaced, at a random depth."""
    if isinstance(value, dict) and value and draw(st.integers(0, 4)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: bent(draw, value[key])}
    if isinstance(value, list) and value and draw(st.integers(0, 4)):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], bent(draw, value[place]), *value[place + 1 :]]
    return draw(st.sampled_from(HOSTILE))


def _encoded(value: Any) -> bytes:
    with warnings.catch_warnings():
        return json.dumps(value).encode()


def _plain(value: Any) -> str:
    return str(value).encode(errors="replace").decode()[:2000]


def _segment(value: Any) -> str:
    return quote(_plain(value), safe="") or "-"
