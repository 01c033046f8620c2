"""The bench as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import DatabaseUrls
from tests.sagas.bench import Bench, open_bench
from tests.sagas.stage import stage

__all__ = ["bench", "stage"]


@pytest.fixture
def bench(database: DatabaseUrls) -> Iterator[Bench]:
    """A seeded tenant on an empty, migrated database."""
    with open_bench(database) as opened:
        yield opened
