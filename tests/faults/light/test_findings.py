"""What the fault programme found in the engine, each as the schedule that shows it."""

from __future__ import annotations

import pytest

from tests.faults.light.cell import Cell
from tests.faults.light.play import play
from tests.faults.light.program import program
from tests.faults.light.schedule import WORLDS, Fault, Schedule

pytestmark = pytest.mark.faults


def aimed(name: str, kind: str, point: str, world: str, flavour: str = "plain") -> Schedule:
    """Return a schedule of three runs, each hit at that point of a step in its middle."""
    kinds = tuple(f"light.{flavour}.{name}-{number}" for number in range(3))
    faults = []
    for run, of_run in enumerate(kinds):
        keys = [s.key for s in program(of_run).steps if s.makes_objects and s.phase == "work"]
        faults.append(Fault(kind, run, f"{point}:{keys[len(keys) // 2]}"))
    return Schedule(name, kinds, tuple(faults), WORLDS[world])


def holds(cell: Cell, schedule: Schedule) -> None:
    """Play it; the fault must have hit, and nothing may be wrong."""
    result = play(cell, schedule)
    assert not result.violations, [str(violation) for violation in result.violations]
    assert {fault.kind for fault in schedule.faults} <= set(result.fired)


def test_a_worker_whose_machine_slept_knows_that_its_lease_is_over(cell: Cell) -> None:
    # CLOCK_MONOTONIC does not count the sleep, so the worker went on in the cloud.
    holds(cell, aimed("sleep", "F12.sleep", "done:assume", "clock"))


def test_a_worker_frozen_inside_a_transaction_does_not_keep_its_runs(cell: Cell) -> None:
    # Its row locks outlasted the lease: no claim, no audit record of the boundary any more.
    holds(cell, aimed("frozen", "F2.freeze-for-good", "inside:step_started", "process"))


def test_a_worker_cut_off_inside_a_transaction_does_not_keep_its_runs(cell: Cell) -> None:
    holds(cell, aimed("cut-off", "F10.hole-for-good", "inside:step_started", "network"))


def test_a_run_that_was_given_back_stays_given_back(cell: Cell) -> None:
    # A heartbeat that waited for the row's lock renewed the lease after the run's end.
    kinds = tuple(f"light.plain.given-back-{number}" for number in range(8))
    holds(cell, Schedule("given-back", kinds, ()))


def test_a_message_that_is_no_json_does_not_end_the_jobs_of_a_worker(cell: Cell) -> None:
    # Celery's consumer gave up at the first one, for good, in a worker that went on living.
    kinds = tuple(f"light.hinted.poison-{number}" for number in range(4))
    poison = tuple(Fault("F13.poison", run, "after:set_state", 1) for run in range(4))
    holds(cell, Schedule("poison", kinds, poison, WORLDS["queue"]))
    holds(cell, Schedule("after-poison", kinds, (Fault("F13.shuffle", 0),), WORLDS["queue"]))
