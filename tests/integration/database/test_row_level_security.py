"""The second wall: PostgreSQL itself keeps boundaries apart, whatever the code above forgets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, ProgrammingError

from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from tests.integration.database.rows import boundary_tables, insert_row
from tests.postgres import DatabaseUrls

CHAIN_TABLES = ("audit_event", "audit_checkpoint", "audit_subtree")
ROLES = ("ringfence_api", "ringfence_worker", "ringfence_scheduler")
NOT_EVEN_OWN_ROWS = {
    ("ringfence_worker", "usage_event"),
    ("ringfence_scheduler", "usage_event"),
}
"""Rows about people that a process has no use for: it may not read them in any scope."""


@dataclass(frozen=True)
class Tenants:
    """Two boundaries of one organization and one of another, each with a row in every table."""

    payments: Scope
    research: Scope
    elsewhere: Scope

    def pairs(self) -> list[tuple[Scope, Scope]]:
        """Return (mine, other) for every ordered pair."""
        scopes = (self.payments, self.research, self.elsewhere)
        return [(mine, other) for mine in scopes for other in scopes if mine is not other]


def boundary_of(scope: Scope) -> UUID:
    """Return the one boundary of a scope."""
    assert scope.boundary_ids is not None
    (found,) = scope.boundary_ids
    return found


@pytest.fixture
def tenants(database: DatabaseUrls) -> Tenants:
    """Two organizations with three boundaries and a row in every boundary table of each."""
    acme, globex = new_id(), new_id()
    places = {"payments": (acme, new_id()), "research": (acme, new_id())}
    places["elsewhere"] = (globex, new_id())
    with psycopg.connect(database.admin) as connection:
        for name, organization in (("acme", acme), ("globex", globex)):
            connection.execute(
                "INSERT INTO organization (id, name, display_name, document, document_digest)"
                " VALUES (%s, %s, '', '{}', '')",
                (organization, name),
            )
        for name, (organization, boundary) in places.items():
            connection.execute(
                "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
                " blueprint_version, inputs) VALUES (%s, %s, %s, '', '{}', '', '', '{}')",
                (organization, boundary, name),
            )
    for organization, boundary in places.values():
        for table in boundary_tables():
            insert_row(database, table, organization, boundary)
    return Tenants(**{name: Scope.boundary(*place) for name, place in places.items()})


@pytest.fixture
def api(database: DatabaseUrls) -> Iterator[Database]:
    """The database as the API's role sees it."""
    opened = Database.connect(database.api, pool_size=2)
    yield opened
    opened.close()


def test_every_table_has_forced_row_level_security_and_a_policy(database: DatabaseUrls) -> None:
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT c.relname, c.relrowsecurity, c.relforcerowsecurity,"
            " (SELECT count(*) FROM pg_policy p WHERE p.polrelid = c.oid)"
            " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace"
            " WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p')"
            " AND c.relname <> 'alembic_version'"
        ).fetchall()
    assert len(found) >= 35
    assert [row for row in found if not (row[1] and row[2] and row[3])] == []


def test_every_foreign_key_between_boundary_tables_carries_the_boundary(
    database: DatabaseUrls,
) -> None:
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            """
            WITH tenant AS (
              SELECT attrelid AS id FROM pg_attribute
              WHERE attname = 'boundary_id' AND NOT attisdropped
            )
            SELECT k.conrelid::regclass::text, k.conname,
              (SELECT array_agg(a.attname ORDER BY u.n) FROM unnest(k.conkey)
               WITH ORDINALITY u(c, n) JOIN pg_attribute a
               ON a.attrelid = k.conrelid AND a.attnum = u.c)::text[]
            FROM pg_constraint k
            WHERE k.contype = 'f' AND k.conrelid IN (SELECT id FROM tenant)
              AND k.confrelid IN (SELECT id FROM tenant)
            """
        ).fetchall()
    assert len(found) > 15
    # The chain's key is the boundary's own id, so its reference carries the boundary by value.
    loose = [row for row in found if "boundary_id" not in row[2] and row[0] not in CHAIN_TABLES]
    assert loose == []


def test_every_boundary_table_refers_to_its_boundary_and_organization_together(
    database: DatabaseUrls,
) -> None:
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            """
            SELECT DISTINCT k.conrelid::regclass::text FROM pg_constraint k
            WHERE k.contype = 'f' AND k.confrelid = 'boundary'::regclass
              AND array_length(k.conkey, 1) = 2
            """
        ).fetchall()
        tables = connection.execute(
            "SELECT DISTINCT attrelid::regclass::text FROM pg_attribute a JOIN pg_class c"
            " ON c.oid = a.attrelid WHERE attname = 'boundary_id' AND c.relkind = 'r'"
            " AND c.relnamespace = 'public'::regnamespace"
        ).fetchall()
    assert {row[0] for row in tables} - {row[0] for row in found} == set()


def test_process_roles_can_neither_bypass_policies_nor_own_tables(database: DatabaseUrls) -> None:
    with psycopg.connect(database.admin) as connection:
        powerful = connection.execute(
            "SELECT rolname FROM pg_roles WHERE rolname LIKE 'ringfence_%'"
            " AND (rolsuper OR rolbypassrls OR rolcreaterole)"
        ).fetchall()
        owned = connection.execute(
            "SELECT relname FROM pg_class c JOIN pg_roles r ON r.oid = c.relowner"
            " WHERE r.rolname = ANY (%s)",
            (list(ROLES),),
        ).fetchall()
    assert powerful == []
    assert owned == []


def test_definer_functions_fix_their_search_path_and_are_not_public(
    database: DatabaseUrls,
) -> None:
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT p.proname, p.proconfig::text, has_function_privilege('public', p.oid,"
            " 'EXECUTE') FROM pg_proc p WHERE p.prosecdef"
            " AND p.pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert len(found) >= 10
    assert [r for r in found if "search_path" not in (r[1] or "") or r[2]] == []


def test_a_session_without_scope_raises(tenants: Tenants, api: Database) -> None:
    for table in boundary_tables():
        for scope in (Scope(None), Scope.platform(), Scope(tenants.payments.organization_id)):
            with (
                pytest.raises(DBAPIError, match="scope of this transaction"),
                api.transaction(scope) as session,
            ):
                session.execute(text(f'SELECT count(*) FROM "{table.name}"'))


def test_a_scope_reads_its_own_rows_and_no_other_boundarys(
    tenants: Tenants, database: DatabaseUrls
) -> None:
    for role, url in zip(ROLES, (database.api, database.worker, database.scheduler), strict=True):
        opened = Database.connect(url, pool_size=1)
        readable = [t for t in boundary_tables() if (role, t.name) not in NOT_EVEN_OWN_ROWS]
        for mine, other in tenants.pairs():
            for table in readable:
                with opened.transaction(mine) as session:
                    seen = session.execute(
                        text(f'SELECT boundary_id FROM "{table.name}"')
                    ).scalars()
                    found = set(seen)
                assert found == {boundary_of(mine)}, table.name
                assert boundary_of(other) not in found
        opened.close()


def test_a_process_reads_no_rows_about_people_that_it_has_no_use_for(
    tenants: Tenants, database: DatabaseUrls
) -> None:
    urls = dict(zip(ROLES, (database.api, database.worker, database.scheduler), strict=True))
    for role, table in sorted(NOT_EVEN_OWN_ROWS):
        opened = Database.connect(urls[role], pool_size=1)
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            opened.transaction(tenants.payments) as session,
        ):
            session.execute(text(f'SELECT 1 FROM "{table}"'))
        opened.close()


def test_no_scope_changes_or_removes_another_boundarys_rows(
    tenants: Tenants, database: DatabaseUrls
) -> None:
    # The owner has every right on the tables: what stops it here is the policy alone.
    owner = Database.connect(database.owner, pool_size=1)
    for mine, other in tenants.pairs():
        for table in boundary_tables():
            statement = text(
                f'UPDATE "{table.name}" SET organization_id = organization_id'
                " WHERE boundary_id = :other"
            )
            with owner.transaction(mine) as session:
                changed = session.execute(statement, {"other": boundary_of(other)})
                assert changed.rowcount == 0, table.name  # type: ignore[attr-defined] # a cursor result
            with owner.transaction(mine) as session:
                removed = session.execute(
                    text(f'DELETE FROM "{table.name}" WHERE boundary_id = :other'),
                    {"other": boundary_of(other)},
                )
                assert removed.rowcount == 0, table.name  # type: ignore[attr-defined] # a cursor result
    owner.close()


def test_no_scope_writes_a_row_into_another_boundary(tenants: Tenants, api: Database) -> None:
    for mine, other in tenants.pairs():
        with (
            pytest.raises(DBAPIError, match="row-level security"),
            api.transaction(mine) as session,
        ):
            session.execute(
                text(
                    "INSERT INTO artifact (organization_id, boundary_id, id, digest, size_bytes,"
                    " format) VALUES (:o, :b, :i, :d, 1, 'gguf')"
                ),
                {
                    "o": other.organization_id,
                    "b": boundary_of(other),
                    "i": new_id(),
                    "d": "sha256:" + "d" * 64,
                },
            )


def test_a_row_cannot_move_to_another_boundary(tenants: Tenants, api: Database) -> None:
    with (
        pytest.raises(DBAPIError, match="row-level security"),
        api.transaction(tenants.payments) as session,
    ):
        session.execute(
            text("UPDATE artifact SET boundary_id = :b"), {"b": boundary_of(tenants.research)}
        )


def test_a_reference_to_another_boundarys_row_is_refused(tenants: Tenants, api: Database) -> None:
    with api.transaction(tenants.research) as session:
        foreign = session.execute(text("SELECT id FROM artifact")).scalar_one()
    with (
        pytest.raises(DBAPIError, match="foreign key"),
        api.transaction(tenants.payments) as session,
    ):
        session.execute(
            text(
                "INSERT INTO model_version (organization_id, boundary_id, id, name, version, kind,"
                " artifact_id) VALUES (:o, :b, :i, 'stolen', '1', 'base', :a)"
            ),
            {
                "o": tenants.payments.organization_id,
                "b": boundary_of(tenants.payments),
                "i": new_id(),
                "a": foreign,
            },
        )


def test_a_scope_ends_with_its_transaction(tenants: Tenants, database: DatabaseUrls) -> None:
    # One connection only, so that the second transaction gets the very one the first used.
    opened = Database.connect(database.api, pool_size=1)
    with opened.transaction(tenants.payments) as session:
        session.execute(text("SELECT count(*) FROM install")).scalar_one()
    with opened.engine.connect() as connection, pytest.raises(DBAPIError, match="scope"):
        connection.execute(text("SELECT count(*) FROM install"))
    opened.close()


def test_switching_the_directory_on_gives_a_process_nothing(
    tenants: Tenants, api: Database
) -> None:
    with pytest.raises(DBAPIError, match="scope"):
        _read_with_directory_on(api)


def _read_with_directory_on(api: Database) -> None:
    with api.transaction(Scope(None)) as session:
        session.execute(text("SELECT set_config('app.directory', 'on', true)"))
        session.execute(text("SELECT name FROM organization")).all()


@pytest.mark.parametrize("table", ["principal", "api_token", "platform_role"])
def test_no_process_reads_or_writes_identities_directly(table: str, database: DatabaseUrls) -> None:
    for url in (database.api, database.worker, database.scheduler):
        opened = Database.connect(url, pool_size=1)
        for statement in (f"SELECT * FROM {table}", f"DELETE FROM {table}"):
            with (
                pytest.raises(ProgrammingError, match="permission denied"),
                opened.transaction(Scope.platform()) as session,
            ):
                session.execute(text(statement))
        opened.close()


def test_claims_across_tenants_return_no_tenant_data(database: DatabaseUrls) -> None:
    """Whatever a worker or scheduler may ask across tenants answers with ids, states and times."""
    allowed = {"uuid", "text", "timestamptz", "int8", "bool", "int4", "float8", "interval"}
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT p.proname, t.typname FROM pg_proc p"
            " CROSS JOIN LATERAL unnest(coalesce(p.proallargtypes, ARRAY[p.prorettype])) a(o)"
            " JOIN pg_type t ON t.oid = a.o WHERE p.prosecdef"
            " AND has_function_privilege('ringfence_scheduler', p.oid, 'EXECUTE')"
            " AND p.pronamespace = 'public'::regnamespace"
        ).fetchall()
    assert [row for row in found if row[1] not in {*allowed, "_uuid", "void"}] == []
