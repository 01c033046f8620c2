"""Fixtures of the emulated cluster's tests: one real cluster for the module folder."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.cluster import start_cluster
from tests.sandbox_cluster.world import World


@pytest.fixture(scope="session")
def short_dir() -> Iterator[Path]:
    """A folder with a short path: socket paths are limited to 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="rf"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def world(short_dir: Path) -> Iterator[World]:
    """A running cluster with two nodes."""
    handle = start_cluster("tests", short_dir / "data", short_dir / "run")
    try:
        handle.add_nodes("general", 2)
        found = World(handle)
        found.until("two ready nodes", lambda: handle.ready_nodes("general") == 2)
        yield found
    finally:
        handle.stop()
