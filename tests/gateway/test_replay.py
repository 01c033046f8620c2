"""The made-up day: the same for the same seed, and through the real path to the last count."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ringfence.usage.driver import Driver, ReplayError
from ringfence.usage.replay import plan_day
from tests.gateway.parts import AGENT, Boundary
from tests.gateway.reporter import Reporter
from wire.usage import Decision, Feature

OFFERED = {
    Feature.CODE_COMPLETION,
    Feature.CHAT_ASK,
    Feature.CHAT_EDIT,
    Feature.CHAT_INLINE,
}


def test_a_seed_makes_a_day() -> None:
    day = plan_day(200, 1)
    assert day == plan_day(200, 1)
    assert day != plan_day(200, 2)
    assert [act.second for act in day] == sorted(act.second for act in day)
    # About 200 * 0.85 * 10 requests of about 170 people.
    assert 1200 < len(day) < 2300
    assert 150 < len({act.developer for act in day}) < 190
    offered = [a.change for a in day if a.change and a.feature in OFFERED]
    accepted = [c for c in offered if c.decision in {Decision.ACCEPTED, Decision.PARTIAL}]
    assert 0.2 < len(accepted) / len(offered) < 0.4


def test_without_the_customers_word_there_is_no_replay(
    bare_boundary: Boundary, tmp_path: Path
) -> None:
    Reporter(bare_boundary)
    driver = Driver(bare_boundary.url, [bare_boundary.key], "tiny-coder", tmp_path / "replay")
    with pytest.raises(ReplayError, match="synthetic-groups"):
        driver.check()
    driver.close()


def test_what_was_planned_is_what_is_counted(boundary: Boundary, tmp_path: Path) -> None:
    boundary.stop()
    policy = tmp_path / "policy"
    policy.mkdir()
    (policy / "synthetic-groups").write_text("payments-engineers")
    boundary.start(GATEWAY_USAGE_POLICY_DIR=str(policy))
    boundary.api.tokens["agent-token"] = AGENT
    acts = plan_day(12, 3)[:60]
    driver = Driver(boundary.url, [boundary.key], "payments-style", tmp_path / "replay")
    driver.check()
    tally = driver.run(acts, None, lambda _: None, threading.Event())
    driver.close()
    assert (tally.requests, tally.failed, tally.rejected) == (60, 0, 0)
    assert tally.accepted == tally.reported
    boundary.events(60)
    boundary.rolled_up()
    told = [a.change for a in acts if a.reports and a.change and a.change.visible_ms >= 750]
    query = (
        "SELECT sum(changes_shown)::int, sum(changes_decided)::int, min(model_version),"
        " max(adapter_id), bool_and(synthetic) FROM change_daily"
    )
    wanted = (len(told), sum(c.decision is not None for c in told), "tiny-coder")
    assert boundary.rows(query) == [(*wanted, "payments-style", True)]
    people = {act.developer for act in acts}
    counted = boundary.rows("SELECT count(DISTINCT subject_pseudonym) FROM user_daily")
    assert counted == [(len(people),)]
    features = boundary.rows("SELECT DISTINCT feature FROM usage_hourly")
    assert {name for (name,) in features} == {act.feature.value for act in acts}
