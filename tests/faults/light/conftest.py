"""Cells for the fault programme; all tests of this folder that use one are marked `faults`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.light.cell import Cell


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cell]:
    """One cell, for the tests of a module."""
    opened = Cell(Path(tmp_path_factory.mktemp("cell")))
    yield opened
    opened.close()
