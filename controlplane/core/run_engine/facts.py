"""A run and its steps as rows say they are, detached from the session.

Read by `store` for the executor, and by whoever needs to act in the requester's name. Separate from
the writes of `store`, which are fenced.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.actor import Actor, OpContext
from controlplane.core.run_engine.definition import RunView
from controlplane.core.run_engine.fence import Claim
from controlplane.core.run_engine.tables import Run, StepRow
from wire.run_event import RunState, StepState


@dataclass(frozen=True)
class StepFacts:
    """A step's row, detached."""

    state: StepState
    attempt: int
    failures: int
    output: dict[str, Any] | None


@dataclass(frozen=True)
class RunFacts:
    """A run and its steps as read in one transaction."""

    view: RunView
    state: RunState
    ctx: OpContext
    params: dict[str, Any]
    cancel_requested: bool
    cancel_keeps: bool
    pause_reason: str | None
    """Set while a person wants the run to pause."""
    steps: dict[str, StepFacts]


def read_facts(session: Session, claim: Claim) -> RunFacts:
    """Return the claimed run and its steps, in their order."""
    run = session.execute(
        select(Run).where(Run.boundary_id == claim.boundary_id, Run.id == claim.run_id)
    ).scalar_one()
    rows = session.execute(
        select(StepRow).where(StepRow.run_id == claim.run_id).order_by(StepRow.position)
    ).scalars()
    steps = {
        row.key: StepFacts(row.state, row.attempt, row.failures, row.output)  # type: ignore[arg-type]  # a text column
        for row in rows
    }
    return RunFacts(
        view=_view(run, claim.fence),
        state=run.state,  # type: ignore[arg-type]  # a text column
        ctx=context_of(run),
        params=run.params,
        cancel_requested=run.cancel_requested_at is not None,
        cancel_keeps=run.cancel_keeps,
        pause_reason=run.pause_reason if run.pause_requested_at is not None else None,
        steps=steps,
    )


def _view(run: Run, fence: int) -> RunView:
    return RunView(
        id=run.id,
        organization_id=run.organization_id,
        boundary_id=run.boundary_id,
        install_id=run.install_id,
        kind=run.kind,
        fence=fence,
        outcome=run.outcome,
        at_fault=run.at_fault,
        plan_digest=run.plan_digest,
        approved_digest=run.approved_digest,
        requested_by=run.requested_by,
    )


def context_of(run: Run) -> OpContext:
    """Return the context of the person who asked for the run, narrowed to its boundary."""
    actor = run.actor
    organization = actor.get("organization_id")
    return OpContext(
        actor=Actor(
            principal_id=run.requested_by,
            issuer=actor["issuer"],
            subject=actor["subject"],
            kind=actor["kind"],
            organization_id=UUID(organization) if organization else None,
            display=actor["display"],
            person_key=actor.get("person_key"),
        ),
        request_id=run.request_id,
        scope=Claim(run.id, run.organization_id, run.boundary_id, run.kind, 0).scope,
    )
