"""`kubectl logs` through the API server, and the administrator's way in from the host."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.sandbox_cluster.world import World

pytestmark = pytest.mark.cluster
ROOT = Path(__file__).resolve().parents[2]


def kubectl(world: World, *arguments: str) -> str:
    command = ["-m", "sandbox.cluster", "kubectl", world.handle.settings.data_dir]
    run = subprocess.run(
        [sys.executable, *command, *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def test_logs_of_present_and_previous_runs_are_read_with_kubectl(world: World) -> None:
    namespace = world.namespace()
    script = (
        "echo one; ls /scratch; test -e /scratch/again && exec sleep 60; "
        "touch /scratch/again; exit 1"
    )
    container = {
        "command": ["sh", "-c", script],
        "volumeMounts": [{"name": "work", "mountPath": "/scratch"}],
    }
    volumes = [{"name": "work", "emptyDir": {}}]
    world.pod(namespace, "talk", container=container, volumes=volumes)

    def runs_again() -> bool:
        status = world.container(namespace, "talk")
        return status.get("restartCount") == 1 and "running" in status["state"]

    world.until("the second run", runs_again)
    assert kubectl(world, "logs", "-n", namespace, "talk", "--previous") == "one\n"
    world.until(
        "its log", lambda: kubectl(world, "logs", "-n", namespace, "talk") == "one\nagain\n"
    )
    assert kubectl(world, "logs", "-n", namespace, "talk", "--tail=1") == "again\n"
