"""The oracle sees each lie: a sound run is spoiled in one way, and the right invariant speaks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from proof.audit_chain import GENESIS, event_hash
from tests.faults.light.inject import ACTIONS
from tests.faults.light.ledger import CloudObject, Entry
from tests.faults.light.oracle import Evidence, judge, judge_chain
from tests.faults.light.program import Program, StepSpec, program
from tests.faults.light.schedule import (
    FAULTS,
    IN_PROGRAMS,
    Fault,
    Schedule,
    drop_one,
    one_of_each,
    random_schedule,
)

PROGRAM = Program(
    "light.plain.told",
    (StepSpec("a"), StepSpec("b", ("a",), api="tag"), StepSpec("close", ("b",), "close")),
)
KEYS = ("a", "b", "close")


def entry(number: int, op: str, key: str, fence: int = 1, **more: Any) -> Entry:
    values = {"worker": "w0", "is_undo": False, "generation": 1, "object_id": f"{key}-0"} | more
    return Entry(number, float(number), "run", key, op, fence, **values)


def record(code: str, step: str, fence: int = 1, **detail: Any) -> dict[str, Any]:
    return {"code": code, "detail": {"step": step, "fence": fence, **detail}}


def sound() -> Evidence:
    """Return the evidence of a run of three steps in which all went well."""
    audit = []
    for key in KEYS:
        audit.append(record("step.started", key, attempt=1))
        audit.append(record("step.finished", key, outcome="succeeded"))
    return Evidence(
        program=PROGRAM,
        run={
            "id": UUID(int=7), "state": "succeeded", "fence": 1, "error_code": None,
            "parked_reason": None, "at_fault": None, "lease_until": None, "last_seq": 3,
        },
        steps={key: {"state": "succeeded", "attempt": 1} for key in KEYS},
        intents={key: {"phase": "created", "object_id": f"{key}-0"} for key in KEYS},
        events=[{"seq": 1}, {"seq": 2}, {"seq": 3}],
        audit=audit,
        entries=[entry(n, "create", key) for n, key in enumerate(KEYS)],
        live=[CloudObject(f"{key}-0", "run", key, 1, None, 0.0, 0.0, "ready") for key in KEYS],
        cancel_accepted=False,
        stalled=None,
    )  # fmt: skip


def run(e: Evidence, **changes: Any) -> Evidence:
    return replace(e, run={**e.run, **changes})


def step(e: Evidence, key: str, **changes: Any) -> Evidence:
    return replace(e, steps={**e.steps, key: {**e.steps[key], **changes}})


def seen(e: Evidence) -> set[str]:
    return {violation.invariant for violation in judge(e)}


def test_a_sound_run_is_sound() -> None:
    assert judge(sound()) == []


LIES: dict[str, tuple[str, Callable[[Evidence], Evidence]]] = {
    "an object that no row knows": (
        "I1",
        lambda e: replace(
            e, live=[*e.live, CloudObject("b-9", "run", "b", 1, None, 0.0, 0.0, "ready")]
        ),
    ),
    "a second creation in one generation": (
        "I2",
        lambda e: replace(e, entries=[*e.entries, entry(9, "create", "b", object_id="b-9")]),
    ),
    "a run that hangs": ("I3", lambda e: replace(e, stalled="stood still")),
    "a run that ends where it must not": ("I3", lambda e: run(e, state="unwound")),
    "a run that parks where it must not": ("I3", lambda e: run(e, state="stuck")),
    "a step that is still running at the end": ("I3", lambda e: step(e, "b", state="running")),
    "a lease that outlives its run": ("I3", lambda e: run(e, lease_until="later")),
    "an effect without an intent": ("I4", lambda e: replace(e, audit=e.audit[2:])),
    "an effect under a fence that never began": (
        "I4",
        lambda e: replace(e, entries=[*e.entries[:2], entry(2, "create", "close", fence=2)]),
    ),
    "an outcome that was never written": ("I4", lambda e: replace(e, audit=e.audit[:-1])),
    "an outcome without an intent": (
        "I4",
        lambda e: replace(e, audit=[*e.audit, record("step.finished", "b", outcome="succeeded")]),
    ),
    "an attempt that the audit does not know": ("I4", lambda e: step(e, "a", attempt=2)),
    "a gap in the events": ("I4", lambda e: replace(e, events=[{"seq": 1}, {"seq": 3}])),
    "two workers under one fence": (
        "I6",
        lambda e: replace(e, entries=[*e.entries[:2], entry(2, "create", "close", worker="w1")]),
    ),
    "an old fence in the cloud": (
        "I6",
        lambda e: replace(
            e, entries=[entry(0, "create", "a", fence=2), entry(1, "create", "b", fence=1)]
        ),
    ),
    "an old token used again under an old fence": (
        "I6",
        lambda e: replace(
            e, entries=[*e.entries, entry(3, "create", "b", 2), entry(4, "repeat", "b", 1)]
        ),
    ),
    "an old fence in the audit": (
        "I6",
        lambda e: replace(e, audit=[record("step.started", "a", fence=2), *e.audit]),
    ),
    "a success without an object": ("I7", lambda e: replace(e, live=e.live[1:])),
    "a success whose object is broken": (
        "I7",
        lambda e: replace(e, live=[replace(e.live[0], status="failed"), *e.live[1:]]),
    ),
    "an unwound step whose object is there": ("I8", lambda e: step(e, "b", state="unwound")),
    "a step before what it needs": (
        "I8",
        lambda e: replace(e, entries=[e.entries[1], e.entries[0], e.entries[2]]),
    ),
    "an undo before that of what needs it": (
        "I8",
        lambda e: replace(e, entries=[*e.entries, entry(9, "delete", "a", is_undo=True)]),
    ),
}


@pytest.mark.parametrize("lie", LIES)
def test_the_oracle_sees(lie: str) -> None:
    invariant, change = LIES[lie]
    assert invariant in seen(change(sound()))


def chained(count: int) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = []
    for seq in range(1, count + 1):
        before = records[-1]["hash"] if records else GENESIS
        event = {"chain_id": "c", "seq": seq, "code": "step.started", "prev_hash": before}
        records.append({**event, "hash": event_hash(event)})
    return records


def test_the_oracle_walks_the_audit_chain() -> None:
    records = chained(4)
    head = {"head_seq": 4, "head_hash": records[-1]["hash"]}
    assert judge_chain("c", records, head) == []
    assert judge_chain("c", records[:-1], head)[0].invariant == "I4"
    edited = [records[0], {**records[1], "code": "step.finished"}, *records[2:]]
    assert "event 2" in judge_chain("c", edited, head)[0].message


def test_a_violation_names_run_and_step() -> None:
    told = str(judge(replace(sound(), live=sound().live[1:]))[0])
    assert "I7" in told
    assert "light.plain.told" in told
    assert "step a" in told


def test_a_seed_makes_the_same_schedule_again_and_a_schedule_survives_its_text() -> None:
    schedules = [random_schedule(seed) for seed in range(60)]
    assert schedules == [random_schedule(seed) for seed in range(60)]
    assert schedules == [Schedule.from_json(s.to_json()) for s in schedules]
    assert {f.kind for s in schedules for f in s.faults} <= set(FAULTS)


def test_every_fault_has_a_schedule_of_its_own() -> None:
    aimed = {f.kind for s in one_of_each() for f in s.faults}
    assert aimed | IN_PROGRAMS == set(FAULTS)
    assert set(ACTIONS) | {"F15.cancel", "F3.flush-sent"} | IN_PROGRAMS == set(FAULTS)


def test_a_smaller_schedule_has_one_fault_or_one_run_less() -> None:
    kinds = ("light.plain.1", "light.plain.2", "light.plain.3")
    schedule = Schedule("s", kinds, (Fault("F1.kill", 0), Fault("F3.flush", 2)))
    smaller = list(drop_one(schedule))
    assert [len(s.faults) for s in smaller] == [1, 1, 2]
    # Run 1 has no fault: it goes, and the fault of run 2 follows its run.
    assert smaller[2].kinds == (kinds[0], kinds[2])
    assert [f.run for f in smaller[2].faults] == [0, 1]


@pytest.mark.parametrize("flavour", ["plain", "failing", "stubborn", "gated", "hinted"])
def test_a_program_is_the_same_each_time_and_ends_as_its_flavour_says(flavour: str) -> None:
    kinds = [f"light.{flavour}.{seed}" for seed in range(40)]
    made = [program(kind) for kind in kinds]
    program.cache_clear()
    assert made == [program(kind) for kind in kinds]
    assert {p.fails for p in made} == {flavour in ("failing", "stubborn")}
    assert all(3 <= len(p.steps) <= 16 for p in made)
    assert all(s.refusals + s.lost_replies < 3 for p in made for s in p.steps)
