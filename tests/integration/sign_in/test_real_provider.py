"""Against the sandbox's own identity provider, which is certified and strict, over real HTTP."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest
from playwright.sync_api import sync_playwright
from sqlalchemy import select

from controlplane.core.db import Database, Scope
from controlplane.tables.sign_in import BrowserSession
from tests.integration.sign_in.live import Live, LiveProcesses, Visitor

pytestmark = pytest.mark.slow
CHROMIUM = "/usr/bin/chromium"
FLAGS = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]


def log_in(visitor: Visitor, live: Live, subject: str = "sam@acme.test") -> None:
    """Sign in from the start to the page that was asked for."""
    visitor.open(f"{live.api_url}/v1/sign-in/start?return_to=/v1/me")
    assert visitor.status == 200, visitor.text
    assert visitor.url.startswith(f"{live.provider_url}/interaction/"), visitor.url
    visitor.submit(subject=subject, password=live.password)


def test_a_person_signs_in_with_the_real_provider(visitor: Visitor, live: Live) -> None:
    log_in(visitor, live)
    assert visitor.url == f"{live.api_url}/v1/me", visitor.text + live.log.read_text()
    assert json.loads(visitor.text)["subject"] == "sam@acme.test"


def test_the_real_provider_says_how_the_person_signed_in(visitor: Visitor, live: Live) -> None:
    log_in(visitor, live)
    database = Database.connect(live.database_url, pool_size=1)
    with database.transaction(Scope.platform()) as session:
        methods = session.scalars(
            select(BrowserSession.methods).order_by(BrowserSession.created_at.desc()).limit(1)
        ).one()
    database.close()
    assert methods == ["pwd"]


def test_the_login_page_is_labelled_and_takes_no_wrong_password(
    visitor: Visitor, live: Live
) -> None:
    visitor.open(f"{live.api_url}/v1/sign-in/start")
    assert "Sandbox identity provider (emulation)" in visitor.text
    assert live.password not in visitor.text
    assert "sam.admin@acme.test" not in visitor.text
    visitor.submit(subject="sam@acme.test", password="wrong")
    assert visitor.status == 401
    assert "do not go together" in visitor.text


def test_the_provider_refuses_a_request_without_pkce(visitor: Visitor, live: Live) -> None:
    callback = f"{live.api_url}/v1/sign-in/callback"
    visitor.open(
        f"{live.provider_url}/auth?client_id=ringfence&response_type=code&scope=openid"
        f"&state=abcdefghijkl&redirect_uri={callback}"
    )
    # It sends the error back with a state that nobody began: refused here too.
    assert visitor.url.startswith(callback)
    assert parse_qs(urlsplit(visitor.url).query)["error"] == ["invalid_request"]
    assert visitor.status == 401


def test_the_provider_refuses_another_redirect_address(visitor: Visitor, live: Live) -> None:
    visitor.open(
        f"{live.provider_url}/auth?client_id=ringfence&response_type=code&scope=openid"
        "&redirect_uri=http://127.0.0.1:1/elsewhere"
    )
    assert visitor.status == 400
    assert "redirect_uri" in visitor.text


def test_a_code_of_the_real_provider_counts_once(visitor: Visitor, live: Live) -> None:
    log_in(visitor, live)
    (callback,) = [url for url in visitor.visited if "/v1/sign-in/callback" in url]
    visitor.open(callback)
    assert visitor.status == 401
    query = parse_qs(urlsplit(callback).query)
    # Brought back under a new state by the same browser, it is refused by the provider.
    again = httpx2.get(f"{live.api_url}/v1/sign-in/start", trust_env=False, follow_redirects=False)
    state = parse_qs(urlsplit(again.headers["location"]).query)["state"][0]
    name, _, rest = again.headers["set-cookie"].partition("=")
    visitor.cookies(live.api_url)[name] = rest.partition(";")[0]
    visitor.open(
        f"{live.api_url}/v1/sign-in/callback?code={query['code'][0]}&state={state}"
        f"&iss={query['iss'][0]}"
    )
    assert visitor.status == 401
    assert "invalid_grant" in live.log.read_text()


def test_a_person_who_says_no_is_not_signed_in(visitor: Visitor, live: Live) -> None:
    visitor.open(f"{live.api_url}/v1/sign-in/start")
    visitor.submit(abort="yes")
    assert visitor.status == 401
    assert "You are not signed in" in visitor.text


def test_what_the_provider_knows_survives_its_restart(
    processes: tuple[LiveProcesses, Live], visitor: Visitor, tmp_path: Path
) -> None:
    started, live = processes
    log_in(visitor, live)
    before = httpx2.get(f"{live.provider_url}/jwks", trust_env=False).json()
    started.restart_provider()
    assert httpx2.get(f"{live.provider_url}/jwks", trust_env=False).json() == before
    visitor.cookies(live.api_url).clear()
    visitor.open(f"{live.api_url}/v1/sign-in/start?return_to=/v1/me")
    assert visitor.url == f"{live.api_url}/v1/me"


def test_chromium_keeps_the_cookies_on_loopback_and_follows_the_whole_way(live: Live) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        requested: list[str] = []
        refused: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.on("console", lambda message: refused.append(message.text))
        page.goto(f"{live.api_url}/v1/sign-in/start?return_to=/v1/me")
        page.get_by_label("Ana Lindqvist").check()
        page.get_by_label("Password of this sandbox").fill(live.password)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{live.api_url}/v1/me")
        assert json.loads(page.inner_text("body"))["subject"] == "ana@acme.test"
        names = {cookie["name"] for cookie in page.context.cookies(live.api_url)}
        assert names == {"__Host-ringfence"}
        result = page.evaluate(
            """async () => {
              const session = await (await fetch('/v1/session')).json();
              const send = (headers) => fetch('/v1/sign-out', { method: 'POST', headers });
              const without = await send({});
              const with_token = await send({ 'Ringfence-CSRF': session.csrf_token });
              const end = (await with_token.json()).end_session_url;
              return [without.status, with_token.status, end, document.cookie];
            }"""
        )
        assert result[:2] == [403, 200]
        assert result[3] == ""
        page.goto(result[2])
        page.get_by_role("button", name="Sign out").click()
        page.wait_for_url(f"{live.api_url}/")
        hosts = {urlsplit(url).hostname for url in requested}
        browser.close()
    assert hosts == {"127.0.0.1", "127.0.0.2"}
    assert [text for text in refused if "Content Security Policy" in text] == []
