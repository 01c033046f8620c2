"""Connections of a pool: a dead one is replaced, a busy one is not tried in every transaction."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from controlplane.core import db
from controlplane.core.db import Database, Scope
from tests.postgres import DatabaseUrls


@pytest.fixture
def opened(database: DatabaseUrls) -> Iterator[Database]:
    opened = Database.connect(database.api, pool_size=1)
    yield opened
    opened.close()


def process_id(opened: Database) -> int:
    with opened.transaction(Scope.platform()) as session:
        return int(session.execute(text("SELECT pg_backend_pid()")).scalar_one())


def end(database: DatabaseUrls, backend: int) -> None:
    with psycopg.connect(database.admin, autocommit=True) as connection:
        # The second argument waits until the process is gone.
        row = connection.execute("SELECT pg_terminate_backend(%s, 5000)", [backend]).fetchone()
    assert row == (True,)


def test_an_idle_connection_that_died_is_replaced_unseen(
    opened: Database, database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "IDLE_SECONDS", 0.0)
    first = process_id(opened)
    assert process_id(opened) == first
    end(database, first)
    assert process_id(opened) != first


def test_a_busy_connection_is_not_tried_and_one_that_died_fails_once(
    opened: Database, database: DatabaseUrls, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(db, "IDLE_SECONDS", 60.0)
    tried: list[object] = []
    ping = opened.engine.dialect.do_ping
    monkeypatch.setattr(
        opened.engine.dialect, "do_ping", lambda connection: tried.append(1) or ping(connection)
    )
    first = process_id(opened)
    assert process_id(opened) == first
    end(database, first)
    with pytest.raises(OperationalError):
        process_id(opened)
    assert process_id(opened) != first
    assert tried == []
