"""A flood of sign-ins: bounded, counted, and no harm to others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

from controlplane.adapters.counters import Counters, LocalCounters, SharedCounters
from controlplane.core.client_address import TrustedProxies
from controlplane.core.clock import shifted
from controlplane.core.db import Database
from controlplane.domains.identity.sign_in_limits import Allowance, SignInLimits
from controlplane.domains.identity.sign_in_refusals import MOST_KINDS, Refusals
from controlplane.reconcilers.sign_in import RefusalNumbers
from tests.integration.api.people import Person
from tests.integration.sign_in.conftest import ACME, PUBLIC_URL, AuditTrail, Browser
from tests.integration.sign_in.issuer import Issuer
from tests.postgres import DatabaseUrls
from tests.redis_server import RedisServer

Bound = Callable[..., None]


@pytest.fixture
def scheduler(database: DatabaseUrls) -> Iterator[RefusalNumbers]:
    """The scheduler's loop, under its own role."""
    opened = Database.connect(database.scheduler, pool_size=1)
    yield RefusalNumbers(opened)
    opened.close()


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    server = RedisServer()
    server.start()
    yield server
    server.stop()


def bound(app: FastAPI, counters: Counters, per_address: int, per_provider: int = 1000) -> None:
    """Set how often the application lets sign-ins pass."""
    sign_in = app.state.sign_in
    refusals: Refusals = sign_in._refusals
    sign_in._bounds = SignInLimits(counters, Allowance(per_address, per_provider), refusals)


def from_address(app: FastAPI, issuer: Issuer, address: str) -> Browser:
    """Return a browser at an address."""
    browser = Browser(app, issuer)
    browser.http = TestClient(
        app,
        base_url=PUBLIC_URL,
        client=(address, 50_000),
        follow_redirects=False,
        raise_server_exceptions=False,
    )
    return browser


def invented(browser: Browser) -> Any:
    """Come back with a state that nobody gave out."""
    return browser.come_back({"state": "s" * 43, "code": "c"})


def test_a_flood_from_one_address_is_refused_and_others_sign_in(
    app: FastAPI, issuer: Issuer, acme: Person
) -> None:
    bound(app, LocalCounters(), per_address=10)
    flood = from_address(app, issuer, "203.0.113.9")
    answers = [invented(flood).status_code for _ in range(25)]
    assert answers == [401] * 10 + [429] * 15
    refused = flood.http.get("/v1/sign-in/start", params={**ACME, "return_to": "/"})
    assert refused.status_code == 429
    error = refused.json()["error"]
    assert error["code"] == "too-many-sign-ins"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert error["fix"] == f"wait {refused.headers['retry-after']} seconds and try again"
    page = flood.http.get("/v1/sign-in/start", params=ACME, headers={"Accept": "text/html"})
    assert page.status_code == 429
    assert "There are too many sign-ins now" in page.text
    assert int(page.headers["retry-after"]) >= 1
    for refused in (
        flood.http.get("/v1/sign-in/providers/acme"),
        flood.http.post("/v1/sign-in/exchange", json={**ACME, "id_token": "x"}),
    ):
        assert refused.status_code == 429, refused.text
    assert from_address(app, issuer, "203.0.113.10").sign_in().status_code == 303
    app.state.sign_in.close()


def test_a_flood_makes_two_rows_and_every_refusal_is_in_them(
    app: FastAPI, issuer: Issuer, trail: AuditTrail, acme: Person, scheduler: RefusalNumbers
) -> None:
    bound(app, LocalCounters(), per_address=40)
    flood = from_address(app, issuer, "203.0.113.9")
    for _ in range(100):
        invented(flood)
    app.state.sign_in.close()
    first = trail.details("sign-in.refused")
    assert {row["reason"] for row in first} == {"state-unknown", "too-many"}
    assert len(first) == 2
    assert {row["address"] for row in first} == {"203.0.113.9"}
    assert scheduler.activate() == {"refused": 0}, "the window is not over"
    with shifted(timedelta(minutes=6)):
        assert scheduler.activate() == {"refused": 100}
        assert scheduler.activate() == {"refused": 0}
    (number,) = trail.details("sign-in.refusals-counted")
    assert number["refused"] == 100
    assert number["reasons"] == {"state-unknown": 40, "too-many": 60}
    assert number["address"] == "203.0.113.9"
    assert number["from"] <= number["until"]


def test_single_refusals_need_no_number(
    app: FastAPI, issuer: Issuer, trail: AuditTrail, acme: Person, scheduler: RefusalNumbers
) -> None:
    invented(from_address(app, issuer, "203.0.113.9"))
    with shifted(timedelta(minutes=6)):
        assert scheduler.activate() == {"refused": 1}
    assert len(trail.details("sign-in.refused")) == 1
    assert trail.details("sign-in.refusals-counted") == []


def test_a_flood_from_many_addresses_makes_a_bounded_chain(
    app: FastAPI, issuer: Issuer, trail: AuditTrail, acme: Person, scheduler: RefusalNumbers
) -> None:
    for number in range(MOST_KINDS + 30):
        invented(from_address(app, issuer, f"10.1.{number // 250}.{number % 250}"))
    first = trail.details("sign-in.refused")
    assert len(first) == MOST_KINDS + 1
    assert first[-1]["address"] == "others"
    with shifted(timedelta(minutes=6)):
        assert scheduler.activate() == {"refused": MOST_KINDS + 30}
    (number_of_others,) = trail.details("sign-in.refusals-counted")
    assert number_of_others["reasons"] == {"state-unknown": 30}


def test_a_provider_over_its_bound_is_open_to_places_that_signed_in_before(
    app: FastAPI, issuer: Issuer, trail: AuditTrail, acme: Person
) -> None:
    bound(app, LocalCounters(), per_address=1000, per_provider=20)
    assert from_address(app, issuer, "203.0.113.10").sign_in().status_code == 303
    for number in range(30):
        stranger = from_address(app, issuer, f"198.51.100.{number}")
        last = stranger.http.get("/v1/sign-in/start", params={**ACME, "return_to": "/"})
    assert last.status_code == 429
    assert last.json()["error"]["message"] == "too many sign-ins for this organization"
    assert from_address(app, issuer, "203.0.113.10").sign_in("max@acme.test").status_code == 303
    app.state.sign_in.close()
    assert {row["reason"] for row in trail.details("sign-in.refused")} == {"too-many"}


def test_all_processes_count_together_in_redis(
    app: FastAPI, issuer: Issuer, acme: Person, redis_server: RedisServer
) -> None:
    flood = from_address(app, issuer, "203.0.113.9")
    bound(app, SharedCounters(redis_server.url), per_address=10)
    assert [invented(flood).status_code for _ in range(8)] == [401] * 8
    # Another process has counters of its own, and the same Redis.
    bound(app, SharedCounters(redis_server.url), per_address=10)
    assert [invented(flood).status_code for _ in range(4)] == [401, 401, 429, 429]
    with redis_server.client() as client:
        keys = client.keys("ringfence:sign-in:*")
        assert keys
        assert all(client.pttl(key) > 0 for key in keys), "every counter ends by itself"
        assert b"203.0.113.9" not in b"".join(keys)
    app.state.sign_in.close()


def test_without_redis_each_process_keeps_its_own_bound_and_people_sign_in(
    app: FastAPI, issuer: Issuer, acme: Person, redis_server: RedisServer
) -> None:
    bound(app, SharedCounters(redis_server.url), per_address=10)
    flood = from_address(app, issuer, "203.0.113.9")
    assert [invented(flood).status_code for _ in range(4)] == [401] * 4
    redis_server.kill()
    assert [invented(flood).status_code for _ in range(8)] == [401] * 6 + [429] * 2
    assert from_address(app, issuer, "203.0.113.10").sign_in().status_code == 303
    app.state.sign_in.close()


def test_a_forwarded_address_counts_only_from_a_trusted_proxy(
    app: FastAPI, issuer: Issuer, trail: AuditTrail, acme: Person
) -> None:
    browser = from_address(app, issuer, "10.0.0.1")
    browser.http.headers["X-Forwarded-For"] = "192.0.2.1, 203.0.113.9"
    invented(browser)
    app.state.trusted_proxies = TrustedProxies((ip_network("10.0.0.0/8"),))
    invented(browser)
    addresses = [row["address"] for row in trail.details("sign-in.refused")]
    assert addresses == ["10.0.0.1", "203.0.113.9"]


def test_refusals_that_cannot_be_written_wait(
    app: FastAPI, issuer: Issuer, trail: AuditTrail, acme: Person, database: DatabaseUrls
) -> None:
    bound(app, LocalCounters(), per_address=4)
    flood = from_address(app, issuer, "203.0.113.9")
    for _ in range(4):
        invented(flood)
    refusals: Refusals = app.state.sign_in._refusals
    refusals._timer_seconds = 3600.0
    own = refusals._database
    gone = Database.connect(database.api.replace("ringfence_api", "nobody"), pool_size=1)
    refusals._database = gone
    for _ in range(6):
        assert invented(flood).status_code == 429
    refusals.flush()
    gone.close()
    refusals._database = own
    refusals.flush()
    rows = trail.run("SELECT refused FROM sign_in_refusal WHERE reason = 'too-many'")
    assert [row.refused for row in rows] == [6]
