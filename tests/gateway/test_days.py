"""The roll-up of a day, against cases computed by hand on a real database."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID, uuid4

import psycopg
import pytest

from gateway import days, hours
from gateway.changes import insert_changes
from gateway.database import Pool, migrate, open_pool
from gateway.ledger import insert_events
from gateway.partitions import midnight
from gateway.rollup import delete_old, list_buckets, plan_for_many, roll_up
from tests.gateway.reports import applied, decided, parsed, shown, undone
from tests.postgres import PostgresServer
from wire.usage import (
    EgressClass,
    Feature,
    Operation,
    Origin,
    RequestCompleted,
    RollupPush,
    UsageEvent,
    UsageSource,
)

T = TypeVar("T")
TODAY = midnight(datetime.now(UTC))
NOON = TODAY - timedelta(hours=12)
"""Noon of yesterday: nothing of these tests depends on the hour at which they run."""
DAY = NOON.date()


def origin(person: int = 0, group: str = "payments-engineers", **changed: Any) -> Origin:
    return Origin(boundary_id="b-payments", group_id=group, subject=f"{person:064x}", **changed)


class Books:
    """A boundary's database, written as the gateway writes it."""

    def __init__(self, folder: Path, url: str) -> None:
        self.url = url
        self._file = folder / "url"
        self._file.write_text(url)
        self.run(migrate)

    def run(self, work: Callable[[Pool], Coroutine[Any, Any, T]]) -> T:
        """Run some work with an open pool."""

        async def inside() -> T:
            async with open_pool(self._file) as pool:
                return await work(pool)

        return asyncio.run(inside())

    def report(self, who: Origin, *events: dict[str, Any]) -> int:
        return self.run(lambda pool: insert_changes(pool, who, parsed(*events), Counter()))

    def request(self, who: Origin, at: datetime = NOON, **changed: Any) -> UUID:
        """Write one answered request and return its id."""
        event = UsageEvent(
            id=uuid4(),
            source="/boundaries/b-payments/gateway",
            time=at,
            subject=who.subject,
            synthetic=who.synthetic,
            data=RequestCompleted(
                **{
                    "boundary_id": "b-payments",
                    "group_id": who.group_id,
                    "feature": Feature.CODE_COMPLETION,
                    "operation": Operation.CHAT,
                    "provider": "llama_cpp",
                    "input_tokens": 10,
                    "output_tokens": 5,
                    "usage_source": UsageSource.REPORTED,
                    "requested_model": "payments-style",
                    "served_model": "payments-style",
                    "model_version": "tiny-coder",
                    "adapter_id": "payments-style",
                    "deployment_id": "coder",
                    "egress_class": EgressClass.BOUNDARY,
                    "stream": False,
                    "ttft_ms": 30.0,
                    "tpot_ms": None,
                    "duration_ms": 60.0,
                    "queue_ms": 0.0,
                    "error_type": "none",
                    **changed,
                }
            ),
        )
        self.run(lambda pool: insert_events(pool, [event]))
        return event.id

    def roll(self, now: datetime | None = None) -> RollupPush:
        """Roll up until nothing is marked and return all that may leave."""
        moment = now or datetime.now(UTC)

        async def work(pool: Pool) -> RollupPush:
            while await roll_up(pool, "b-payments", moment, 30, 750):
                pass
            return await list_buckets(pool, "b-payments", 0, 500)

        return self.run(work)

    def count(self, *tables: str) -> list[int]:
        """Return how many rows tables have."""
        with psycopg.connect(self.url) as connection:
            found = [connection.execute(f"SELECT count(*) FROM {t}").fetchall() for t in tables]
        return [int(rows[0][0]) for rows in found]

    def day(self, *columns: str) -> list[tuple[Any, ...]]:
        """Return the unsuppressed rows of the day."""
        with psycopg.connect(self.url) as connection:
            return connection.execute(
                f"SELECT {', '.join(columns)} FROM change_daily WHERE day = %s ORDER BY 1",
                [DAY],
            ).fetchall()


@pytest.fixture
def books(tmp_path: Path, postgres: PostgresServer) -> Books:
    return Books(tmp_path, postgres.url("postgres", postgres.create_database("postgres")))


def test_the_funnel_of_a_day_is_what_was_computed_by_hand(books: Books) -> None:
    a, b, c, d, e, f, g = (uuid4() for _ in range(7))
    agent = {"feature": "agent_edit"}
    books.report(
        origin(),
        shown(a, NOON),
        decided(a, "accepted", NOON),
        applied(a, NOON, lines_added=9, lines_deleted=3),
        shown(b, NOON, lines_suggested_add=20),
        decided(b, "partial", NOON, lines_accepted=4),
        shown(c, NOON),
        decided(c, "rejected", NOON),
        shown(d, NOON),
        decided(d, "expired", NOON, diff_opened=True),
        # Too short to count as shown.
        shown(e, NOON, visible_ms=749),
        decided(e, "rejected", NOON),
        # An agent's edit is shown and reviewed, but nobody is offered to accept it.
        shown(f, NOON, **agent),
        decided(f, "accepted", NOON, **agent),
        applied(f, NOON, apply_mode="autonomous", lines_added=30, **agent),
        undone(f, 50, timedelta(minutes=9), NOON),
        # Superseded before anyone looked: ten lines need 750 ms, forty need 2000.
        shown(g, NOON, lines_suggested_add=40),
        decided(g, "superseded", NOON),
    )
    books.roll()
    columns = (
        *("feature", "changes_shown", "changes_decided", "changes_offered", "changes_accepted"),
        *("lines_suggested", "lines_accepted", "changes_reviewed", "not_applied_rejected"),
        *("not_applied_dismissed", "not_applied_lapsed", "lines_applied_user"),
        *("lines_applied_autonomous", "lines_undone"),
    )
    assert books.day(*columns) == [
        # The undo gives back no more than the 30 lines that were applied.
        ("agent_edit", 1, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 30, 30),
        ("code_completion", 5, 5, 5, 2, 90, 14, 4, 1, 0, 1, 12, 0, 0),
    ]


def test_an_undo_after_ten_minutes_takes_nothing_back(books: Books) -> None:
    change = uuid4()
    books.report(origin(), applied(change, NOON), undone(change, 10, timedelta(minutes=11), NOON))
    books.roll()
    assert books.day("lines_applied_user", "lines_undone") == [(10, 0)]


def test_an_application_within_a_day_makes_a_rejection_applied_after_all(books: Books) -> None:
    soon, late = uuid4(), uuid4()
    books.report(origin(), shown(soon, NOON), decided(soon, "rejected", NOON))
    books.report(origin(), applied(soon, NOON + timedelta(hours=11)))
    books.report(origin(), shown(late, NOON - timedelta(hours=11)))
    books.report(
        origin(), decided(late, "dismissed", NOON), applied(late, NOON + timedelta(hours=14))
    )
    books.roll(NOON + timedelta(days=1))
    assert books.day("not_applied_rejected", "not_applied_dismissed") == [(0, 1)]


def test_a_late_decision_changes_the_day_on_which_the_change_was_shown(books: Books) -> None:
    change = uuid4()
    books.report(origin(), shown(change, NOON))
    first = books.roll()
    assert books.day("changes_decided") == [(0,)]
    books.report(origin(), decided(change, "accepted", TODAY + timedelta(minutes=1)))
    second = books.roll()
    assert books.day("changes_decided", "changes_accepted") == [(1, 1)]
    assert second.sequence > first.sequence
    # Nothing changed: no new number, nothing to send.
    assert books.roll().sequence == second.sequence


def test_a_change_shown_again_counts_once_on_its_first_day(books: Books) -> None:
    change = uuid4()
    books.report(
        origin(),
        shown(change, NOON, visible_ms=100),
        shown(change, NOON, visible_ms=800),
        shown(change, TODAY + timedelta(minutes=1)),
    )
    books.roll()
    with psycopg.connect(books.url) as connection:
        rows = connection.execute("SELECT day, changes_shown FROM change_daily").fetchall()
    assert rows == [(DAY, 1)]


def test_the_same_event_twice_is_stored_once_and_another_person_cannot_take_its_id(
    books: Books,
) -> None:
    event = shown(uuid4(), NOON)
    assert books.report(origin(1), event, event) == 1
    assert books.report(origin(1), event) == 0
    assert books.report(origin(2), event) == 1


def test_a_change_gets_the_model_of_its_own_request_whichever_arrives_first(books: Books) -> None:
    later, change = uuid4(), uuid4()
    request = books.request(origin(1))
    books.report(origin(1), shown(change, NOON, request_id=str(request)))
    # Somebody else's request says nothing about this change.
    books.report(origin(2), shown(later, NOON, request_id=str(request)))
    books.roll()
    assert books.day("model_version", "adapter_id", "changes_shown") == [
        ("tiny-coder", "payments-style", 1),
        ("unknown", "", 1),
    ]


def test_a_request_counts_as_decided_once_its_change_is(books: Books) -> None:
    change = uuid4()
    requests = [books.request(origin(n)) for n in range(6)]
    books.report(origin(0), shown(change, NOON, request_id=str(requests[0])))
    (hour,) = books.roll().hours
    assert [(r.requests, r.requests_expected, r.requests_decided) for r in hour.rows] == [(6, 6, 0)]
    books.report(origin(0), decided(change, "rejected", TODAY + timedelta(minutes=1)))
    (hour,) = books.roll().hours
    assert [(r.requests, r.requests_expected, r.requests_decided) for r in hour.rows] == [(6, 6, 1)]


def test_what_leaves_is_folded_and_adds_up_to_what_stays(books: Books) -> None:
    for person in range(6):
        ide = "vim" if person < 2 else "vscode"
        books.report(origin(person), *(shown(at=NOON, ide=ide) for _ in range(person + 1)))
    (day,) = [d for d in books.roll().days if d.day == DAY]
    assert [(r.ide, r.changes_shown) for r in day.rows] == [("(suppressed)", 21)]
    assert books.day("ide", "changes_shown") == [("vim", 3), ("vscode", 18)]


def test_a_person_of_two_groups_counts_once_in_the_whole(books: Books) -> None:
    for person in range(8):
        books.report(origin(person), shown(at=NOON))
    for person in range(2, 8):
        books.report(origin(person, "platform"), shown(at=NOON))
    books.request(origin(0))
    (day,) = [d for d in books.roll().days if d.day == DAY]
    active = {p.group_id: p.active for p in day.people if p.window_days == 1}
    assert active == {None: 8, "payments-engineers": 8, "platform": 6}
    whole = next(p for p in day.people if p.group_id is None)
    # One person with a request is too few to be told.
    assert (whole.with_requests, whole.with_events) == (None, None)


def test_people_are_counted_over_windows_and_not_added_up(books: Books) -> None:
    for person in range(5):
        books.report(origin(person), shown(at=NOON))
        books.report(origin(person), shown(at=NOON - timedelta(days=1)))
    books.report(origin(5), shown(at=NOON - timedelta(days=1)))
    days = {d.day: d for d in books.roll().days}
    today = {p.window_days: p.active for p in days[TODAY.date()].people if p.group_id is None}
    yesterday = {p.window_days: p.active for p in days[DAY].people if p.group_id is None}
    # Nobody was there today, but the windows that end today have people.
    assert today == {7: 6, 28: 6}
    assert yesterday == {1: 5, 7: 6, 28: 6}


def test_made_up_people_stand_in_rows_of_their_own(books: Books) -> None:
    for person in range(6):
        books.report(origin(person), shown(at=NOON))
        books.report(origin(100 + person, synthetic=True), shown(at=NOON), shown(at=NOON))
    (day,) = [d for d in books.roll().days if d.day == DAY]
    assert sorted((r.synthetic, r.changes_shown) for r in day.rows) == [(False, 6), (True, 12)]
    whole = [p for p in day.people if p.group_id is None and p.window_days == 1]
    assert sorted((p.synthetic, p.active) for p in whole) == [(False, 6), (True, 6)]


def test_a_day_becomes_final_and_raw_events_and_people_go_in_time(books: Books) -> None:
    books.report(origin(), shown(at=NOON))
    assert not any(d.is_final for d in books.roll().days)
    later = TODAY + timedelta(days=3, minutes=1)
    (day,) = [d for d in books.roll(later).days if d.day == DAY]
    assert day.is_final
    books.run(lambda pool: delete_old(pool, TODAY + timedelta(days=31), 30))
    books.roll(TODAY + timedelta(days=31))
    with psycopg.connect(books.url) as connection:
        assert connection.execute("SELECT count(*) FROM change_event").fetchone() == (0,)
        assert connection.execute("SELECT count(*) FROM user_daily").fetchone() == (1,)
    assert books.day("changes_shown") == [(1,)]
    books.run(lambda pool: delete_old(pool, TODAY + timedelta(days=92), 30))
    with psycopg.connect(books.url) as connection:
        assert connection.execute("SELECT count(*) FROM user_daily").fetchone() == (0,)


def test_what_is_final_stays_as_it_is(books: Books) -> None:
    change, moment = uuid4(), NOON - timedelta(days=4)
    books.report(origin(), shown(change, moment))
    (first,) = [d for d in books.roll().days if d.day == moment.date()]
    assert first.is_final
    books.report(origin(), decided(change, "accepted", TODAY + timedelta(minutes=1)))
    (again,) = [d for d in books.roll().days if d.day == moment.date()]
    assert again == first


def test_a_day_without_statistics_is_not_joined_in_quadratic_time(books: Books) -> None:
    changes = [uuid4() for _ in range(200)]
    books.report(origin(), *(shown(change, NOON) for change in changes))
    books.report(origin(), *(decided(change, "accepted", NOON) for change in changes))
    given = {
        "start": NOON.replace(hour=0),
        "hour": NOON,
        "offered": ["cli"],
        "shown_ms": 750,
    }

    async def plans(pool: Pool) -> list[str]:
        async with pool.connection() as connection:
            await plan_for_many(connection)
            lines: list[str] = []
            for query in (days._AGGREGATE, hours._AGGREGATE):
                rows = await connection.execute(f"EXPLAIN {query}", given)
                lines += [str(line) for (line,) in await rows.fetchall()]
            return lines

    found = books.run(plans)
    assert any("Hash" in line or "Merge" in line for line in found)
    assert not [line for line in found if "Nested Loop" in line]
