"""Workers killed by SIGKILL at every write about a step of a real install, and at random moments.

`FAULT_MINUTES=60 pytest -s tests/faults/test_killed_install.py` goes on with random moments for
that long, and prints how many workers died in how many installs.
"""

from __future__ import annotations

import os
import time

import pytest

from tests.faults.conftest import Employ, OpenScene
from tests.faults.install import judge

MINUTES = float(os.environ.get("FAULT_MINUTES", "0"))
FIRST_SEED = int(os.environ.get("FAULT_SEED", "1"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(MINUTES * 60 + 600)]


def test_a_worker_killed_at_every_write_about_every_step_finishes_the_install_once(
    open_install: OpenScene, employ: Employ
) -> None:
    scene = open_install("foundation", "cluster")
    mortals = employ(scene)
    mortals.die_at_every_boundary()
    state = scene.go()
    judge(scene, state)
    assert state == "succeeded", scene.why()
    died_at = mortals.visited()
    for key in ("preflight", "plan", "approval", "foundation", "cluster", "census", "proof"):
        for moment in ("before", "inside", "after"):
            assert f"{moment}:step_started:{key}" in died_at
            assert f"{moment}:step_finished:{key}" in died_at
    assert mortals.kills == len(died_at)


def test_an_unwind_whose_workers_are_killed_at_every_write_leaves_nothing(
    open_install: OpenScene, employ: Employ
) -> None:
    scene = open_install("foundation")
    scene.put({"kind": "deny", "operation": "CreateVpcEndpoint", "every": True})
    mortals = employ(scene)
    mortals.die_at_every_boundary()
    state = scene.go()
    judge(scene, state)
    assert scene.struck()
    assert state == "unwound", scene.why()
    assert "inside:undo_finished:foundation" in mortals.visited()
    assert mortals.kills == len(mortals.visited())


def test_workers_killed_at_random_moments_finish_the_install_once(
    open_install: OpenScene, employ: Employ
) -> None:
    deadline = time.monotonic() + MINUTES * 60
    installs, kills, seed = 0, 0, FIRST_SEED
    while installs == 0 or time.monotonic() < deadline:
        scene = open_install("foundation", "cluster")
        mortals = employ(scene)
        mortals.die_at_random(seed, times=8, longest=6.0)
        state = scene.go()
        print(f"seed {seed}: {mortals.kills} workers killed, {state}")
        judge(scene, state)
        assert state == "succeeded", f"FAULT_SEED={seed}: {state}\n{scene.why()}"
        installs, kills, seed = installs + 1, kills + mortals.kills, seed + 1
    print(f"0 failures in {installs} installs, {kills} workers killed")
    assert kills >= installs
