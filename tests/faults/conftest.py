"""The engine's fixtures for the fault tests, and a scene: an install in the rehearsal account."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.adapters.pulumi.state import StateStore
from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.core.db import Database
from proof.keys import create_private_key
from tests.faults.install import Scene, new_bench, open_scene
from tests.faults.mortal import Mortals
from tests.integration.adapters.conftest import bench, moto_url, state_url
from tests.postgres import DatabaseUrls
from tests.sandbox_aws.conftest import GateProcess

__all__ = ["bench", "moto_url", "state_url"]

OpenScene = Callable[..., Scene]
Employ = Callable[[Scene], Mortals]


@pytest.fixture
def open_install(database: DatabaseUrls, state_url: str, tmp_path: Path) -> Iterator[OpenScene]:
    """Open scenes, each in an account of its own; the rows of the one before are emptied."""
    databases = [Database.connect(url) for url in (database.api, database.worker)]
    databases.append(Database.connect(database.scheduler))
    gates: list[GateProcess] = []

    def opened(*stacks: str) -> Scene:
        if gates:
            _end(gates[-1])
            database.empty()
        # A fresh account: what an earlier scene left would count against the quotas of this one.
        gates.append(GateProcess(Path(tempfile.mkdtemp(prefix="rf-"))))
        gates[-1].start()
        root = tmp_path / f"scene-{len(gates)}"
        root.mkdir()
        create_private_key(root / "key.pem")
        pin = ControlPlaneKey(root / "key.pem").fingerprint
        boundary = gates[-1].boundary().create(pin).open(1)
        made = new_bench(database, databases, boundary)
        return open_scene(boundary, made, StateStore(state_url), root, *stacks)

    yield opened
    if gates:
        _end(gates[-1])
    for one in databases:
        one.close()


@pytest.fixture
def employ(database: DatabaseUrls, state_url: str, tmp_path: Path) -> Iterator[Employ]:
    """Give a scene workers that die."""
    made: list[Mortals] = []

    def employed(scene: Scene) -> Mortals:
        root = scene.ports.settings.artifact_store
        made.append(Mortals(scene, root, database.worker, state_url))
        scene.carry = made[-1].carry
        return made[-1]

    yield employed
    for one in made:
        one.close()


def _end(gate: GateProcess) -> None:
    """End an account whose data nobody reads any more."""
    gate.kill()
    shutil.rmtree(gate.root)
