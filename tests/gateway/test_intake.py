"""`POST /usage/v1/events` of a real gateway: who reports, what is refused, what may leave."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from tests.gateway.api_server import ApiServer
from tests.gateway.parts import Boundary, until
from tests.gateway.reporter import Reporter
from tests.gateway.reports import applied, decided, one_of_each, shown
from wire.usage import MAX_BATCH, Export


@pytest.fixture
def reporter(bare_boundary: Boundary) -> Reporter:
    return Reporter(bare_boundary)


@pytest.fixture(scope="module")
def standing(tmp_path_factory: pytest.TempPathFactory, postgres: Any) -> Iterator[Reporter]:
    """A reporter for tests that look at answers only."""
    folder = tmp_path_factory.mktemp("intake")
    database = postgres.url("postgres", postgres.create_database("postgres"))
    boundary = Boundary(folder, ApiServer(folder / "api"), database)
    yield Reporter(boundary)
    boundary.close()


def test_a_batch_is_acknowledged_after_it_is_stored_under_the_keys_owner(
    reporter: Reporter,
) -> None:
    events = one_of_each()
    answer = reporter.send(events)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"accepted": 6, "duplicates": 0, "rejected": []}
    assert reporter.count() == 6
    again = reporter.send([*events, shown()])
    assert again.json() == {"accepted": 1, "duplicates": 6, "rejected": []}
    rows = reporter.boundary.rows(
        "SELECT DISTINCT boundary_id, group_id, length(subject_pseudonym), synthetic"
        " FROM change_event"
    )
    assert rows == [("b-payments", "payments-engineers", 64, False)]


@pytest.mark.parametrize(
    ("place", "name"),
    [
        ("data", "boundary_id"),
        ("data", "group_id"),
        ("data", "prompt"),
        ("", "subject"),
        ("", "source"),
        ("", "synthetic"),
    ],
)
def test_a_client_cannot_say_who_it_is_nor_add_a_field(
    place: str, name: str, standing: Reporter
) -> None:
    event = shown()
    (event[place] if place else event)[name] = "CANARY-19c2"
    before = standing.count()
    answer = standing.send([shown(), event])
    assert answer.status_code == 422
    field = f"{place}.{name}" if place else name
    assert answer.json() == {
        "accepted": 1,
        "duplicates": 0,
        "rejected": [{"index": 1, "field": field, "reason": "unknown_field"}],
    }
    assert "CANARY" not in answer.text
    assert standing.count() == before + 1


def changed(event: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**event, **fields}


@pytest.mark.parametrize(
    ("event", "field", "reason"),
    [
        (shown(lines_suggested_add=-1), "data.lines_suggested_add", "invalid_value"),
        (shown(visible_ms=float(10**9)), "data.visible_ms", "invalid_value"),
        (shown(feature="poetry"), "data.feature", "invalid_value"),
        (shown(client_version="v1; rm"), "data.client_version", "invalid_value"),
        (decided(uuid4(), "partial"), "data", "invalid_value"),
        (changed(shown(), type="change.guessed.v1"), "type", "unknown_type"),
        (changed(shown(), type="usage.request.completed.v1"), "type", "unknown_type"),
        (changed(shown(), id=str(uuid4())), "id", "invalid_value"),
        (changed(shown(), data={}), "data.change_id", "missing_field"),
        (changed(shown(), **{"x = 1; y()": 1}), "?", "unknown_field"),
        (shown(at=datetime.now(UTC) - timedelta(hours=73)), "time", "too_old"),
        (shown(at=datetime.now(UTC) + timedelta(hours=1)), "time", "in_future"),
        ("a text", "event", "invalid_value"),
    ],
    # Without the events: they hold times and ids, and every process must collect the same names.
    ids=lambda value: value if isinstance(value, str) else "event",
)
def test_an_event_that_does_not_fit_is_named_by_index_and_field(
    event: Any, field: str, reason: str, standing: Reporter
) -> None:
    answer = standing.send([event])
    assert answer.status_code == 422
    assert answer.json()["rejected"] == [{"index": 0, "field": field, "reason": reason}]


def test_what_is_refused_is_counted_and_told_with_the_day(reporter: Reporter) -> None:
    reporter.send([changed(shown(), type="change.guessed.v1"), shown(lines_suggested_add=-1)])
    day = until(lambda: [d for d in reporter.leaves().days if d.events_rejected])[0]
    assert (day.events_rejected, day.day) == (2, datetime.now(UTC).date())


def test_late_events_are_taken_for_three_days(standing: Reporter) -> None:
    late = datetime.now(UTC) - timedelta(hours=71, minutes=59)
    ahead = datetime.now(UTC) + timedelta(minutes=4)
    answer = standing.send([shown(at=late), shown(at=ahead)])
    assert (answer.status_code, answer.json()["accepted"]) == (200, 2)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ("CANARY not JSON", 400),
        ('{"id": "CANARY"}', 400),
        (b"\xff\xfe", 400),
        ([shown()] * (MAX_BATCH + 1), 413),
        ("[" + " " * 600_000 + "]", 413),
        ("[" * 100_000, 400),
    ],
    ids=["text", "object", "bytes", "501", "large", "deep"],
)
def test_what_is_no_batch_is_refused_without_a_word_of_it(
    body: Any, status: int, standing: Reporter
) -> None:
    answer = standing.send(body)
    assert answer.status_code == status, answer.text
    assert "CANARY" not in answer.text


def test_a_full_batch_fits_into_the_limit(standing: Reporter) -> None:
    answer = standing.send([shown() for _ in range(MAX_BATCH)])
    assert answer.json()["accepted"] == MAX_BATCH


def test_without_a_key_nothing_is_taken(standing: Reporter) -> None:
    before = standing.count()
    answer = standing.send([shown()], Authorization="Bearer rfk_" + "A" * 43)
    assert answer.status_code == 401
    assert standing.count() == before


def test_a_batch_that_cannot_be_stored_is_not_acknowledged(reporter: Reporter) -> None:
    name = reporter.boundary.database.rsplit("/", 1)[-1].split("?")[0]
    admin = reporter.boundary.database.replace(f"/{name}", "/postgres")
    events = [shown(), shown()]
    with psycopg.connect(admin, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
        )
        refused = reporter.send(events)
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "storage_unavailable"
    taken = until(lambda: (a := reporter.send(events)).status_code == 200 and a)
    assert taken.json()["accepted"] + taken.json()["duplicates"] == 2
    assert reporter.count() == 2


def test_made_up_use_needs_the_customers_word_and_stays_marked(reporter: Reporter) -> None:
    refused = reporter.send([shown()], person=1)
    assert (refused.status_code, reporter.count()) == (403, 0)
    (reporter.policy / "synthetic-groups").write_text("payments-engineers\n")
    assert reporter.send([shown()], person="1; drop").status_code == 400
    for person in range(6):
        change = uuid4()
        batch = [shown(change), decided(change, "accepted"), applied(change)]
        assert reporter.send(batch, person=person).status_code == 200
    assert reporter.send([shown()]).status_code == 200
    rows = reporter.boundary.rows(
        "SELECT synthetic, count(DISTINCT subject_pseudonym) FROM change_event"
        " GROUP BY 1 ORDER BY 1"
    )
    assert rows == [(False, 1), (True, 6)]

    def made_up() -> Any:
        found = [r for d in reporter.leaves().days for r in d.rows if r.synthetic]
        return [r for r in found if r.changes_shown == 6]

    (row,) = until(made_up)
    assert (row.group_id, row.changes_accepted, row.lines_applied_user) == (
        *("payments-engineers", 6, 60),
    )


def test_a_group_that_the_customer_did_not_name_may_not_make_up_use(reporter: Reporter) -> None:
    (reporter.policy / "synthetic-groups").write_text("research-engineers")
    assert reporter.send([shown()], person=1).status_code == 403
    (reporter.policy / "synthetic-groups").write_text("payments-engineers; *")
    assert reporter.send([shown()], person=1).status_code == 403


@pytest.mark.parametrize("word", ["none", "event", "all", "\x00"])
def test_what_is_not_understood_lets_nothing_out(word: str, reporter: Reporter) -> None:
    reporter.send([shown()])
    until(lambda: reporter.leaves().days)
    (reporter.policy / "export").write_text(word)
    shut = reporter.leaves()
    assert (shut.export, shut.hours, shut.days, shut.sequence) == (Export.NONE, (), (), 0)
    (reporter.policy / "export").write_text("aggregate\n")
    assert reporter.leaves().days
    log = reporter.boundary.log.read_text()
    assert ("usage policy: export" in log) == (word != "none")


def test_a_policy_that_cannot_be_read_lets_nothing_out(reporter: Reporter, tmp_path: Path) -> None:
    (reporter.policy / "export").mkdir()
    assert reporter.leaves().export is Export.NONE
