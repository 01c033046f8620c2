"""An open stream over real HTTP: it ends soon after its caller may not have it any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI
from sqlalchemy import text
from starlette.requests import Request
from starlette.testclient import TestClient

from controlplane.core import http
from controlplane.core.actor import OpContext
from controlplane.core.db import Database
from sandbox.home import free_port
from tests.integration.api.people import Person, token_of
from tests.integration.api.test_grants import RoleStub, approved, probe
from tests.integration.sign_in.conftest import PUBLIC_URL, AuditTrail, Browser
from tests.postgres import DatabaseUrls
from tests.sagas.bench import wait_until

SESSION = "__Host-ringfence"
SOON_SECONDS = 10.0


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    """The application under test, served over a socket."""
    port = free_port()
    config = uvicorn.Config(
        app, port=port, access_log=False, proxy_headers=False, lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    wait_until(lambda: server.started, "the server")
    yield f"http://127.0.0.1:{port}"
    server.should_exit = True
    server.force_exit = True
    thread.join(timeout=SOON_SECONDS)


@pytest.fixture
def run_id(app: FastAPI, acme: Person, database: DatabaseUrls) -> str:
    """A run that nobody works on, so that its stream stays open."""
    people: Callable[[str], Person] = lambda name: Person(  # noqa: E731
        TestClient(app), token_of(f"{name}@acme.test")
    )
    grant = approved(people)
    external = acme.get("/v1/boundaries/payments/connection").json()["external_id"]
    worker = Database.connect(database.worker, pool_size=1)
    probe(people, worker, RoleStub({external}), "open", grant["id"])
    worker.close()
    answer = acme.post("/v1/installs", {"boundary": "payments", "grant_id": grant["id"]})
    return str(answer.json()["run_id"])


class Watcher:
    """Reads a stream in a thread, until the server ends it."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self.status = 0
        self.lines: list[str] = []
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def is_open(self) -> bool:
        return self._thread.is_alive()

    def _read(self) -> None:
        try:
            with httpx2.stream(
                "GET", self._url, headers=self._headers, timeout=60, trust_env=False
            ) as answer:
                self.status = answer.status_code
                for line in answer.iter_lines():
                    self.lines.append(line)
        except httpx2.HTTPError as error:
            self.error = error

    def wait_for_end(self) -> None:
        """Check that the stream ends in order, and soon."""
        self._thread.join(timeout=SOON_SECONDS)
        assert not self.is_open, "the stream is open still"
        assert self.error is None


class Recheck:
    """Counts how often a stream's right was asked for."""

    def __init__(self, app: FastAPI) -> None:
        self.times = 0
        own = app.state.authorizer.again

        def again(request: Request, method: str, path: str) -> OpContext:
            self.times += 1
            context: OpContext = own(request, method, path)
            return context

        app.state.authorizer.again = again


def sign_out(browser: Browser, trail: AuditTrail) -> None:
    answer = browser.http.post(
        "/v1/sign-out",
        headers={"Origin": PUBLIC_URL, "Ringfence-CSRF": browser.session()["csrf_token"]},
    )
    assert answer.status_code == 200, answer.text


def disable(browser: Browser, trail: AuditTrail) -> None:
    trail.run("UPDATE principal SET disabled_at = now() WHERE subject = 'sam@acme.test'")


def lose_the_role(browser: Browser, trail: AuditTrail) -> None:
    trail.run("UPDATE role_assignment SET valid_until = now()")


def keep_a_role_elsewhere(browser: Browser, trail: AuditTrail) -> None:
    trail.run("UPDATE role_assignment SET valid_until = now() WHERE role <> 'engineer'")
    trail.run(
        "UPDATE role_assignment SET role = 'auditor', valid_until = NULL, principal_id ="
        " (SELECT id FROM principal WHERE subject = 'sam@acme.test'), group_id = NULL,"
        " boundary_id = (SELECT id FROM boundary WHERE name <> 'payments' LIMIT 1)"
        " WHERE id = (SELECT id FROM role_assignment LIMIT 1)"
    )


def be_idle_too_long(browser: Browser, trail: AuditTrail) -> None:
    trail.run("UPDATE session SET idle_ends_at = now()")


def reach_the_session_s_end(browser: Browser, trail: AuditTrail) -> None:
    trail.run("UPDATE session SET ends_at = now(), idle_ends_at = now() + interval '1 hour'")


ENDS: dict[Callable[[Browser, AuditTrail], None], int] = {
    sign_out: 401,
    disable: 401,
    lose_the_role: 403,
    keep_a_role_elsewhere: 404,
    be_idle_too_long: 401,
    reach_the_session_s_end: 401,
}


@pytest.mark.parametrize("end", ENDS, ids=[end.__name__ for end in ENDS])
def test_a_stream_ends_soon_after_its_person_may_not_have_it(
    browser: Browser,
    trail: AuditTrail,
    address: str,
    run_id: str,
    end: Callable[[Browser, AuditTrail], None],
) -> None:
    browser.sign_in()
    cookie = {"Cookie": f"{SESSION}={browser.http.cookies[SESSION]}"}
    watcher = Watcher(f"{address}/v1/runs/{run_id}/events", cookie)
    wait_until(lambda: watcher.status == 200, "the stream")
    assert watcher.is_open
    end(browser, trail)
    watcher.wait_for_end()
    refused = httpx2.get(
        f"{address}/v1/runs/{run_id}/events", headers=cookie, timeout=10, trust_env=False
    )
    assert refused.status_code == ENDS[end], refused.text


def test_a_stream_ends_soon_after_its_token_is_revoked(
    acme: Person, trail: AuditTrail, address: str, run_id: str
) -> None:
    issued = acme.post("/v1/tokens", {"name": "watch", "lifetime_days": 1}).json()
    bearer = {"Authorization": f"Bearer {issued['token']}"}
    watcher = Watcher(f"{address}/v1/runs/{run_id}/events", bearer)
    wait_until(lambda: watcher.status == 200, "the stream")
    answer = acme.post(f"/v1/tokens/{issued['id']}/revoke")
    assert answer.status_code == 200, answer.text
    watcher.wait_for_end()


def test_a_stream_goes_on_while_its_person_may_have_it_and_asks_seldom(
    browser: Browser,
    trail: AuditTrail,
    address: str,
    app: FastAPI,
    run_id: str,
    database: DatabaseUrls,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(http, "RECHECK_SECONDS", 0.2)
    recheck = Recheck(app)
    browser.sign_in()
    (before,) = trail.run("SELECT idle_ends_at FROM session")
    cookie = {"Cookie": f"{SESSION}={browser.http.cookies[SESSION]}"}
    watcher = Watcher(f"{address}/v1/runs/{run_id}/events", cookie)
    wait_until(lambda: recheck.times >= 3, "three questions")
    assert watcher.is_open
    monkeypatch.setattr(http, "RECHECK_SECONDS", 3600.0)
    asked = recheck.times
    append_events(database, run_id, 600)
    wait_until(lambda: sum(line.startswith("id:") for line in watcher.lines) >= 600, "all events")
    assert recheck.times <= asked + 1, "asked by time, not by event"
    (after,) = trail.run("SELECT idle_ends_at FROM session")
    assert after.idle_ends_at == before.idle_ends_at, "watching is no act of the person"
    monkeypatch.setattr(http, "RECHECK_SECONDS", 0.2)
    disable(browser, trail)
    watcher.wait_for_end()
    assert trail.details("session.refused") == []


def append_events(database: DatabaseUrls, run_id: str, count: int) -> None:
    """Add events to a run, past row-level security."""
    opened = Database.connect(database.admin, pool_size=1)
    with opened.engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO run_event (organization_id, boundary_id, run_id, seq, at, kind,"
                " detail) SELECT organization_id, boundary_id, id, last_seq + n, now(), 'log',"
                ' \'{"message": "x"}\' FROM run, generate_series(1, :count) n WHERE id = :run'
            ),
            {"count": count, "run": run_id},
        )
        connection.execute(
            text("UPDATE run SET last_seq = last_seq + :count WHERE id = :run"),
            {"count": count, "run": run_id},
        )
    opened.close()
