"""The bench as a fixture."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.postgres import DatabaseUrls
from tests.sagas.bench import Bench, open_bench


@pytest.fixture
def bench(database: DatabaseUrls) -> Iterator[Bench]:
    """A seeded tenant on an empty, migrated database."""
    with open_bench(database) as opened:
        yield opened
