"""The auditor's own database role: reads what reports need under the same rules, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, InternalError, ProgrammingError

from controlplane.core.db import Database, Scope
from controlplane.core.ids import new_id
from tests.integration.database.rows import boundary_tables, insert_row
from tests.postgres import DatabaseUrls


@pytest.fixture
def auditor(database: DatabaseUrls) -> Iterator[Database]:
    """The database as the auditor's role sees it."""
    opened = Database.connect(database.auditor, pool_size=1)
    yield opened
    opened.close()


@pytest.fixture
def places(database: DatabaseUrls) -> tuple[Scope, Scope]:
    """Two boundaries of one organization, each with a run and a gateway key."""
    organization, mine, other = new_id(), new_id(), new_id()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO organization (id, name, display_name, document, document_digest)"
            " VALUES (%s, 'acme', '', '{}', '')",
            (organization,),
        )
        for boundary in (mine, other):
            connection.execute(
                "INSERT INTO boundary (organization_id, id, name, display_name, target, blueprint,"
                " blueprint_version, inputs) VALUES (%s, %s, %s, '', '{}', '', '', '{}')",
                (organization, boundary, str(boundary)),
            )
    for table in boundary_tables():
        for boundary in (mine, other):
            insert_row(database, table, organization, boundary)
    return Scope.boundary(organization, mine), Scope.boundary(organization, other)


def test_the_auditor_reads_the_rows_of_its_scope_only(
    auditor: Database, places: tuple[Scope, Scope]
) -> None:
    for scope in places:
        for table in ("run", "access_grant", "entitlement", "certificate", "install_revision"):
            with auditor.transaction(scope) as session:
                rows = session.execute(text(f'SELECT boundary_id FROM "{table}"')).scalars()
                assert set(rows) == set(scope.boundary_ids or ()), table


def test_the_auditor_without_a_scope_reads_nothing(
    auditor: Database, places: tuple[Scope, Scope]
) -> None:
    with (
        pytest.raises(DBAPIError, match="scope of this transaction"),
        auditor.transaction(Scope(None)) as session,
    ):
        session.execute(text("SELECT id FROM run"))


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT key_hash FROM gateway_key",
        "SELECT * FROM gateway_key",
        "SELECT external_id FROM cloud_connection",
        "SELECT token_hash FROM enrolment_token",
        "SELECT token_hash FROM api_token",
        "SELECT issuer FROM principal",
    ],
)
def test_the_auditor_reads_no_secret_and_no_identity(
    statement: str, auditor: Database, places: tuple[Scope, Scope]
) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied"),
        auditor.transaction(places[0]) as session,
    ):
        session.execute(text(statement))


@pytest.mark.parametrize(
    "statement", ["UPDATE run SET state = 'failed'", "DELETE FROM audit_event", "CREATE TABLE t ()"]
)
def test_the_auditor_writes_nothing(
    statement: str, auditor: Database, places: tuple[Scope, Scope]
) -> None:
    # The transaction is read-only by default, and the rights hold where somebody changes that.
    for before, refusal in (
        ("SELECT 1", "read-only transaction|permission denied"),
        ("SET TRANSACTION READ WRITE", "permission denied"),
    ):
        with auditor.engine.connect() as connection:
            connection.execute(text(before))
            with pytest.raises((InternalError, ProgrammingError), match=refusal):
                connection.execute(text(statement))


def test_the_auditor_names_the_people_beside_ids(
    auditor: Database, database: DatabaseUrls, places: tuple[Scope, Scope]
) -> None:
    who = new_id()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display)"
            " VALUES (%s, 'https://idp', 'ana', 'human', 'Ana')",
            (who,),
        )
    with auditor.transaction(places[0]) as session:
        found = session.execute(
            text("SELECT subject FROM principals_by_id(ARRAY[:who]::uuid[])"), {"who": who}
        ).scalars()
        assert list(found) == ["ana"]


def test_a_row_cannot_take_a_place_in_another_tenants_chain(
    database: DatabaseUrls, places: tuple[Scope, Scope]
) -> None:
    mine, other = places
    (foreign,) = other.boundary_ids or frozenset()
    (own,) = mine.boundary_ids or frozenset()
    opened = Database.connect(database.api, pool_size=1)
    with opened.transaction(other) as session:
        session.execute(
            text(
                "INSERT INTO audit_chain (chain_id, organization_id, boundary_id, head_seq,"
                " head_hash) VALUES (:b, :o, :b, 0, '')"
            ),
            {"o": other.organization_id, "b": foreign},
        )
    with pytest.raises(DBAPIError, match="own_chain"), opened.transaction(mine) as session:
        session.execute(
            text(
                "INSERT INTO audit_event (chain_id, seq, organization_id, boundary_id, at, code,"
                " actor, request_id, target, detail, prev_hash, hash)"
                " VALUES (:c, 1, :o, :b, now(), 'x', '{}', '', '', '{}', '', '')"
            ),
            {"c": foreign, "o": mine.organization_id, "b": own},
        )
    opened.close()
