"""Bytes that no client library sends: refused with the documented error, and nothing is stored."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from tests.integration.api.people import organization
from tests.integration.authorization.world import World
from tests.integration.fuzz.test_every_route import problem

DOCUMENT = json.dumps(organization())
BODIES = {
    "invalid UTF-8": b'{"organization": "\xff\xfe"}',
    "UTF-16": '{"organization": "acme"}'.encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf{}",
    "NUL bytes": b"\x00" * 100,
    "NUL in a text": DOCUMENT.replace("Acme Industries", "Acme\\u0000Industries").encode(),
    "lone surrogate": DOCUMENT.replace("Acme Industries", "Acme \\ud800").encode(),
    "lone surrogate in a key": b'{"\\ud800": 1}',
    "NUL in a key": b'{"\\u0000": 1}',
    "deep nesting": b"[" * 200_000 + b"]" * 200_000,
    "deep nesting inside": b'{"a":' * 50_000 + b"1" + b"}" * 50_000,
    "a number of 10,000 digits": b'{"version": ' + b"9" * 10_000 + b"}",
    "infinity": b'{"version": Infinity}',
    "not a number": b'{"version": NaN}',
    "an exponent": b'{"version": 1e999999}',
    "cut short": b'{"organization": "acme',
    "doubled key": b'{"organization": "acme", "organization": "globex"}',
    "empty": b"",
    "a list": b"[]",
    "a number": b"1",
}
PATHS = {
    "invalid UTF-8": "/v1/boundaries/%ff%fe",
    "NUL": "/v1/boundaries/pay%00ments",
    "lone surrogate": "/v1/boundaries/%ed%a0%80",
    "line break": "/v1/boundaries/a%0d%0aSet-Cookie:%20x=y",
    "dots": "/v1/boundaries/%2e%2e%2f%2e%2e",
    "long": "/v1/boundaries/" + "x" * 50_000,
    "arabic digits": "/v1/grants/%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1%D9%A1",
    "huge limit": "/v1/boundaries/payments/audit?limit=" + "9" * 30,
    "huge after": "/v1/boundaries/payments/audit?after=" + "9" * 19,
    "after of 5000 digits": "/v1/boundaries/payments/audit?after=" + "9" * 5000,
    "invalid UTF-8 in the query": "/v1/boundaries/payments/audit?after=%ff",
    "negative": "/v1/boundaries/payments/audit?after=-1",
}
HEADERS: dict[str, dict[bytes, bytes]] = {
    "organization in latin-1": {b"Ringfence-Organization": b"\xff\xfe"},
    "organization with NUL": {b"Ringfence-Organization": b"ac\x00me"},
    "huge organization": {b"Ringfence-Organization": b"x" * 60_000},
    "huge event id": {b"Last-Event-ID": b"9" * 5000},
    "event id out of range": {b"Last-Event-ID": b"9" * 25},
    "agent": {b"Ringfence-Agent": b"\xff\x00"},
    "content type": {b"Content-Type": b"application/json; charset=\xff"},
    "accept": {b"Accept": b"\xff/*;q=x"},
}


def token(world: World, role: str = "platform-admin") -> bytes:
    """Return an administrator's `Authorization`."""
    return b"Bearer " + world.callers[role, "organization"].encode()


@pytest.mark.parametrize("content", BODIES.values(), ids=BODIES.keys())
def test_a_hostile_body_is_refused_with_the_documented_error(content: bytes, world: World) -> None:
    for method, path in (
        ("PUT", "/v1/organizations/acme"),
        ("POST", "/v1/organizations:validate"),
        ("POST", "/v1/boundaries/payments/gateway-keys"),
        ("POST", "/v1/access/explain"),
        ("POST", "/agent/v1/enrol"),
        ("POST", "/agent/v1/status"),
    ):
        answer = world.client.request(
            method,
            path,
            content=content,
            headers={b"Authorization": token(world), b"Content-Type": b"application/json"},
        )
        assert problem(answer) is None, f"{method} {path}: {problem(answer)}"
        # The file is validated without being stored: that may say what is wrong with a 200.
        if not path.endswith(":validate"):
            assert answer.status_code >= 400, f"{method} {path}: {answer.text}"


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_a_hostile_path_or_query_is_refused_with_the_documented_error(
    path: str, world: World
) -> None:
    answer: Any = world.client.get(path, headers={b"Authorization": token(world, "auditor")})
    assert problem(answer) is None, problem(answer)
    assert answer.status_code >= 400
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("headers", HEADERS.values(), ids=HEADERS.keys())
def test_a_hostile_header_makes_no_server_error(headers: dict[bytes, bytes], world: World) -> None:
    run = f"/v1/runs/{world.own.objects['run_id']}/events"
    for method, path in (
        ("GET", "/v1/boundaries"),
        ("GET", run),
        ("POST", "/v1/organizations:validate"),
        ("GET", "/agent/v1/desired"),
        ("GET", "/v1/organizations/acme"),
    ):
        with capture_logs() as logs:
            answer = world.client.request(
                method, path, headers={b"Authorization": token(world), **headers}
            )
        assert problem(answer, logs) is None, f"{method} {path}: {problem(answer, logs)}"


@pytest.mark.parametrize(
    "value", [b"Bearer \xff" + b"x" * 60, b"Bearer " + b"\x00" * 60, b"Bearer " + b"x" * 60_000]
)
def test_a_hostile_token_is_a_token_that_nobody_has(value: bytes, world: World) -> None:
    answer = world.client.get("/v1/me", headers={b"Authorization": value})
    assert answer.status_code == 401
    assert problem(answer) is None
