"""The whole way of an event: a real gateway, the agent's carrier, the real control plane."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
import pytest

from agent.control_plane import ControlPlaneError
from agent.events import EventCarrier
from agent.identity import Volume
from tests.gateway.api_server import ApiServer
from tests.gateway.parts import Boundary as GatewayBoundary
from tests.gateway.parts import until
from tests.gateway.reporter import Reporter
from tests.gateway.reports import one_of_each, shown
from tests.integration.api.agents import AgentClient, Boundary
from tests.integration.api.conftest import PersonOf
from tests.postgres import DatabaseUrls, PostgresServer
from wire.usage import EventPush

NEEDLE = "CANARY7f3a"


class DiedError(Exception):
    """The agent dies at this moment."""


class SignedClient:
    """The agent's side of the control plane, over the test's own connection."""

    def __init__(self, agent: AgentClient, boundary_id: str) -> None:
        self._agent = agent
        self._boundary_id = boundary_id
        self.die_after_commit = False
        self.pushed = 0

    async def push_events(self, push: EventPush) -> None:
        """Push a page, signed; die when the control plane has committed it, if told so."""
        document = json.loads(json.dumps(push.to_wire()).replace("b-payments", self._boundary_id))
        answer = await asyncio.to_thread(
            self._agent.call, "POST", "/agent/v1/usage-events", document
        )
        if answer.status_code >= 400:
            raise ControlPlaneError(answer.status_code, answer.text)
        self.pushed += 1
        if self.die_after_commit:
            raise DiedError


@pytest.fixture
def reporter(tmp_path: Path, postgres: PostgresServer) -> Iterator[Reporter]:
    """A gateway with clients, whose customer lets events out."""
    database = postgres.url("postgres", postgres.create_database("postgres"))
    boundary = GatewayBoundary(tmp_path, ApiServer(tmp_path / "api"), database)
    made = Reporter(boundary)
    made.let_out("events")
    yield made
    boundary.close()


@pytest.fixture
def signed(agent: AgentClient, boundary: Boundary) -> SignedClient:
    """The way to the control plane."""
    return SignedClient(agent, str(boundary.boundary_id))


@pytest.fixture
def carry(reporter: Reporter, signed: SignedClient, tmp_path: Path) -> Callable[[], None]:
    """Let a newly started agent carry what is waiting."""
    token = tmp_path / "token"
    token.write_text("agent-token")

    async def once() -> None:
        volume = Volume(tmp_path / "volume")
        url = reporter.boundary.internal_url
        carrier = EventCarrier(url, token, signed, volume)  # type: ignore[arg-type]  # one method
        try:
            await carrier.run_once()
        finally:
            await carrier.close()

    return lambda: asyncio.run(once())


def arrived(acme: PersonOf) -> Any:
    answer = acme("bea").get("/v1/boundaries/payments/usage/events?limit=1000")
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_every_event_arrives_once_though_the_agent_dies_after_each_commit(
    reporter: Reporter,
    signed: SignedClient,
    carry: Callable[[], None],
    acme: PersonOf,
) -> None:
    sent = []
    for _ in range(3):
        batch = one_of_each()
        reporter.send(batch)
        sent += [event["id"] for event in batch]
        signed.die_after_commit = True
        for _ in range(2):
            with pytest.raises(DiedError):
                carry()
        reporter.boundary.kill()
        reporter.boundary.start(GATEWAY_USAGE_POLICY_DIR=str(reporter.policy))
        signed.die_after_commit = False
        carry()
    page = arrived(acme)
    ids = [each["event"]["id"] for each in page["events"]]
    assert sorted(ids) == sorted(sent)
    assert signed.pushed > 6
    # In the order in which the boundary stored them.
    assert [ids.index(each) // 6 for each in sent] == [n // 6 for n in range(18)]


def test_the_customers_word_ends_it_outside_too(
    reporter: Reporter, carry: Callable[[], None], acme: PersonOf
) -> None:
    reporter.send([shown()])
    carry()
    assert len(arrived(acme)["events"]) == 1
    reporter.let_out("none")
    reporter.send([shown()])
    carry()
    shut = arrived(acme)
    assert (shut["export"], shut["events"], shut["since"]) == ("none", [], None)
    reporter.let_out("events")
    event = shown()
    reporter.send([event])
    carry()
    again = arrived(acme)
    assert [each["event"]["id"] for each in again["events"]] == [event["id"]]
    assert datetime.fromisoformat(again["since"]) < datetime.now(UTC)


def test_no_canary_of_a_client_and_no_name_of_a_person_arrives(
    reporter: Reporter, carry: Callable[[], None], acme: PersonOf, database: DatabaseUrls
) -> None:
    kept = one_of_each()
    spoiled = []
    for event in one_of_each():
        for owner in (event, event["data"]):
            for name in (*owner, "note"):
                whole = json.loads(json.dumps(event))
                target = whole if owner is event else whole["data"]
                target[name] = NEEDLE
                spoiled.append(whole)
    headers = {"User-Agent": NEEDLE, "X-Ringfence-Ide": NEEDLE, "X-Request-Id": NEEDLE}
    answer = reporter.send([*kept, *spoiled], **headers)
    assert answer.status_code == 422
    stored = reporter.count()
    assert answer.json()["accepted"] == stored >= len(kept)
    until(lambda: reporter.count("export_waiting") == stored)
    carry()
    assert len(arrived(acme)["events"]) == stored
    with psycopg.connect(database.admin) as connection:
        tables = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        texts = {
            table: str(connection.execute(f'SELECT t::text FROM "{table}" AS t').fetchall())
            for (table,) in tables
        }
    assert "change.shown.v1" in texts["usage_event"]
    for table, text in texts.items():
        assert NEEDLE.lower() not in text.lower(), table
    # The person whose key it was is known to the control plane, but not from an event.
    assert "pia@acme.test" not in texts["usage_event"]
