"""Connections of a pool: a dead one is replaced, a busy one is not tried in every transaction."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import InternalError, OperationalError

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


def test_a_transaction_that_stands_still_is_ended_by_the_server_and_its_locks_are_free(
    database: DatabaseUrls,
) -> None:
    stalled = Database.connect(database.scheduler, pool_size=1, stalled_seconds=0.2)
    lock = "SELECT pg_advisory_xact_lock(4711)"
    session = stalled.begin(Scope.platform())
    session.execute(text(lock))
    with psycopg.connect(database.admin) as other:
        # Waits for the lock of a transaction that does nothing any more.
        other.execute("SET lock_timeout = '10s'")
        other.execute(lock)
    with pytest.raises(InternalError, match="idle-in-transaction"):
        session.execute(text(lock))
    session.close()
    assert process_id(stalled) > 0
    stalled.close()


def test_a_server_that_a_network_cut_took_away_is_noticed_in_seconds(opened: Database) -> None:
    with opened.engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver is not None
        with socket.socket(fileno=os.dup(driver.fileno())) as wire:
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 20_000
            assert wire.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
            assert wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 10
