"""Functions that run before there is a scope hold when two of them meet on one row."""

from __future__ import annotations

import threading
import time

import psycopg
import pytest
from psycopg import sql

from controlplane.core.ids import new_id
from tests.postgres import DatabaseUrls

WAIT_SECONDS = 20.0


def directory_tables(database: DatabaseUrls) -> list[str]:
    """Return the tables that directory functions open to the owner."""
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT c.relname FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid"
            " WHERE p.polname = 'owner'"
            " AND pg_get_expr(p.polqual, p.polrelid) LIKE '%app.directory%'"
        ).fetchall()
    return [row[0] for row in rows]


def principal(database: DatabaseUrls) -> None:
    """Write one person."""
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display)"
            " VALUES (%s, 'https://idp', 'ana', 'human', 'Ana')",
            (new_id(),),
        )


def is_waiting(connection: psycopg.Connection[tuple[object, ...]], pid: int) -> bool:
    """Tell whether a server process waits for a lock."""
    row = connection.execute("SELECT cardinality(pg_blocking_pids(%s)) > 0", (pid,)).fetchone()
    return bool(row and row[0])


def meet(database: DatabaseUrls, statement: str) -> list[BaseException]:
    """Run a statement twice at once inside the directory: the second waits, then checks again."""
    failures: list[BaseException] = []
    with (
        psycopg.connect(database.owner) as first,
        psycopg.connect(database.owner) as second,
        psycopg.connect(database.admin, autocommit=True) as watcher,
    ):
        for connection in (first, second):
            connection.execute("SELECT set_config('app.directory', 'on', true)")
        first.execute(statement)

        def follow() -> None:
            try:
                second.execute(statement)
            except psycopg.Error as error:
                failures.append(error)

        thread = threading.Thread(target=follow)
        thread.start()
        deadline = time.monotonic() + WAIT_SECONDS
        while not is_waiting(watcher, second.info.backend_pid):
            assert time.monotonic() < deadline, "the second statement never met the first"
        first.commit()
        thread.join(WAIT_SECONDS)
        second.rollback()
    return failures


CHANGE = "UPDATE principal SET display = display || '.' WHERE subject = 'ana'"


@pytest.mark.parametrize(
    "statement",
    [CHANGE, "SELECT * FROM principal WHERE subject = 'ana' FOR UPDATE"],
    ids=["update", "lock"],
)
def test_two_directory_functions_meet_on_one_row_and_both_go_on(
    statement: str, database: DatabaseUrls
) -> None:
    principal(database)
    if statement != CHANGE:
        # A re-check happens only when the first one changed the row.
        statement = f"WITH locked AS ({statement}) {CHANGE}"
    assert meet(database, statement) == []


def test_the_meeting_fails_with_a_sub_select_in_the_policy(database: DatabaseUrls) -> None:
    """The trap itself: without it these tests could not fail."""
    principal(database)
    rule = (
        "CASE WHEN current_setting('app.directory', true) = 'on' THEN true"
        " ELSE (SELECT app_platform()) END"
    )
    with psycopg.connect(database.admin) as connection:
        before = connection.execute(
            "SELECT pg_get_expr(polqual, polrelid) FROM pg_policy"
            " WHERE polname = 'owner' AND polrelid = 'principal'::regclass"
        ).fetchone()
        connection.execute(f"ALTER POLICY owner ON principal USING ({rule})")
    try:
        failures = meet(database, CHANGE)
    finally:
        with psycopg.connect(database.admin) as connection:
            assert before is not None
            connection.execute(f"ALTER POLICY owner ON principal USING ({before[0]})")
    assert [str(f).splitlines()[0] for f in failures] == ["this transaction has no platform scope"]


def test_many_callers_make_one_principal_at_once(database: DatabaseUrls) -> None:
    found: list[object] = []
    start = threading.Barrier(8)

    def ensure() -> None:
        with psycopg.connect(database.api) as connection:
            start.wait(WAIT_SECONDS)
            row = connection.execute(
                "SELECT ensure_principal(%s, 'https://idp', 'new', 'New')", (new_id(),)
            ).fetchone()
            found.append(row and row[0])

    threads = [threading.Thread(target=ensure) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert len(found) == 8
    assert len(set(found)) == 1


def test_a_change_of_every_directory_table_is_checked_again_without_a_scope(
    database: DatabaseUrls,
) -> None:
    """No table's policy for the owner holds what a re-check would evaluate for nothing."""
    tables = directory_tables(database)
    assert len(tables) >= 13
    with psycopg.connect(database.owner) as connection:
        connection.execute("SELECT set_config('app.directory', 'on', true)")
        for table in tables:
            connection.execute(
                sql.SQL("SELECT 1 FROM {} FOR KEY SHARE").format(sql.Identifier(table))
            )
        connection.rollback()
