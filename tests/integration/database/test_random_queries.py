"""Whatever a caller asks of the database, it neither shows nor changes a row of another tenant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from controlplane.core.db import Scope
from controlplane.core.ids import new_id
from tests.integration.database.random_queries import (
    TENANT_TABLES,
    Connection,
    Place,
    Query,
    has_boundary,
    queries,
    run,
    shown,
)
from tests.integration.database.rows import insert_row
from tests.postgres import DatabaseUrls

EXAMPLES = 1000


@dataclass(frozen=True)
class World:
    """Two organizations with two boundaries each and a row in every tenant table of each."""

    places: tuple[Place, ...]
    connection: Connection


@pytest.fixture(scope="module")
def world(migrated_database: DatabaseUrls) -> Iterator[World]:
    """The world, filled once: every statement is rolled back."""
    organizations = [new_id(), new_id()]
    places = tuple(Place(o, new_id()) for o in organizations for _ in range(2))
    with psycopg.connect(migrated_database.admin) as connection:
        for organization in organizations:
            connection.execute(
                "INSERT INTO organization (id, name, display_name, document, document_digest)"
                " VALUES (%s, %s, '', '{}', '')",
                (organization, str(organization)),
            )
        for place in places:
            connection.execute(
                "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
                " blueprint_version, inputs) VALUES (%s, %s, %s, '', '{}', '', '', '{}')",
                (place.organization_id, place.boundary_id, str(place.boundary_id)),
            )
    for table in TENANT_TABLES.values():
        for place in places if table.info["tenancy"] != "organization" else places[::2]:
            insert_row(migrated_database, table, place.organization_id, place.boundary_id)
    with psycopg.connect(migrated_database.admin) as opened:
        yield World(places, opened)
        opened.rollback()
    migrated_database.empty()


def test_no_query_of_any_caller_shows_or_changes_a_row_of_others(world: World) -> None:
    seen: Counter[str] = Counter()

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )
    @given(st.data())
    def ask(data: st.DataObject) -> None:
        query = data.draw(queries(world.places))
        outcome = run(world.connection, query)
        text = query.statement.as_string(world.connection)
        assert not outcome.violations, f"{query.role} in {query.scope}: {text}"
        seen["examples"] += 1
        seen["refused" if outcome.is_refused else f"{query.kind} ran"] += 1
        if outcome.rows:
            seen[f"{query.kind} with rows"] += 1

    ask()
    assert seen["examples"] >= 300
    # Statements that all fail or find nothing would prove nothing.
    for kind in ("select", "update", "delete"):
        assert seen[f"{kind} with rows"] >= 5, dict(seen)
    print(dict(seen))
    assert seen["refused"] < seen["examples"] * 0.8, dict(seen)


@pytest.mark.parametrize("table", ["install", "role_assignment", "audit_event"])
def test_the_check_sees_a_policy_that_lets_rows_through(table: str, world: World) -> None:
    mine = world.places[0]
    query = Query(
        "select",
        table,
        "ringfence_api",
        Scope.boundary(mine.organization_id, mine.boundary_id),
        psycopg.sql.SQL("SELECT {} FROM {}").format(shown(table), psycopg.sql.Identifier(table)),
    )
    world.connection.execute(f"ALTER POLICY tenant ON {table} USING (true)")
    assert run(world.connection, query).violations
    assert not run(world.connection, query).violations


def test_every_tenant_table_is_asked() -> None:
    assert len(TENANT_TABLES) >= 28
    assert sum(has_boundary(table) for table in TENANT_TABLES.values()) >= 20
