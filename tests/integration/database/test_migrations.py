"""The migrations are the tables, and give each process no more than its rights."""

from __future__ import annotations

import psycopg
import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from controlplane.core.db import Database, Scope
from controlplane.migrate import alembic_config, upgrade
from tests.postgres import DatabaseUrls


def test_the_tables_in_code_are_what_the_migrations_make(database: DatabaseUrls) -> None:
    command.check(alembic_config(database.owner))


def test_migrating_twice_changes_nothing(database: DatabaseUrls) -> None:
    upgrade(database.owner)
    with psycopg.connect(database.admin) as connection:
        roles = connection.execute("SELECT count(*) FROM role").fetchone()
    assert roles == (7,)


@pytest.mark.parametrize(
    "statement", ["UPDATE audit_event SET code = 'x'", "DELETE FROM audit_event"]
)
def test_no_process_may_change_or_remove_an_audit_event(
    statement: str, database: DatabaseUrls
) -> None:
    for url in (database.api, database.worker, database.scheduler):
        opened = Database.connect(url, pool_size=1)
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            opened.transaction(Scope.platform()) as session,
        ):
            session.execute(text(statement))
        opened.close()


def test_the_api_cannot_publish_bundles_or_issue_certificates(database: DatabaseUrls) -> None:
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT has_table_privilege('ringfence_api', t, 'INSERT')"
            " FROM unnest(ARRAY['bundle', 'certificate', 'blueprint_version']) t"
        ).fetchall()
    assert found == [(False,), (False,), (False,)]
