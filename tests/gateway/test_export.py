"""`export: events`: what leaves is whole, in order, of the open period only, and missed by none."""

from __future__ import annotations

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx2
import psycopg
import pytest
from pydantic import ValidationError

from gateway.changes import insert_changes
from gateway.export import next_page
from gateway.periods import delete_old_listings, follow_policy
from tests.gateway.parts import Boundary, until
from tests.gateway.reporter import Reporter
from tests.gateway.reports import one_of_each, parsed, shown
from tests.gateway.test_days import Books, origin
from tests.postgres import PostgresServer
from wire.usage import EventPush, Export, RecordedShown, UsageEvent


@pytest.fixture
def reporter(bare_boundary: Boundary) -> Reporter:
    return Reporter(bare_boundary)


@pytest.fixture
def books(tmp_path: Any, postgres: PostgresServer) -> Books:
    """A boundary's database without a gateway, in which events may leave."""
    made = Books(tmp_path, postgres.url("postgres", postgres.create_database("postgres")))
    made.run(lambda pool: follow_policy(pool, Export.EVENTS, datetime.now(UTC)))
    return made


def page_of(books: Books, after: str = "", limit: int = 1000) -> EventPush:
    found = books.run(lambda pool: next_page(pool, "b-payments", after, limit, print))
    assert found is not None
    return found


def ids(push: EventPush) -> list[UUID]:
    return [event.id for event in push.events]


def test_what_a_client_reports_leaves_as_it_was_and_the_counts_leave_as_before(
    reporter: Reporter,
) -> None:
    reporter.let_out("events")
    batch = one_of_each()
    assert reporter.send(batch).json()["accepted"] == 6
    push = reporter.page()
    assert (push.export, push.since is not None) == (Export.EVENTS, True)
    sent = {event["id"]: event for event in batch}
    assert [str(event.id) for event in push.events] == sorted(
        sent, key=lambda each: (sent[each]["time"], each)
    )
    subjects = {event.subject for event in push.events}
    ((stored,),) = reporter.boundary.rows("SELECT DISTINCT subject_pseudonym FROM change_event")
    assert subjects == {stored}
    for event in push.events:
        document = event.model_dump(mode="json")
        told = sent[str(event.id)]
        assert document["type"] == told["type"]
        assert document["data"].items() >= told["data"].items()
        assert document["source"] == "/boundaries/b-payments/gateway"
        assert set(document) == {
            *("specversion", "id", "source", "type", "time", "subject", "synthetic"),
            *("datacontenttype", "dataschema", "data", "boundary_id", "group_id"),
        }
        assert (document["boundary_id"], document["group_id"]) == (
            "b-payments",
            "payments-engineers",
        )
        assert document["dataschema"].rsplit("/", 2)[1] == told["type"][:-3].replace(".", "-")
    # An agent that knows no events sees roll-ups as always.
    counts = until(lambda: reporter.leaves().days and reporter.leaves())
    assert counts.export is Export.AGGREGATE


def test_a_request_leaves_exactly_as_it_was_stored(books: Books) -> None:
    who = origin(3)
    at = datetime.now(UTC) + timedelta(seconds=1)
    stored = books.request(who, at, adapter_id=None, ttft_ms=None, arm=2, stream=True)
    (event,) = page_of(books).events
    assert isinstance(event, UsageEvent)
    assert (event.id, event.time, event.subject) == (stored, at, who.subject)
    data = event.data
    assert (data.adapter_id, data.ttft_ms, data.arm, data.stream) == (None, None, 2, True)
    assert (data.input_tokens, data.output_tokens, data.duration_ms) == (10, 5, 60.0)
    assert (data.group_id, data.model_version) == ("payments-engineers", "tiny-coder")


def test_only_what_came_while_the_customer_let_it_out_leaves_whatever_comes_later(
    reporter: Reporter,
) -> None:
    before = shown()
    reporter.send([before])
    reporter.let_out("events")
    # It happened before, and is reported after: it was taken under the other promise.
    late = shown(at=datetime.now(UTC) - timedelta(hours=2))
    first = shown()
    assert reporter.send([late, first]).json()["accepted"] == 2
    push = reporter.page()
    assert [str(each) for each in ids(push)] == [first["id"]]
    unread = shown()
    reporter.send([unread])
    reporter.let_out("aggregate")
    shut = reporter.page(push.cursor)
    assert (shut.export, shut.events, shut.since, shut.cursor) == (Export.AGGREGATE, (), None, "")
    assert reporter.count("export_waiting") == reporter.count("export_page") == 0
    between = shown()
    reporter.send([between])
    reporter.let_out("events")
    # Neither what nobody had read before it ended nor what came in between.
    again = reporter.page(push.cursor)
    assert again.events == ()
    assert push.since is not None
    assert again.since is not None
    assert again.since > push.since
    second = shown()
    reporter.send([second])
    assert [str(each) for each in ids(reporter.page(push.cursor))] == [second["id"]]
    (reporter.policy / "export").write_text("none")
    # At once, not only when the gateway next looks at the policy.
    assert reporter.page().export is Export.NONE
    assert reporter.count() == 6


@pytest.mark.parametrize("word", ["event", "Events", "events aggregate"])
def test_a_word_that_is_not_understood_ends_it(word: str, reporter: Reporter) -> None:
    reporter.let_out("events")
    reporter.send([shown()])
    assert reporter.page().events
    (reporter.policy / "export").write_text(word)
    assert (reporter.page().export, reporter.leaves().export) == (Export.NONE, Export.NONE)


def test_a_page_stays_until_it_is_acknowledged_and_is_then_forgotten(reporter: Reporter) -> None:
    reporter.let_out("events")
    batch = [shown() for _ in range(5)]
    reporter.send(batch)
    first = reporter.page(limit=2)
    assert len(first.events) == 2
    reporter.boundary.kill()
    reporter.boundary.start(GATEWAY_USAGE_POLICY_DIR=str(reporter.policy))
    assert reporter.page(limit=2) == first
    second = reporter.page(first.cursor, limit=2)
    third = reporter.page(second.cursor, limit=2)
    seen = [str(each) for push in (first, second, third) for each in ids(push)]
    assert sorted(seen) == sorted(event["id"] for event in batch)
    assert reporter.page(third.cursor).events == ()
    # An agent whose volume was lost gets what is left: everything else is committed outside.
    assert reporter.page("").events == ()
    assert reporter.count("export_page") == 0


def test_a_cursor_of_another_database_hides_nothing(reporter: Reporter) -> None:
    reporter.let_out("events")
    reporter.send([shown()])
    foreign = "00000000-0000-4000-8000-000000000000:999999"
    assert len(reporter.page(foreign).events) == 1
    period = reporter.page().cursor.split(":")[0]
    # Nor one that is further than anything that was handed out.
    reporter.page(f"{period}:999999")
    reporter.send([shown()])
    assert len(reporter.page(f"{period}:999999").events) == 1


def test_only_the_agents_token_takes_events_and_a_bad_question_is_refused(
    reporter: Reporter,
) -> None:
    url = f"{reporter.boundary.internal_url}/internal/v1/events"
    reporter.boundary.api.tokens["other"] = "system:serviceaccount:boundary-payments:engine"

    def ask(token: str, **query: Any) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return httpx2.post(url, params=query, headers=headers).status_code

    assert [ask("unknown"), ask("other"), ask("agent-token")] == [401, 403, 200]
    for query in ({"after": "7"}, {"after": "x:1"}, {"limit": 0}, {"limit": 1001}, {"limit": "²"}):
        assert ask("agent-token", **query) == 400
    assert httpx2.get(url, headers={"Authorization": "Bearer agent-token"}).status_code == 405


def test_what_the_spool_holds_when_the_policy_changes_does_not_leave(boundary: Boundary) -> None:
    boundary.stop()
    policy = boundary.folder / "policy"
    policy.mkdir()
    (policy / "export").write_text("events")
    boundary.start(GATEWAY_USAGE_POLICY_DIR=str(policy), GATEWAY_SHIP_SECONDS="60")
    until(lambda: boundary.rows("SELECT 1 FROM export_period"))
    boundary.chat("tiny-coder")
    boundary.kill()
    assert boundary.rows("SELECT 1 FROM usage_event") == []
    (policy / "export").write_text("aggregate")
    boundary.start(GATEWAY_USAGE_POLICY_DIR=str(policy))
    boundary.events(1)
    (policy / "export").write_text("events")
    until(lambda: boundary.rows("SELECT 1 FROM export_period WHERE ended_at IS NULL"))
    answer = boundary.chat("tiny-coder")
    boundary.event_of(answer)
    left = boundary.rows("SELECT event_id::text FROM export_waiting")
    assert left == [(answer.headers["x-request-id"],)]


def test_an_event_that_commits_late_is_not_skipped(books: Books) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=1)
    early, later = shown(at=moment), shown(at=moment + timedelta(seconds=1))
    with psycopg.connect(books.url) as slow:
        # A writer that has stored the earlier event and has not committed.
        books.report(origin(1), early)
        (row,) = slow.execute("SELECT * FROM export_waiting").fetchall()
        slow.execute("DELETE FROM export_waiting")
        slow.commit()
        slow.execute("INSERT INTO export_waiting VALUES (%s, %s, %s, %s, %s)", row)
        books.report(origin(2), later)
        first = page_of(books)
        assert [str(each) for each in ids(first)] == [later["id"]]
        slow.commit()
    second = page_of(books, first.cursor)
    assert [str(each) for each in ids(second)] == [early["id"]]


def test_under_many_writers_each_event_is_handed_out_once(books: Books) -> None:
    writers, batches, size = 6, 25, 4
    sent: list[str] = []
    done = threading.Event()

    def write(number: int) -> None:
        async def work(pool: Any) -> None:
            for _ in range(batches):
                events = [shown(at=datetime.now(UTC) + timedelta(seconds=1)) for _ in range(size)]
                await insert_changes(pool, origin(number), parsed(*events), Counter())
                sent.extend(event["id"] for event in events)

        books.run(work)

    seen: list[str] = []

    def read() -> None:
        async def work(pool: Any) -> None:
            cursor = ""
            while True:
                ended = done.is_set()
                push = await next_page(pool, "b-payments", cursor, 7, print)
                assert push is not None
                seen.extend(str(event.id) for event in push.events)
                cursor = push.cursor
                if ended and not push.events:
                    return

        books.run(work)

    with ThreadPoolExecutor(writers + 1) as pool:
        reader = pool.submit(read)
        for future in [pool.submit(write, number) for number in range(writers)]:
            future.result(timeout=60)
        done.set()
        reader.result(timeout=60)
    assert len(sent) == writers * batches * size
    assert Counter(seen) == Counter(sent)


def test_two_replicas_that_open_a_period_at_once_open_one(books: Books) -> None:
    books.run(lambda pool: follow_policy(pool, Export.NONE, datetime.now(UTC)))

    def open_it(_: int) -> None:
        books.run(lambda pool: follow_policy(pool, Export.EVENTS, datetime.now(UTC)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_it, range(4)))
    with psycopg.connect(books.url) as connection:
        rows = connection.execute("SELECT ended_at IS NULL FROM export_period").fetchall()
    assert sorted(row[0] for row in rows) == [False, True]


def test_what_nobody_asks_for_goes_with_its_events(books: Books) -> None:
    moment = datetime.now(UTC) + timedelta(seconds=1)
    books.report(origin(1), shown(at=moment), shown(at=moment))
    page_of(books, limit=1)
    books.run(lambda pool: delete_old_listings(pool, moment + timedelta(days=30), 30))
    assert books.count("export_waiting", "export_page") == [1, 1]
    books.run(lambda pool: delete_old_listings(pool, moment + timedelta(days=31), 30))
    assert books.count("export_waiting", "export_page") == [0, 0]


def test_no_message_can_say_what_the_customer_does_not_let_out() -> None:
    moment = datetime.now(UTC)
    (client,) = parsed(shown(at=moment))
    event = RecordedShown(
        **client.model_dump(),
        **origin(1).model_dump(),
        source="/boundaries/b-payments/gateway",
    )
    fits = EventPush(export=Export.EVENTS, since=moment, events=(event,))
    assert EventPush.from_wire(fits.to_wire()) == fits
    wrong: list[dict[str, Any]] = [
        {"export": Export.AGGREGATE, "events": (event,)},
        {"export": Export.NONE, "since": moment},
        {"export": Export.EVENTS, "events": (event,)},
        {"export": Export.EVENTS, "since": moment + timedelta(seconds=1), "events": (event,)},
        {
            "export": Export.EVENTS,
            "since": moment,
            "events": (event.model_copy(update={"source": "/boundaries/b-other/gateway"}),),
        },
    ]
    for fields in wrong:
        with pytest.raises(ValidationError):
            EventPush.from_wire(EventPush.model_construct(**fields).to_wire())
