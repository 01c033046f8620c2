"""How many runs a worker carries follows from the memory it may use."""

from __future__ import annotations

from pathlib import Path

import pytest

from controlplane.worker_capacity import (
    MIB,
    MOST_SLOTS,
    RUN_BYTES,
    WORKER_BYTES,
    memory_bytes,
    run_slots,
)

RUNAWAY = 3 << 30


@pytest.mark.parametrize(("gib", "slots"), [(1, 1), (4, 1), (8, 7), (16, 18), (1024, MOST_SLOTS)])
def test_slots_follow_from_the_memory(gib: int, slots: int) -> None:
    assert run_slots(gib << 30, RUNAWAY) == slots


def test_one_run_that_takes_all_it_may_leaves_room_for_the_others() -> None:
    memory = 16 << 30
    slots = run_slots(memory, RUNAWAY)
    assert WORKER_BYTES + (slots - 1) * RUN_BYTES + RUNAWAY <= memory
    assert WORKER_BYTES + slots * RUN_BYTES + RUNAWAY > memory


def test_a_control_groups_limit_counts_before_the_machines_memory(tmp_path: Path) -> None:
    limit, none, absent = tmp_path / "limit", tmp_path / "none", tmp_path / "absent"
    limit.write_text(f"{100 * MIB}\n")
    none.write_text("max\n")
    assert memory_bytes((none, absent, limit)) == 100 * MIB
    assert memory_bytes((none, absent)) > 100 * MIB
