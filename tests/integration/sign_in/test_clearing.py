"""What signing in leaves behind: ended in time, deleted later, and always in the audit."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from controlplane.core.clock import shifted
from controlplane.core.db import Database
from controlplane.reconcilers import sign_in
from controlplane.reconcilers.sign_in import SignInClearing
from tests.integration.sign_in.conftest import AuditTrail, Browser
from tests.postgres import DatabaseUrls

NOTHING = {"ended": 0, "sessions": 0, "attempts": 0}


@pytest.fixture
def clearing(database: DatabaseUrls) -> Iterator[SignInClearing]:
    """The scheduler's loop, under its own role."""
    opened = Database.connect(database.scheduler, pool_size=1)
    yield SignInClearing(opened)
    opened.close()


def count(trail: AuditTrail, table: str) -> int:
    (row,) = trail.run(f"SELECT count(*) AS n FROM {table}")
    return int(row.n)


@pytest.mark.parametrize(
    ("later", "reason"),
    [(timedelta(minutes=31), "idle"), (timedelta(hours=13), "absolute")],
    ids=["idle", "absolute"],
)
def test_a_session_about_which_nobody_asks_again_ends_with_an_event(
    browser: Browser,
    trail: AuditTrail,
    clearing: SignInClearing,
    later: timedelta,
    reason: str,
) -> None:
    browser.sign_in()
    assert clearing.activate() == NOTHING
    with shifted(later):
        assert clearing.activate() == {**NOTHING, "ended": 1}
        assert clearing.activate() == NOTHING
    (detail,) = trail.details("session.ended")
    assert detail["reason"] == reason
    (row,) = trail.run("SELECT id FROM principal WHERE subject = 'sam@acme.test'")
    assert detail["principal"] == str(row.id)
    (event,) = trail.run(
        "SELECT organization_id, actor FROM audit_event WHERE code = 'session.ended'"
    )
    assert event.organization_id is not None, "in the chain of the person's organization"
    assert event.actor["subject"] == "scheduler"


def test_sessions_and_attempts_are_deleted_a_day_after_their_end_and_their_events_stay(
    browser: Browser, trail: AuditTrail, clearing: SignInClearing
) -> None:
    browser.sign_in()
    with shifted(timedelta(hours=13)):
        assert clearing.activate() == {**NOTHING, "ended": 1}
    events = count(trail, "audit_event")
    with shifted(timedelta(hours=23)):
        assert clearing.activate() == NOTHING
    with shifted(timedelta(hours=38)):
        assert clearing.activate() == {"ended": 0, "sessions": 1, "attempts": 1}
    assert count(trail, "session") == count(trail, "sign_in_attempt") == 0
    assert count(trail, "audit_event") == events
    assert browser.http.get("/v1/me").status_code == 401


def test_a_session_that_lasts_and_a_code_that_may_come_back_stay(
    browser: Browser, trail: AuditTrail, clearing: SignInClearing
) -> None:
    browser.sign_in()
    browser.start()
    assert clearing.activate() == NOTHING
    assert count(trail, "session") == 1
    assert count(trail, "sign_in_attempt") == 2
    assert browser.http.get("/v1/me").status_code == 200


def test_a_round_is_bounded(
    open_browser: Callable[[], Browser],
    trail: AuditTrail,
    clearing: SignInClearing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sign_in, "BATCH", 2)
    for _ in range(3):
        open_browser().sign_in()
    with shifted(timedelta(hours=13)):
        assert [clearing.activate()["ended"] for _ in range(3)] == [2, 1, 0]
    with shifted(timedelta(hours=38)):
        rounds = [clearing.activate() for _ in range(3)]
    assert [r["sessions"] for r in rounds] == [2, 1, 0]
    assert [r["attempts"] for r in rounds] == [2, 1, 0]


def test_a_disabled_person_s_session_says_so(
    browser: Browser, trail: AuditTrail, clearing: SignInClearing
) -> None:
    browser.sign_in()
    trail.run("UPDATE principal SET disabled_at = now() WHERE subject = 'sam@acme.test'")
    with shifted(timedelta(minutes=31)):
        clearing.activate()
    assert [d["reason"] for d in trail.details("session.ended")] == ["principal-disabled"]
