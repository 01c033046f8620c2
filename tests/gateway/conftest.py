"""Fixtures of the gateway's tests: one real engine for all, one boundary per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.models import ensure
from tests.engine.parts import Engine, engine_config, start_engine
from tests.gateway.api_server import ApiServer
from tests.gateway.parts import Boundary
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A real engine with the demo models."""
    config = engine_config(ensure(), ("payments-style", "research-style"))
    running = start_engine(tmp_path_factory.mktemp("engine"), config)
    yield running
    running.stop()


@pytest.fixture
def bare_boundary(tmp_path: Path, postgres: PostgresServer) -> Iterator[Boundary]:
    """A boundary with an empty database and no resources; its gateway is not started."""
    database = postgres.url("postgres", postgres.create_database("postgres"))
    boundary = Boundary(tmp_path, ApiServer(tmp_path / "api"), database)
    yield boundary
    boundary.close()


@pytest.fixture(scope="module")
def shared(
    tmp_path_factory: pytest.TempPathFactory, postgres: PostgresServer, engine: Engine
) -> Iterator[Boundary]:
    """A ready boundary for tests that change nothing and count only their own requests."""
    folder = tmp_path_factory.mktemp("boundary")
    database = postgres.url("postgres", postgres.create_database("postgres"))
    boundary = Boundary(folder, ApiServer(folder / "api"), database)
    boundary.publish(engine.url)
    boundary.start(GATEWAY_IDLE_SECONDS="0.5", GATEWAY_RETRY_SECONDS="0")
    yield boundary
    boundary.close()


@pytest.fixture
def boundary(bare_boundary: Boundary, engine: Engine) -> Boundary:
    """A boundary with the demo's resources and a ready gateway."""
    bare_boundary.publish(engine.url)
    bare_boundary.start()
    return bare_boundary
