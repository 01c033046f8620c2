"""What people ask of a run that waits or is to wait: pause, resume, retry, skip a step.

Called by `domains/runs`, which authorizes. Beside `service`, which creates and ends runs; both
keep the rule that only a parked run is changed here, anything else is a request that its worker
reads.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from controlplane.core import outbox
from controlplane.core.actor import OpContext
from controlplane.core.errors import ConflictError, InvalidRequestError
from controlplane.core.run_engine import events
from controlplane.core.run_engine.decide import FINAL, PARKED
from controlplane.core.run_engine.service import (
    ADVANCE,
    audit_run,
    lock_run,
    log_event,
    resume_run,
    state_event,
    update_run,
)
from controlplane.core.run_engine.tables import Run, StepRow


def request_pause(session: Session, ctx: OpContext, run_id: UUID, reason: str) -> None:
    """Ask a run to begin no further step; what is under way ends first.

    Raises: ConflictError for a run that waits already, turns around, closes or has ended.
    """
    run = lock_run(session, run_id)
    if run.pause_requested_at is not None:
        return
    if run.state not in ("queued", "planning", "running") or run.outcome is not None:
        raise ConflictError(
            f"the run is {run.state}; only a run that goes forward can be paused",
            fix="it waits already"
            if run.state in PARKED
            else "it is over"
            if run.state in FINAL
            else "let it end",
        )
    shown = f"{ctx.actor.display}: {reason}"
    update_run(session, run, {"pause_requested_at": func.now(), "pause_reason": shown})
    log_event(session, run, f"{ctx.actor.display} asked to pause: {reason}")
    outbox.enqueue(session, ADVANCE, run_id=run.id)
    audit_run(session, ctx, run, "run.pause-requested", reason=reason)


def resume(session: Session, ctx: OpContext, run_id: UUID) -> None:
    """Let a paused run go on, or take a pause back that has not begun.

    Raises: ConflictError for a run that is neither.
    """
    run = lock_run(session, run_id)
    if run.state != "paused" and run.pause_requested_at is None:
        raise ConflictError(
            f"the run is {run.state}; only a paused run can be resumed",
            fix="approve or deny its plan"
            if run.state == "awaiting-approval"
            else "retry it" if run.state in PARKED else "watch it",
        )  # fmt: skip
    if run.state == "paused":
        state = "running" if run.outcome is None else "unwinding"
        resume_run(session, run, {}, state=state)
        state_event(session, run, state, resumed_by=ctx.actor.display)
    else:
        update_run(session, run, {"pause_requested_at": None, "pause_reason": None})
        log_event(session, run, f"{ctx.actor.display} took the pause back")
    audit_run(session, ctx, run, "run.resumed")


def wake_paused(session: Session, boundary_id: UUID) -> None:
    """Let runs of a boundary that wait for a time look at once whether they may go on."""
    session.execute(
        update(Run)
        .where(Run.boundary_id == boundary_id, Run.state == "paused", Run.resume_at.is_not(None))
        .values(resume_at=func.now())
        .execution_options(synchronize_session=False)
    )


def retry(session: Session, ctx: OpContext, run_id: UUID, step: str | None = None) -> None:
    """Let a parked run go on: the failed step named, or all, get all their attempts again.

    Raises: ConflictError for a run that is not parked; InvalidRequestError for a step that has not
    failed.
    """
    run = lock_run(session, run_id)
    if run.state not in PARKED or run.state == "awaiting-approval":
        raise ConflictError(
            f"the run is {run.state}; only a parked run can be retried",
            fix="approve or deny its plan"
            if run.state == "awaiting-approval"
            else "ask for a new install run" if run.state in FINAL else "watch it: it is going on",
        )  # fmt: skip
    failed = _failed_steps(session, run)
    if step is not None and step not in failed:
        raise InvalidRequestError(
            f"step {step!r} of the run has not failed",
            field="step",
            fix=f"name one of {', '.join(failed)}" if failed else "leave it out: none has failed",
        )
    again = failed if step is None else [step]
    session.execute(
        update(StepRow)
        .where(
            StepRow.boundary_id == run.boundary_id,
            StepRow.run_id == run.id,
            StepRow.key.in_(again),
        )
        .values(failures=0)
    )
    state = "running" if run.outcome is None else "unwinding"
    resume_run(session, run, {}, state=state)
    state_event(session, run, state, retried_by=ctx.actor.display, steps=again)
    audit_run(session, ctx, run, "run.retried", steps=again)


def skip_step(session: Session, ctx: OpContext, run_id: UUID, key: str, reason: str) -> None:
    """Let a parked run go on later without one step, where the saga can do without it.

    The caller has made sure that the decider is not the requester.
    Raises: ConflictError for a run that is not parked on its way forward; InvalidRequestError for a
    step that is unknown, over, or needed.
    """
    run = lock_run(session, run_id)
    if run.state not in PARKED or run.outcome is not None:
        raise ConflictError(
            f"the run is {run.state}; steps are skipped while a run waits on its way forward",
            fix="pause it first",
        )
    row = session.execute(
        select(StepRow).where(
            StepRow.boundary_id == run.boundary_id, StepRow.run_id == run.id, StepRow.key == key
        )
    ).scalar_one_or_none()
    if row is None or not row.skippable or row.state != "pending":
        raise InvalidRequestError(
            f"step {key!r} cannot be skipped{_why_not(row)}",
            field="step",
            fix=_skippable(session, run),
        )
    row.state = "skipped"
    shown = {"reason": f"{ctx.actor.display}: {reason}"}
    events.append(
        session, organization_id=run.organization_id, boundary_id=run.boundary_id, run_id=run.id,
        kind="step.state", step=key, state="skipped", detail=shown,
    )  # fmt: skip
    audit_run(session, ctx, run, "run.step-skipped", step=key, reason=reason)


def _failed_steps(session: Session, run: Run) -> list[str]:
    return list(
        session.execute(
            select(StepRow.key)
            .where(
                StepRow.boundary_id == run.boundary_id,
                StepRow.run_id == run.id,
                StepRow.failures > 0,
                StepRow.state.in_(("failed", "unwinding")),
            )
            .order_by(StepRow.position)
        ).scalars()
    )


def _why_not(row: StepRow | None) -> str:
    if row is None:
        return ": there is none of that name"
    return f": it is {row.state}" if row.skippable else ": the run cannot do without it"


def _skippable(session: Session, run: Run) -> str:
    keys = session.execute(
        select(StepRow.key)
        .where(
            StepRow.boundary_id == run.boundary_id,
            StepRow.run_id == run.id,
            StepRow.skippable,
            StepRow.state == "pending",
        )
        .order_by(StepRow.position)
    ).scalars()
    named = ", ".join(keys)
    return f"name one of {named}" if named else "this run has no step that it can do without"
