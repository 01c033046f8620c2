"""`ringfence usage events`: rows for those who may, and one clear line where there are none."""

from __future__ import annotations

import json

import psycopg
from psycopg.types.json import Jsonb

from ringfence.cli.output import Exit
from tests.cli.conftest import Cli
from tests.integration.usage_pages import SINCE, page_of
from tests.postgres import DatabaseUrls

AS_BEA = ("--as", "bea@acme.test")


def fill(urls: DatabaseUrls) -> list[str]:
    """Put four events of boundary payments into the database, as an agent's push does."""
    with psycopg.connect(urls.admin) as connection:
        ((organization, boundary),) = connection.execute(
            "SELECT organization_id, id FROM boundary WHERE name = 'payments'"
        ).fetchall()
        connection.execute(
            "INSERT INTO usage_export (organization_id, boundary_id, id, export, events_since,"
            " last_position, reported_at) VALUES (%s, %s, %s, 'aggregate', %s, 4, now())",
            (organization, boundary, boundary, SINCE),
        )
        events = page_of(str(boundary), 2).events
        for position, event in enumerate(events, 1):
            connection.execute(
                "INSERT INTO usage_event (organization_id, boundary_id, id, subject, position,"
                " occurred_at, event) VALUES (%s, %s, %s, %s, %s, %s, %s)",
                (
                    *(organization, boundary, event.id, event.subject, position, event.time),
                    Jsonb(event.model_dump(mode="json")),
                ),
            )
    return [str(event.id) for event in events]


def test_a_boundary_without_events_says_whose_choice_that_is(acme: Cli) -> None:
    ran = acme("usage", "events", "payments", *AS_BEA)
    assert (ran.code, ran.out) == (0, "")
    assert "export unknown: no events leave this boundary" in ran.err
    assert "usage-policy" in ran.err


def test_events_are_listed_page_by_page(acme: Cli, cli_database: DatabaseUrls) -> None:
    ids = fill(cli_database)
    ran = acme("usage", "events", "payments", "--limit", "3", *AS_BEA)
    lines = ran.out.splitlines()
    assert lines[0].split()[:4] == ["POSITION", "AT", "TYPE", "GROUP"]
    assert [line.split()[0] for line in lines[1:]] == ["1", "2", "3"]
    assert "usage.request.completed.v1" in lines[1]
    assert f"payments-engineers  {0:064x}" in lines[2]
    assert ran.err == "there is more: add --after 3\n"
    rest = acme("usage", "events", "payments", "--after", "3", "--json", *AS_BEA)
    document = json.loads(rest.out)
    assert [each["event"]["id"] for each in document["events"]] == ids[3:]
    assert (document["export"], document["more"]) == ("events", False)
    assert "no events after 4" in acme("usage", "events", "payments", "--after", "4", *AS_BEA).err


def test_who_may_not_read_them_gets_none(acme: Cli, cli_database: DatabaseUrls) -> None:
    fill(cli_database)
    for person, code in (
        ("pia@acme.test", Exit.FORBIDDEN),
        ("sam@acme.test", Exit.FORBIDDEN),
        ("ren@acme.test", Exit.USAGE),
    ):
        ran = acme("usage", "events", "payments", "--as", person)
        assert (ran.code, ran.out) == (code, ""), person
