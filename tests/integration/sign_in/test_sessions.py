"""Sessions of browsers: fixation, requests of foreign pages, time-outs, and how they end."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from controlplane.core.clock import shifted
from tests.integration.sign_in.conftest import PUBLIC_URL, AuditTrail, Browser

SESSION = "__Host-ringfence"


def assert_signed_out(browser: Browser) -> None:
    """Check that the browser is nobody."""
    answer = browser.http.get("/v1/me")
    assert answer.status_code == 401, answer.text
    assert answer.json()["error"]["code"] == "signed-out"
    assert browser.session()["state"] == "signed-out"


def with_cookie(browser: Browser, value: str) -> Browser:
    """Put a session's cookie into a browser."""
    browser.http.cookies.clear()
    browser.http.cookies.set(SESSION, value, domain="ringfence.test", path="/")
    return browser


def test_a_cookie_that_somebody_planted_is_never_adopted(
    browser: Browser, trail: AuditTrail
) -> None:
    planted = "p" * 43
    with_cookie(browser, planted)
    assert_signed_out(browser)
    browser.sign_in()
    cookies = [c.value for c in browser.http.cookies.jar if c.name == SESSION]
    assert planted not in cookies or len(cookies) == 1
    assert planted != cookies[-1]
    assert_signed_out(with_cookie(browser, planted))


def test_signing_in_anew_ends_the_session_that_the_browser_had(
    open_browser: Callable[[], Browser], trail: AuditTrail
) -> None:
    browser, thief = open_browser(), open_browser()
    browser.sign_in("sam@acme.test")
    with_cookie(thief, browser.http.cookies[SESSION])
    assert thief.http.get("/v1/me").status_code == 200
    browser.sign_in("sam@acme.test")
    assert_signed_out(thief)
    assert browser.http.get("/v1/me").status_code == 200
    assert [d["reason"] for d in trail.details("session.ended")] == ["replaced"]
    assert trail.details("session.refused")[-1]["reason"] == "ended"


CROSS_SITE: list[tuple[dict[str, str | None], str]] = [
    ({"Ringfence_CSRF": None}, "csrf-missing"),
    ({"Ringfence_CSRF": "x" * 43}, "csrf-wrong"),
    ({"Origin": "https://evil.example"}, "foreign-origin"),
    ({"Origin": "null"}, "foreign-origin"),
    ({"Origin": "http://ringfence.test"}, "foreign-origin"),
    ({"Origin": f"{PUBLIC_URL}.evil.example"}, "foreign-origin"),
    ({"Origin": None, "Sec_Fetch_Site": "cross-site"}, "foreign-origin"),
    ({"Sec_Fetch_Site": "same-site"}, "foreign-origin"),
    ({"Origin": None}, "origin-missing"),
]


@pytest.mark.parametrize(("headers", "reason"), CROSS_SITE, ids=[f"{h}" for h, _ in CROSS_SITE])
def test_a_change_that_a_foreign_page_could_send_is_refused(
    browser: Browser, trail: AuditTrail, headers: dict[str, Any], reason: str
) -> None:
    browser.sign_in("sam@acme.test")
    answer = browser.change(**headers)
    assert answer.status_code == 403, answer.text
    assert answer.json()["error"]["code"] == "cross-site"
    assert trail.details("session.refused")[-1]["reason"] == reason


def test_the_token_of_another_session_is_wrong(
    open_browser: Callable[[], Browser], trail: AuditTrail
) -> None:
    one, other = open_browser(), open_browser()
    one.sign_in("sam@acme.test")
    other.sign_in("sam@acme.test")
    answer = one.change(Ringfence_CSRF=other.session()["csrf_token"])
    assert answer.status_code == 403
    assert trail.details("session.refused")[-1]["reason"] == "csrf-wrong"


def test_an_idle_session_ends_and_a_busy_one_goes_on(browser: Browser, trail: AuditTrail) -> None:
    browser.sign_in()
    with shifted(timedelta(minutes=29)):
        assert browser.http.get("/v1/me").status_code == 200
    with shifted(timedelta(minutes=58)):
        assert browser.http.get("/v1/me").status_code == 200
    # Asking for the session is no activity: a page may do it by itself.
    with shifted(timedelta(minutes=87)):
        assert browser.session()["state"] == "signed-in"
    with shifted(timedelta(minutes=89)):
        assert_signed_out(browser)
        assert_signed_out(browser)
    assert [d["reason"] for d in trail.details("session.ended")] == ["idle"]
    assert_signed_out(browser)


def test_no_activity_carries_a_session_beyond_its_longest_life(
    browser: Browser, trail: AuditTrail
) -> None:
    browser.sign_in()
    for minutes in range(20, 12 * 60, 20):
        with shifted(timedelta(minutes=minutes)):
            assert browser.http.get("/v1/me").status_code == 200
    with shifted(timedelta(hours=12)):
        assert_signed_out(browser)
    assert [d["reason"] for d in trail.details("session.ended")] == ["absolute"]


def test_a_session_ends_when_its_person_is_disabled(browser: Browser, trail: AuditTrail) -> None:
    browser.sign_in("sam@acme.test")
    trail.run("UPDATE principal SET disabled_at = now() WHERE subject = 'sam@acme.test'")
    assert_signed_out(browser)
    assert [d["reason"] for d in trail.details("session.ended")] == ["principal-disabled"]
    trail.run("UPDATE principal SET disabled_at = NULL WHERE subject = 'sam@acme.test'")
    # Enabled again, they sign in again: what ended stays ended.
    assert_signed_out(browser)


def test_the_cookie_of_a_session_that_was_signed_out_is_refused(
    browser: Browser, trail: AuditTrail
) -> None:
    browser.sign_in()
    cookie = browser.http.cookies[SESSION]
    headers = {"Ringfence-CSRF": browser.session()["csrf_token"], "Origin": PUBLIC_URL}
    assert browser.http.post("/v1/sign-out", headers=headers).status_code == 200
    assert_signed_out(with_cookie(browser, cookie))
    assert trail.details("session.refused")[-1]["reason"] == "ended"


def test_a_token_is_not_signed_out(browser: Browser) -> None:
    from tests.integration.api.people import token_of

    headers = {"Authorization": f"Bearer {token_of('sam@acme.test')}"}
    answer = browser.http.post("/v1/sign-out", headers=headers)
    assert answer.status_code == 400


def test_the_worker_and_the_scheduler_see_no_session(trail: AuditTrail) -> None:
    found = trail.run(
        "SELECT r, t FROM unnest(ARRAY['ringfence_worker', 'ringfence_scheduler']) r,"
        " unnest(ARRAY['session', 'sign_in_attempt']) t WHERE has_table_privilege(r, t, 'SELECT')"
    )
    assert found == []
