"""Content cannot get in: canaries in every field, header and nested place are found nowhere."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg import sql

from tests.gateway.api_server import ApiServer
from tests.gateway.parts import Boundary, until
from tests.gateway.reporter import Reporter
from tests.gateway.reports import one_of_each
from tests.postgres import PostgresServer

CANARIES = ("CANARY7f3a", "canary7f3a", "return canary7f3a(x)  # src/Canary7f3a.py")
"""Plain enough to fit the patterns of a name, and as code with a path."""
NEEDLE = "canary7f3a"


@pytest.fixture(scope="module")
def open_boundary(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer
) -> Iterator[Reporter]:
    """A boundary in which also made-up people may report, and every event may leave."""
    folder = tmp_path_factory.mktemp("content")
    database = postgres.url("postgres", postgres.create_database("postgres"))
    boundary = Boundary(folder, ApiServer(folder / "api"), database)
    reporter = Reporter(boundary)
    (reporter.policy / "synthetic-groups").write_text("payments-engineers")
    reporter.let_out("events")
    yield reporter
    boundary.close()


def paths(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of every value in a document, the document itself included."""
    yield at
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from paths(inner, (*at, name))


@st.composite
def spoiled(draw: st.DrawFn) -> list[Any]:
    """Return a batch in which something has become, or got, a canary."""
    batch: list[Any] = one_of_each()
    index = draw(st.integers(0, len(batch) - 1))
    canary: Any = draw(st.sampled_from(CANARIES))
    for _ in range(draw(st.integers(0, 2))):
        canary = draw(st.sampled_from(({"x": canary}, [canary], {str(canary): 1})))
    path = draw(st.sampled_from(list(paths(batch[index]))))
    how = draw(st.sampled_from(("replace", "add", "name", "repeat")))
    event = copy.deepcopy(batch[index])
    if not path:
        event = canary if how == "replace" else {**event, "x": canary, str(canary): 1}
    else:
        parent = event
        for step in path[:-1]:
            parent = parent[step]
        value = parent[path[-1]]
        if how == "replace":
            parent[path[-1]] = canary
        elif how == "add":
            parent["note"] = canary
        elif how == "name":
            parent[str(canary)] = value
        else:
            parent[path[-1]] = f"{value}{canary}"
    batch[index] = event
    return batch


def everything_stored(reporter: Reporter) -> str:
    """Return every row of every table of the boundary's database, as text."""
    with psycopg.connect(reporter.boundary.database) as connection:
        tables = connection.execute(
            "SELECT schemaname, tablename FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert ("public", "usage_bucket") in tables
        return "\n".join(
            str(
                connection.execute(
                    sql.SQL("SELECT t::text FROM {}.{} AS t").format(*map(sql.Identifier, name))
                ).fetchall()
            )
            for name in tables
        )


def test_no_canary_reaches_the_database_a_spool_a_log_or_what_leaves(
    open_boundary: Reporter,
) -> None:
    sent: list[int] = []

    @settings(
        max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(spoiled(), st.sampled_from(CANARIES[:2]), st.booleans())
    def send(batch: list[Any], canary: str, made_up: bool) -> None:
        headers = {
            "User-Agent": f"ringfence-usage/{canary}",
            "Content-Type": f"application/{canary}",
            "X-Request-Id": canary,
            "X-Ringfence-Ide": canary,
            "X-Ringfence-Feature": canary,
            "X-Ringfence-Language": canary,
            canary: canary,
        }
        person = canary if made_up else None
        answer = open_boundary.send(batch, person, **headers)
        sent.append(answer.status_code)
        if person is not None:
            assert answer.status_code == 400
            open_boundary.send(batch, 7, **headers)

    send()
    assert sent.count(422) > 50
    stored = open_boundary.count()
    assert stored > 500
    assert open_boundary.boundary.rows("SELECT sum(events) > 50 FROM usage_rejected") == [(True,)]
    until(lambda: any(day.events_rejected > 50 for day in open_boundary.leaves().days))
    leaving = json.dumps(open_boundary.leaves().to_wire())
    pages = [open_boundary.page()]
    while pages[-1].events:
        pages.append(open_boundary.page(pages[-1].cursor))
    events = json.dumps([page.to_wire() for page in pages])
    # Each of the thousands that were stored leaves: what is searched below is not an empty page.
    assert sum(len(page.events) for page in pages) == stored
    database = everything_stored(open_boundary)
    assert database.count("vscode") >= stored
    open_boundary.boundary.stop()
    folder = open_boundary.boundary.folder
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert open_boundary.boundary.log in files
    texts = {str(path): path.read_bytes().decode(errors="replace") for path in files}
    for name, text in {
        **texts,
        "database": database,
        "what leaves": leaving,
        "events": events,
    }.items():
        assert NEEDLE not in text.lower(), name
        assert name.endswith(("database-url", "database")) or "pia@acme.test" not in text
