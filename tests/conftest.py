"""Fixtures that every test folder may use: a PostgreSQL server and a migrated database."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.postgres import DatabaseUrls, PostgresServer, ServerProcess, migrated

pytest_plugins = ["tests.leaks"]

# How long an example takes says how busy the machine is, not whether the code is right.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """A running PostgreSQL server with the control plane's roles, for this test process."""
    process = ServerProcess()
    server = process.start()
    yield server
    process.stop()


@pytest.fixture(scope="session")
def migrated_database(postgres: PostgresServer) -> DatabaseUrls:
    """A database built by running the migrations; shared, so use `database` to get it empty."""
    return migrated(postgres)


@pytest.fixture
def database(migrated_database: DatabaseUrls) -> Iterator[DatabaseUrls]:
    """The migrated database, emptied after the test."""
    yield migrated_database
    migrated_database.empty()
