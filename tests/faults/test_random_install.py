"""Random faults of the account and random deaths of the worker together, on a real install.

One story at every push; `FAULT_MINUTES=60 pytest -s tests/faults/test_random_install.py` goes on
for that long. A story is made from its seed alone. One that fails is made smaller, by leaving
faults and deaths out as long as it still fails, and printed.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.faults.conftest import Employ, OpenScene
from tests.faults.install import judge

MINUTES = float(os.environ.get("FAULT_MINUTES", "0"))
FIRST_SEED = int(os.environ.get("FAULT_SEED", "9"))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(MINUTES * 60 + 900)]

CALLS = 120
"""About so many calls does an install of both stacks make; a later one is never met."""
LONGEST = 8.0
"""An install of both stacks takes the workers some 20 s here."""


@dataclass(frozen=True)
class Story:
    """What goes wrong in one install."""

    seed: int
    stacks: tuple[str, ...]
    rules: tuple[dict[str, Any], ...]
    deaths: tuple[float, ...]
    """Seconds after which each worker dies, one after the other."""

    def smaller(self) -> Iterator[Story]:
        """Yield the stories with one fault or one death less."""
        for n in range(len(self.rules)):
            yield replace(self, rules=self.rules[:n] + self.rules[n + 1 :])
        for n in range(len(self.deaths)):
            yield replace(self, deaths=self.deaths[:n] + self.deaths[n + 1 :])


def random_story(seed: int, stacks: tuple[str, ...]) -> Story:
    """Return the story of a seed."""
    chance = random.Random(f"install-{seed}")
    rules = tuple(_random_rule(chance) for _ in range(chance.randint(1, 3)))
    deaths = tuple(
        round(chance.uniform(0.2, LONGEST), 2) for _ in range(chance.choice((0, 1, 2, 3)))
    )
    return Story(seed, stacks, rules, deaths)


def _random_rule(chance: random.Random) -> dict[str, Any]:
    call = chance.randint(1, CALLS)
    change = {"changes_only": True, "call": chance.randint(1, CALLS // 3)}
    return chance.choice(
        [
            {"kind": "deny", "call": call},
            {"kind": "expire", "call": call},
            {"kind": "execute-and-timeout", **change},
            {"kind": "error-though-done", **change},
            {"kind": "lag", **change, "seconds": float(chance.randint(100, 2000))},
            {"kind": "latency", "call": call, "seconds": float(chance.randint(100, 2000))},
            {"kind": "throttle", "probability": round(chance.uniform(0.02, 0.3), 2)},
            {"kind": "create-failed-late", "operation": "CreateNatGateway", "call": 1},
            {"kind": "stuck-creating", "operation": "CreateCluster", "call": 1, "seconds": 3000},
        ]
    )


def play(story: Story, open_install: OpenScene, employ: Employ) -> tuple[int, int]:
    """Play a story to its end; return how many calls were struck and how many workers died.

    When the run is parked, the faults end and a person retries it. Raises: AssertionError.
    """
    scene = open_install(*story.stacks)
    scene.put(*story.rules, seed=story.seed)
    mortals = employ(scene)
    mortals.die_after(story.deaths)
    state = scene.go()
    struck = len(scene.struck())
    scene.clear()
    judge(scene, state)
    if state in ("needs-attention", "stuck"):
        judge(scene, scene.retry())
    return struck, mortals.kills


def smallest(story: Story, open_install: OpenScene, employ: Employ) -> tuple[Story, str]:
    """Leave out what the failure does not need; return what is left and how it fails."""
    said = ""
    while True:
        for one in story.smaller():
            try:
                play(one, open_install, employ)
            except AssertionError as error:
                story, said = one, str(error)
                break
        else:
            return story, said


def test_random_faults_and_deaths_leave_nothing_that_nobody_knows_of(
    open_install: OpenScene, employ: Employ
) -> None:
    deadline = time.monotonic() + MINUTES * 60
    stacks = ("foundation", "cluster") if MINUTES else ("foundation",)
    installs, strikes, kills, seed = 0, 0, 0, FIRST_SEED
    while installs == 0 or time.monotonic() < deadline:
        story = random_story(seed, stacks)
        try:
            struck, died = play(story, open_install, employ)
        except AssertionError as error:
            if not MINUTES:
                raise AssertionError(f"{story} fails: {error}") from error
            least, said = smallest(story, open_install, employ)
            raise AssertionError(f"{story} fails: {error}\nsmallest: {least}\n{said}") from error
        print(f"seed {seed}: {struck} calls struck, {died} workers killed")
        installs, strikes, kills, seed = installs + 1, strikes + struck, kills + died, seed + 1
    print(f"0 failures in {installs} installs, {strikes} calls struck, {kills} workers killed")
    assert strikes + kills > 0
