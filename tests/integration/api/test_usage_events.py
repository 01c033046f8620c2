"""Single events at the control plane: once, in order, for few, only while the customer says so."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
import pytest

from controlplane.core.actor import OpContext, system_actor
from controlplane.core.db import Database, Scope
from controlplane.domains.usage.events import KEEP, record_events
from controlplane.reconcilers.usage_events import UsageEventKeeper
from controlplane.tables.agents import Agent
from controlplane.tables.usage import UsageEventRow
from tests.integration.api.agents import AgentClient, Boundary
from tests.integration.api.conftest import PersonOf
from tests.integration.usage_pages import SINCE, page, page_of, request_event, shown_event
from tests.postgres import DatabaseUrls
from wire.usage import EventPush, Export, RollupPush

ROUTE = "/v1/boundaries/payments/usage/events"


def push(agent: AgentClient, message: EventPush) -> Any:
    """Push as the agent does."""
    return agent.call("POST", "/agent/v1/usage-events", message.to_wire())


def read(acme: PersonOf, query: str = "", person: str = "omar") -> Any:
    """Read as the auditor does."""
    answer = acme(person).get(f"{ROUTE}{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()


def audited(urls: DatabaseUrls, code: str) -> list[dict[str, Any]]:
    with psycopg.connect(urls.admin) as connection:
        rows = connection.execute(
            "SELECT detail FROM audit_event WHERE code = %s ORDER BY seq", (code,)
        ).fetchall()
    return [row[0] for row in rows]


def stored(urls: DatabaseUrls) -> int:
    with psycopg.connect(urls.admin) as connection:
        ((number,),) = connection.execute("SELECT count(*) FROM usage_event").fetchall()
    return int(number)


@pytest.fixture
def keeper(database: DatabaseUrls) -> Any:
    """The scheduler's loop that deletes events, with parts so small that there are several."""
    opened = Database.connect(database.scheduler, pool_size=1)
    yield UsageEventKeeper(opened, part=2)
    opened.close()


def test_events_are_shown_as_they_came_once_and_in_the_order_of_arrival(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    first, second = page_of(str(boundary.boundary_id), 2), page_of(str(boundary.boundary_id), 1)
    for message in (first, first, second, first):
        assert push(agent, message).status_code == 204
    shown = read(acme)
    sent = [*first.events, *second.events]
    assert [each["event"] for each in shown["events"]] == [e.model_dump(mode="json") for e in sent]
    positions = [each["position"] for each in shown["events"]]
    assert positions == sorted(set(positions))
    assert (shown["export"], shown["kept_days"], shown["more"]) == ("events", 30, False)
    assert datetime.fromisoformat(shown["since"]) == SINCE
    # Page by page it is the same; a follower gets what arrives later, and nothing twice.
    part = read(acme, "?limit=4")
    assert (part["events"], part["more"]) == (shown["events"][:4], True)
    rest = read(acme, f"?limit=4&after={part['next_after']}")
    assert (rest["events"], rest["more"]) == (shown["events"][4:], False)
    late = shown_event(str(boundary.boundary_id), time=SINCE)
    assert push(agent, page(late)).status_code == 204
    (new,) = read(acme, f"?after={rest['next_after']}")["events"]
    assert new["event"]["id"] == str(late.id)
    nothing = read(acme, f"?after={new['position']}")
    assert (nothing["events"], nothing["next_after"]) == ([], new["position"])


def test_the_summary_says_events_and_counts_go_on_beside_them(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    def word() -> str:
        found: str = acme("max").get("/v1/boundaries/payments/usage/summary").json()["export"]
        return found

    def roll_up(export: Export) -> None:
        document = RollupPush(export=export, sequence=1).to_wire()
        assert agent.call("POST", "/agent/v1/usage", document).status_code == 204

    assert word() == "unknown"
    push(agent, page_of(str(boundary.boundary_id)))
    roll_up(Export.AGGREGATE)
    assert word() == "events"
    push(agent, EventPush(export=Export.AGGREGATE))
    assert word() == "aggregate"
    push(agent, page_of(str(boundary.boundary_id)))
    # Whichever message says first that nothing leaves.
    roll_up(Export.NONE)
    assert (word(), read(acme)["events"]) == ("none", [])


def test_readers_are_the_boundarys_administrators_and_auditors_and_each_reading_is_recorded(
    agent: AgentClient, boundary: Boundary, acme: PersonOf, database: DatabaseUrls
) -> None:
    push(agent, page_of(str(boundary.boundary_id), 2))
    for person in ("pia", "sam", "max", "ana"):
        answer = acme(person).get(ROUTE)
        assert answer.status_code == 403, person
        assert "0000" not in answer.text
    assert audited(database, "usage.events-read") == []
    read(acme, "?limit=3", "omar")
    read(acme, "", "bea")
    assert audited(database, "usage.events-read") == [
        {"after": 0, "limit": 3, "events": 3},
        {"after": 0, "limit": 200, "events": 4},
    ]


def test_the_administrator_of_another_boundary_learns_nothing(
    agent: AgentClient, boundary: Boundary, acme: PersonOf, database: DatabaseUrls
) -> None:
    push(agent, page_of(str(boundary.boundary_id)))
    for name in ("payments", str(boundary.boundary_id)):
        there = acme("ren").get(f"/v1/boundaries/{name}/usage/events")
        nowhere = acme("ren").get("/v1/boundaries/nowhere/usage/events")
        assert there.status_code == nowhere.status_code
        assert there.json()["error"]["code"] == nowhere.json()["error"]["code"]
    own = acme("ren").get("/v1/boundaries/research/usage/events").json()
    assert (own["events"], own["export"], own["since"]) == ([], "unknown", None)
    with psycopg.connect(database.admin) as connection:
        chains = connection.execute(
            "SELECT DISTINCT boundary_id FROM audit_event WHERE code LIKE 'usage.%%'"
        ).fetchall()
    research = UUID(acme("omar").get("/v1/boundaries/research").json()["id"])
    assert {row[0] for row in chains} == {boundary.boundary_id, research}


def test_an_agent_pushes_no_event_of_another_boundary(
    agent: AgentClient, boundary: Boundary, acme: PersonOf, database: DatabaseUrls
) -> None:
    research = acme("omar").get("/v1/boundaries/research").json()["id"]
    own = shown_event(str(boundary.boundary_id))
    for foreign in (shown_event(research), request_event(research)):
        assert push(agent, page(own, foreign)).status_code == 403
    mixed = shown_event(str(boundary.boundary_id)).model_dump(mode="json")
    mixed["source"] = f"/boundaries/{research}/gateway"
    document = page(own).to_wire()
    document["events"].append(mixed)
    assert agent.call("POST", "/agent/v1/usage-events", document).status_code == 400
    assert stored(database) == 0
    assert audited(database, "usage.export-changed") == []


def test_nobody_takes_another_ones_id(
    agent: AgentClient, boundary: Boundary, acme: PersonOf
) -> None:
    place = str(boundary.boundary_id)
    name = shown_event(place).id
    push(agent, page(shown_event(place, 1, id=name), shown_event(place, 2, id=name)))
    push(agent, page(shown_event(place, 1, id=name)))
    subjects = [each["event"]["subject"][-1] for each in read(acme)["events"]]
    assert subjects == ["1", "2"]


def test_beginning_and_ending_are_recorded_and_what_was_taken_back_is_gone(
    agent: AgentClient,
    boundary: Boundary,
    acme: PersonOf,
    database: DatabaseUrls,
    keeper: UsageEventKeeper,
) -> None:
    place = str(boundary.boundary_id)
    push(agent, page_of(place, 3))
    assert keeper.activate() == {"deleted": 0}
    push(agent, EventPush(export=Export.AGGREGATE))
    # Shown no more at once, and deleted soon after.
    shut = read(acme)
    assert (shut["export"], shut["events"], shut["since"]) == ("aggregate", [], None)
    assert stored(database) == 6
    again = SINCE + timedelta(minutes=30)
    event = shown_event(place, time=again)
    push(agent, page(event, since=again))
    # Coming back does not bring back what had been taken back, deleted or not.
    assert [each["event"]["id"] for each in read(acme)["events"]] == [str(event.id)]
    assert keeper.activate() == {"deleted": 6}
    assert [each["event"]["id"] for each in read(acme)["events"]] == [str(event.id)]
    assert audited(database, "usage.export-changed") == [
        {"export": "events", "since": SINCE.isoformat()},
        {"export": "aggregate", "since": None},
        {"export": "events", "since": again.isoformat()},
    ]


def test_an_event_is_kept_for_thirty_days_and_one_that_comes_later_not_at_all(
    agent: AgentClient,
    boundary: Boundary,
    acme: PersonOf,
    database: DatabaseUrls,
    keeper: UsageEventKeeper,
) -> None:
    place, now = str(boundary.boundary_id), datetime.now(UTC)
    since = now - timedelta(days=60)
    old, young = now - KEEP - timedelta(minutes=1), now - KEEP + timedelta(hours=1)
    push(agent, page(*(shown_event(place, time=t) for t in (old, young, young)), since=since))
    assert len(read(acme)["events"]) == 2
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE usage_event SET occurred_at = occurred_at - interval '2 hours'"
            " WHERE position = (SELECT min(position) FROM usage_event)"
        )
    assert keeper.activate() == {"deleted": 1}
    assert len(read(acme)["events"]) == 1


def test_only_the_keeper_deletes_over_boundaries_and_the_other_processes_see_no_event(
    agent: AgentClient, boundary: Boundary, database: DatabaseUrls
) -> None:
    push(agent, page_of(str(boundary.boundary_id)))
    statements = (
        (database.api, "SELECT forget_usage_events(now(), 1)"),
        (database.api, "DELETE FROM usage_event"),
        (database.worker, "SELECT 1 FROM usage_event"),
        (database.scheduler, "SELECT 1 FROM usage_event"),
    )
    for url, statement in statements:
        with (
            psycopg.connect(url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute(statement)


def test_positions_are_read_in_order_while_pages_arrive_at_once(
    agent: AgentClient, boundary: Boundary, acme: PersonOf, api_database: Database
) -> None:
    """Two connections push pages of one boundary: one waits, so that no position comes late."""
    place = str(boundary.boundary_id)
    pages = [page(*(shown_event(place, n) for _ in range(5))) for n in range(12)]
    context = OpContext(system_actor("agent"), "test", boundary.scope)
    with api_database.transaction(boundary.scope) as session:
        row = session.query(Agent).one()

    def store(message: EventPush) -> int:
        with api_database.transaction(boundary.scope) as session:
            return record_events(session, context, row, message)

    seen: list[int] = []
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(store, message) for message in pages]
        while not all(future.done() for future in futures):
            found = read(acme, f"?after={seen[-1] if seen else 0}&limit=1000")
            seen += [each["position"] for each in found["events"]]
        assert [future.result() for future in futures] == [5] * 12
    found = read(acme, f"?after={seen[-1] if seen else 0}&limit=1000")
    seen += [each["position"] for each in found["events"]]
    assert seen == list(range(1, 61))


@pytest.mark.parametrize(
    "spoil",
    [
        {"version": 2},
        {"export": "aggregate"},
        {"since": None},
        {"since": "0001-01-01T00:00:00+00:00"},
        {"since": "2999-01-01T00:00:00Z"},
        {"cursor": "7"},
        {"note": "CANARY7f3a"},
    ],
    ids=lambda spoil: next(iter(spoil)),
)
def test_a_page_that_says_too_much_or_too_little_is_refused_and_not_stored(
    spoil: dict[str, Any], agent: AgentClient, boundary: Boundary, database: DatabaseUrls
) -> None:
    document = {**page_of(str(boundary.boundary_id)).to_wire(), **spoil}
    answer = agent.call("POST", "/agent/v1/usage-events", document)
    assert answer.status_code == 400, answer.text
    assert "CANARY" not in answer.text
    assert stored(database) == 0


def test_no_canary_in_any_field_is_stored_shown_or_repeated(
    agent: AgentClient, boundary: Boundary, acme: PersonOf, database: DatabaseUrls
) -> None:
    valid = page_of(str(boundary.boundary_id)).to_wire()
    canary, tried = "return CANARY7f3a(x)  # src/a.py", 0
    for number, event in enumerate(valid["events"]):
        places: list[tuple[dict[str, Any], str]] = [
            *((event, name) for name in (*event, "note")),
            *((event["data"], name) for name in (*event["data"], "prompt")),
        ]
        for owner, name in places:
            missing = name not in owner
            kept = owner.get(name)
            owner[name] = canary
            answer = agent.call("POST", "/agent/v1/usage-events", valid)
            assert answer.status_code == 400, (number, name)
            assert "CANARY" not in answer.text
            tried += 1
            if missing:
                del owner[name]
            else:
                owner[name] = kept
    assert tried > 50
    assert agent.call("POST", "/agent/v1/usage-events", valid).status_code == 204
    assert "CANARY" not in json.dumps(read(acme))
    with psycopg.connect(database.admin) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (table,) in tables:
            rows = connection.execute(f'SELECT t::text FROM "{table}" AS t').fetchall()
            assert "CANARY" not in str(rows), table
    assert stored(database) == 2


def test_a_boundary_without_a_word_has_an_empty_page(acme: PersonOf) -> None:
    shown = read(acme)
    assert (shown["export"], shown["events"], shown["next_after"]) == ("unknown", [], 0)


def test_scopes_of_other_boundaries_see_no_row(
    agent: AgentClient, boundary: Boundary, acme: PersonOf, api_database: Database
) -> None:
    push(agent, page_of(str(boundary.boundary_id)))
    research = UUID(acme("omar").get("/v1/boundaries/research").json()["id"])
    counts = []
    for place in (boundary.boundary_id, research):
        with api_database.transaction(Scope.boundary(boundary.organization_id, place)) as session:
            counts.append(session.query(UsageEventRow).count())
    assert counts == [2, 0]
