"""The fault programme: every step boundary, random schedules, a soak of kills, known bugs.

A phase of its own in `make test`; `make faults` plays the long form (FAULT_MINUTES of random
schedules, 500 kills at random moments in 5,000 operations). Writes `build/faults/report.md` and
`report.json`.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

from tests.faults.light.bugs import BUGS
from tests.faults.light.programme import Failure, Programme, numbers, open_programme
from tests.faults.light.schedule import (
    WORLDS,
    Schedule,
    boundary_schedules,
    one_of_each,
    random_schedule,
    soak_schedule,
)

pytestmark = [pytest.mark.faults, pytest.mark.timeout(7200)]

ROOT = Path(__file__).resolve().parents[3]
MINUTES = float(os.environ.get("FAULT_MINUTES", "0"))
"""Length of the random part in the long form; 0 is the short form."""
CELLS = int(os.environ.get("FAULT_CELLS", "6"))
FIRST_SEED = int(os.environ.get("FAULT_SEED", "1"))
RANDOM_SCHEDULES = int(os.environ.get("FAULT_SCHEDULES", "300"))
BOUNDARY_KINDS = ("light.plain.11", "light.failing.4", "light.gated.3")
KILLS, OPERATIONS = (500, 5000) if MINUTES else (20, 1000)
BUG_SCHEDULES = 8


@pytest.fixture(scope="module")
def programme(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Programme]:
    """Some cells; the report is written at the end, also after a failure."""
    with open_programme(Path(tmp_path_factory.mktemp("cells")), CELLS) as opened:
        yield opened
        opened.report.write(ROOT / "build" / "faults")


def assert_none(failures: list[Failure]) -> None:
    """Nothing failed; else say which schedule, which run and which step."""
    assert not failures, "\n".join(str(failure) for failure in failures)


def test_a_kill_at_every_boundary_of_every_step_loses_nothing(programme: Programme) -> None:
    quiet = [Schedule(f"quiet-{kind}", (kind,), ()) for kind in BOUNDARY_KINDS]
    assert_none(programme.play("without faults", quiet))
    passed: dict[str, list[str]] = {}
    for result in programme.report.sections["without faults"]:
        passed.update(result.points)
    schedules = list(boundary_schedules(passed))
    assert sum(len(points) for points in passed.values()) > 100
    assert_none(programme.play("every boundary", schedules))
    hit = sum(len(r.fired) for r in programme.report.sections["every boundary"])
    asked = sum(len(schedule.faults) for schedule in schedules)
    # A kill for another run may have brought a run past its own point in another way.
    assert hit > 0.9 * asked


def test_each_fault_hits_and_breaks_no_invariant(programme: Programme) -> None:
    schedules = list(one_of_each())
    assert_none(programme.play("each fault", schedules))
    for result in programme.report.sections["each fault"]:
        assert result.schedule.faults[0].kind in result.fired, result.schedule.name


def test_random_schedules_of_faults_break_no_invariant(programme: Programme) -> None:
    seeds = numbers(FIRST_SEED)
    schedules = (random_schedule(seed) for seed in seeds)
    if MINUTES:
        failures = programme.play("random", schedules, until=time.monotonic() + 60 * MINUTES)
    else:
        # By world, so that the workers seldom have to be set up anew.
        chosen = sorted(
            islice(schedules, RANDOM_SCHEDULES), key=lambda s: list(WORLDS.values()).index(s.world)
        )
        failures = programme.play("random", chosen)
    assert_none(failures)


def test_many_kills_in_many_operations_lose_and_repeat_nothing(programme: Programme) -> None:
    # 16 runs are about 150 operations, undos and repetitions included.
    count = OPERATIONS // 130 + 1
    # One more than needed, as a kill aimed at a moment that a run never reaches is none.
    per_schedule = math.ceil(KILLS / count) + 1
    schedules = [soak_schedule(number, per_schedule) for number in range(count)]
    assert_none(programme.play("soak", schedules))
    played = programme.report.sections["soak"]
    assert sum(result.kills for result in played) >= KILLS
    assert sum(result.steps for result in played) >= OPERATIONS


def test_every_known_bug_is_caught_and_its_schedule_holds_without_it(programme: Programme) -> None:
    missed = programme.hunt(sorted(BUGS), BUG_SCHEDULES)
    assert not missed
    assert len(programme.report.bugs) == len(BUGS) >= 10
