"""Queries over runs and steps; the transaction's scope decides which are seen."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.core.errors import NotFoundError
from controlplane.core.run_engine.tables import Run, RunEventRow, StepRow


def get_run(session: Session, run_id: UUID) -> Run:
    """Return a run. Raises: NotFoundError, also for those of other boundaries."""
    run = session.execute(select(Run).where(Run.id == run_id)).scalar_one_or_none()
    if run is None:
        raise NotFoundError(f"there is no run {run_id}")
    return run


def list_steps(session: Session, run_id: UUID) -> list[tuple[StepRow, float | None]]:
    """Return the steps in order, each with the seconds it took or has taken so far."""
    until = func.coalesce(StepRow.finished_at, func.clock_timestamp())
    rows = session.execute(
        select(StepRow, func.extract("epoch", until - StepRow.started_at))
        .where(StepRow.run_id == run_id)
        .order_by(StepRow.position)
    ).all()
    return [(row[0], None if row[1] is None else float(row[1])) for row in rows]


def last_failed_resource(session: Session, run_id: UUID, step: str) -> str | None:
    """Return the URN of the resource of a step that failed last, or None."""
    return session.execute(
        select(RunEventRow.detail["urn"].astext)
        .where(
            RunEventRow.run_id == run_id,
            RunEventRow.step == step,
            RunEventRow.kind == "resource",
            RunEventRow.state == "failed",
        )
        .order_by(RunEventRow.seq.desc())
        .limit(1)
    ).scalar_one_or_none()
