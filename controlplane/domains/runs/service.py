"""Rules of the run routes: how a run is shown, and decisions on its plan with four eyes.

Called by the router, one transaction per request. The run's own rules are the engine's
(`core.run_engine`); what is added here is the record of the approval as a row of its own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import func
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from controlplane.core import run_engine
from controlplane.core.actor import OpContext
from controlplane.core.errors import NotFoundError
from controlplane.core.ids import new_id
from controlplane.core.run_engine.critical_path import (
    StepClock,
    critical_path,
    expected_duration,
    remaining_seconds,
)
from controlplane.core.run_engine.decide import PARKED
from controlplane.core.run_engine.graph import Node, StepGraph
from controlplane.core.run_engine.tables import Run, StepRow
from controlplane.domains.approvals import service as approvals
from controlplane.domains.blueprint_registry.service import find_version
from controlplane.domains.runs import repository
from controlplane.domains.runs.plan_view import view
from controlplane.domains.runs.remedies import remedy_for
from controlplane.domains.runs.schemas import (
    CriticalPathOut,
    FailureOut,
    PlanOut,
    PlanSummary,
    RunOut,
    StepOut,
)
from controlplane.domains.runs.summaries import summarise
from controlplane.tables.access import Approval
from wire.manifest import BlueprintManifest

_ENDED = frozenset({"succeeded", "failed", "skipped", "not-attempted", "unwound"})


def show_run(session: Session, run_id: UUID) -> RunOut:
    """Return a run as people see it."""
    run = repository.get_run(session, run_id)
    rows = repository.list_steps(session, run_id)
    graph = StepGraph.of(Node(row.key, tuple(row.after)) for row, _ in rows)
    clocks = {
        row.key: StepClock(row.estimate_seconds, elapsed, row.state in _ENDED)
        for row, elapsed in rows
    }
    path = critical_path(graph, {key: expected_duration(c) for key, c in clocks.items()})
    return RunOut(
        id=run.id,
        boundary_id=run.boundary_id,
        install_id=run.install_id,
        kind=run.kind,
        state=run.state,
        outcome=run.outcome,
        at_fault=run.at_fault,
        error_code=run.error_code,
        error_message=run.error_message,
        parked_reason=run.parked_reason if run.state in PARKED else None,
        resume_at=run.resume_at if run.state == "paused" else None,
        pause_requested=run.pause_requested_at is not None,
        failure=_failure(session, run, [row for row, _ in rows]),
        requested_by=run.requested_by,
        requested_by_name=run.actor["display"],
        approved_by=run.approved_by,
        created_at=run.created_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        last_seq=run.last_seq,
        plan=_plan_summary(run),
        critical_path=CriticalPathOut(
            keys=list(path.keys),
            seconds=round(path.seconds, 3),
            remaining_seconds=round(remaining_seconds(graph, clocks), 3),
        ),
        steps=[_step(row, elapsed, row.key in path.keys, _counts(run)) for row, elapsed in rows],
        can=_allowed(run, any(row.skippable and row.state == "pending" for row, _ in rows)),
    )


def show_plan(session: Session, run_id: UUID) -> PlanOut:
    """Return the plan. Raises: NotFoundError while there is none."""
    run = repository.get_run(session, run_id)
    if run.plan is None or run.plan_digest is None:
        raise NotFoundError(
            f"run {run_id} has no plan yet; it is {run.state}", fix="wait for awaiting-approval"
        )
    return PlanOut(
        run_id=run.id,
        digest=run.plan_digest,
        approved_digest=run.approved_digest,
        approved_by=run.approved_by,
        document=run.plan,
        view=view(run.plan, _manifest_of(session, run.plan)),
    )


def _manifest_of(session: Session, plan: Mapping[str, Any]) -> BlueprintManifest | None:
    """Return the manifest that a plan was made from; None for one that is not registered."""
    name, version = plan.get("blueprint"), plan.get("blueprint_version")
    if not name or not version:
        return None
    found = find_version(session, name, version)
    return BlueprintManifest.model_validate(found.manifest) if found is not None else None


def approve(session: Session, ctx: OpContext, run_id: UUID, digest: str, reason: str) -> None:
    """Approve the plan by its digest. Raises: ConflictError, ForbiddenError (four eyes)."""
    _require_second_person(session, ctx, run_id)
    run_engine.approve(session, ctx, run_id, digest)
    _record(session, ctx, run_id, "approved", reason)


def deny(session: Session, ctx: OpContext, run_id: UUID, reason: str) -> None:
    """Refuse the plan. Raises: ConflictError, ForbiddenError (four eyes)."""
    _require_second_person(session, ctx, run_id)
    run_engine.deny(session, ctx, run_id, reason)
    _record(session, ctx, run_id, "denied", reason)


def skip_step(session: Session, ctx: OpContext, run_id: UUID, step: str, reason: str) -> None:
    """Let the run go on without a step. Raises: ConflictError, ForbiddenError (four eyes)."""
    _require_second_person(session, ctx, run_id)
    run_engine.skip_step(session, ctx, run_id, step, reason)


def _require_second_person(session: Session, ctx: OpContext, run_id: UUID) -> None:
    """Compare with who the requester is known to be now; the run keeps who it was at the start."""
    requested_by = repository.get_run(session, run_id).requested_by
    if requested_by is not None:
        approvals.require_second_person(session, ctx, requested_by)


def _record(session: Session, ctx: OpContext, run_id: UUID, decision: str, reason: str) -> None:
    run = repository.get_run(session, run_id)
    decided = {"digest": run.plan_digest, "decision": decision, "reason": reason}
    session.execute(
        insert(Approval)
        .values(
            organization_id=run.organization_id,
            boundary_id=run.boundary_id,
            id=new_id(),
            subject_kind="plan",
            subject_id=run.id,
            requested_by=run.requested_by,
            decided_by=ctx.actor.principal_id,
            **decided,
        )
        # A plan that was made again is decided again; the audit chain keeps both decisions.
        .on_conflict_do_update(
            index_elements=["boundary_id", "subject_kind", "subject_id", "decided_by"],
            set_={**decided, "decided_at": func.now()},
        )
    )


def _plan_summary(run: Run) -> PlanSummary | None:
    if run.plan is None or run.plan_digest is None:
        return None
    return PlanSummary(
        digest=run.plan_digest,
        counts=_counts(run),
        approved=run.approved_digest == run.plan_digest,
    )


def _counts(run: Run) -> dict[str, dict[str, int]]:
    counts: dict[str, dict[str, int]] = (run.plan or {}).get("counts", {})
    return counts


def _step(
    row: StepRow, elapsed: float | None, on_path: bool, counts: dict[str, dict[str, int]]
) -> StepOut:
    shown = None if elapsed is None else round(elapsed, 3)
    return StepOut(
        key=row.key,
        title=row.title,
        phase=row.phase,
        after=list(row.after),
        state=row.state,
        summary=summarise(row.key, row.output, counts) if row.state == "succeeded" else "",
        attempt=row.attempt,
        budget_seconds=row.budget_seconds,
        estimate_seconds=row.estimate_seconds,
        elapsed_seconds=shown,
        skippable=row.skippable,
        over_budget=shown is not None and shown > row.budget_seconds,
        on_critical_path=on_path,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error_code=row.error_code,
        error_message=row.error_message,
    )


def _failure(session: Session, run: Run, steps: Sequence[StepRow]) -> FailureOut | None:
    """Return what stops the run; None while it goes on or once it has succeeded."""
    if run.state not in PARKED and run.state not in ("failed", "unwound"):
        return None
    # What has failed for good stops a run that waits; one that has ended was turned around.
    failing = [row for row in steps if row.failures and row.state in ("failed", "unwinding")]
    named = [row for row in steps if row.key == run.at_fault]
    found = failing or named if run.state in PARKED else named
    broken = found[-1] if found else None
    code = broken.error_code if broken is not None else run.error_code
    message = broken.error_message if broken is not None else None
    shown = message or run.parked_reason or run.error_message or ""
    remedy = remedy_for(run.state, code, shown)
    step = broken.key if broken is not None else run.at_fault
    return FailureOut(
        step=step,
        resource=repository.last_failed_resource(session, run.id, step) if step else None,
        code=code,
        message=shown,
        cause=remedy.cause if remedy else "",
        next_action=remedy.next_action.format(run=run.id) if remedy else "",
    )


def _allowed(run: Run, has_skippable: bool) -> list[str]:
    """Return what may be asked now; the engine enforces the same rules."""
    allowed: list[str] = []
    forward = run.outcome is None
    if run.state in ("queued", "planning", "running") and forward:
        allowed.append("pause" if run.pause_requested_at is None else "resume")
    if run.state == "paused":
        allowed.append("resume")
    if run.state == "awaiting-approval":
        allowed += ["approve", "deny"]
    under_way = run.state in ("queued", "planning", "running") or run.state in PARKED
    if under_way and run.outcome is None and run.cancel_requested_at is None:
        allowed.append("cancel")
    if run.state in PARKED and run.state != "awaiting-approval":
        allowed.append("retry")
    if run.state in PARKED and forward and has_skippable:
        allowed.append("skip")
    return allowed
