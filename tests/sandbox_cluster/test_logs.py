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
    run = subprocess.run(
        [sys.executable, "-m", "sandbox.cluster", "kubectl", world.handle.settings.data_dir]
        + list(arguments),
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
    command = [
        "sh",
        "-c",
        "echo one; echo run $(ls /work | wc -l); touch /work/$$-$(date +%N); exit 1",
    ]
    volumes = [{"name": "work", "emptyDir": {}}]
    mount = {"volumeMounts": [{"name": "work", "mountPath": "/work"}]}
    container = {"command": [*command[:2], command[2].replace("/work", "/scratch")], **mount}
    mount["volumeMounts"][0]["mountPath"] = "/scratch"
    world.pod(namespace, "talk", container=container, volumes=volumes)
    world.until("a restart", lambda: world.container(namespace, "talk").get("restartCount") == 1)
    world.until("its end", lambda: "waiting" in world.container(namespace, "talk")["state"])
    assert kubectl(world, "logs", "-n", namespace, "talk") == "one\nrun 1\n"
    assert kubectl(world, "logs", "-n", namespace, "talk", "--tail=1") == "run 1\n"
    assert kubectl(world, "logs", "-n", namespace, "talk", "--previous") == "one\nrun 0\n"
