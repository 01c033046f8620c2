"""Our own database goes away in the middle of a step: nothing the step has done wrong."""

from __future__ import annotations

import pytest
from psycopg import OperationalError as Lost
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from controlplane.core.errors import UnavailableError
from controlplane.core.run_engine.definition import Definition, Done, Step, StepContext, StepResult
from controlplane.core.run_engine.faults import MOST_OUTAGES, OUTAGE, describe, failures_after
from tests.sagas.bench import Bench
from tests.sagas.test_engine import NoParams

CUT = text("SELECT pg_terminate_backend(pg_backend_pid())")


class Hardships:
    """What befalls each execution of the step, in order."""

    def __init__(self, *kinds: str) -> None:
        self.left = list(kinds)
        self.undone = 0


def forward(context: StepContext[NoParams, Hardships]) -> StepResult:
    kind = context.ports.left.pop(0) if context.ports.left else "none"
    if kind == "throttled":
        raise UnavailableError("throttled")
    with context.transaction() as session:
        session.execute(CUT if kind == "cut" else text("SELECT 1"))
    return Done()


def undo(context: StepContext[NoParams, Hardships]) -> None:
    context.ports.undone += 1


SAGA = Definition("test.outage", NoParams, (Step("base", "Make base", forward, undo),))


def test_a_lost_connection_of_ours_uses_up_none_of_a_steps_attempts(bench: Bench) -> None:
    world = Hardships("throttled", "cut", "cut", "throttled", "cut")
    run_id = bench.start(SAGA)
    assert bench.execute(run_id, SAGA, world) == "succeeded"
    assert world.undone == 0
    told = [e["detail"] for e in bench.events(run_id) if e["state"] == "failed"]
    assert [(one["code"], one["failures"]) for one in told] == [
        ("unavailable", 1), (OUTAGE, 1), (OUTAGE, 1), ("unavailable", 2), (OUTAGE, 2),
    ]  # fmt: skip


def test_a_step_that_brings_the_outage_about_fails_in_the_end() -> None:
    assert failures_after(OUTAGE, 0, MOST_OUTAGES) == 0
    assert failures_after(OUTAGE, 0, MOST_OUTAGES + 1) == 1
    assert failures_after("unavailable", 0, 1) == 1


class Cancelled(Lost):
    """A statement that took too long: the database is there, and says so."""

    sqlstate = "57014"


@pytest.mark.parametrize(("orig", "code"), [(Lost("gone"), OUTAGE), (Cancelled(), "internal")])
def test_an_answer_of_the_database_is_no_outage(orig: Exception, code: str) -> None:
    assert describe(OperationalError("SELECT 1", {}, orig))[0] == code
