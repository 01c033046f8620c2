"""List what an install's state can be put back to: a reading run, for who thinks of a restore.

It claims nothing, opens no role and works between grants. A run, because only the worker reaches
the engine's state; its one step's output is the list.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict
from sqlalchemy.orm import Session

from controlplane.core.run_engine.definition import (
    Definition,
    Done,
    RunView,
    Step,
    StepContext,
    StepResult,
)
from controlplane.domains.installs.restore import LIST, STEP
from controlplane.sagas.provisioning.ports import Ports

# ---- Params ---------------------------------------------------------------------------------


class SnapshotParams(BaseModel):
    """Nothing: the run's own boundary says it all."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Params = SnapshotParams


def complete(session: Session, run: RunView, raw: dict[str, Any], ports: Ports) -> SnapshotParams:
    """Return the full parameters."""
    return SnapshotParams()


# ---- Steps ----------------------------------------------------------------------------------


def read(context: StepContext[SnapshotParams, Ports]) -> StepResult:
    """Read what runs have put aside."""
    boundary_id, state = context.run.boundary_id, context.ports.state
    # A state that was lost has no place for snapshots either; then the list is empty.
    state.ensure(boundary_id)
    return Done(
        {
            "snapshots": [
                {
                    "number": one.number,
                    "label": one.label,
                    "taken_at": one.taken_at.isoformat(),
                    "run_id": str(one.run_id),
                    "stacks": list(one.stacks),
                }
                for one in state.snapshots(boundary_id)
            ]
        }
    )


# ---- Definition -----------------------------------------------------------------------------

DEFINITION = Definition(
    kind=LIST,
    params=SnapshotParams,
    lane="read",
    keeps=True,
    complete=complete,
    # It only reads, so no maintenance window holds it.
    steps=(Step(STEP, "Snapshots of the state", read, None, planning=True, budget=30, estimate=1),),
)
