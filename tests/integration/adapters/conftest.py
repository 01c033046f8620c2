"""Fixtures for the adapters' tests: one moto per test process, one boundary per test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.adapters.pulumi.state import StateStore
from sandbox import postgres as embedded
from tests.integration.adapters.support import Bench, moto
from tests.postgres import PostgresServer


@pytest.fixture(scope="session")
def moto_url() -> Iterator[str]:
    """The address of a moto server."""
    with moto() as url:
        yield url


@pytest.fixture(scope="session")
def state_url(postgres: PostgresServer) -> str:
    """A database of its own for the engine's state, owned by the role the worker uses."""
    return postgres.url(embedded.STATE_ROLE, postgres.create_database(embedded.STATE_ROLE))


@pytest.fixture
def bench(tmp_path: Path, state_url: str, moto_url: str) -> Bench:
    """A fresh boundary with an engine."""
    return Bench(tmp_path, StateStore(state_url), moto_url)
