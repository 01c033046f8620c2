"""What people and services ask of a run: create, approve, deny, cancel, retry.

Called by `domains/runs` and `domains/installs` inside their own transactions; they authorize, this
module keeps the rules of the run itself. Writers here hold no lease: they change a run only in the
states in which no worker does, or leave a request that the worker reads.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from controlplane.core import audit, outbox
from controlplane.core.actor import Actor, OpContext
from controlplane.core.errors import ConflictError, ForbiddenError, NotFoundError
from controlplane.core.ids import new_id
from controlplane.core.run_engine import events
from controlplane.core.run_engine.decide import FINAL, PARKED
from controlplane.core.run_engine.store import context_of
from controlplane.core.run_engine.tables import Run, StepRow

ADVANCE = "run.advance"
"""The task that hints a worker at a run; its only argument is `run_id`."""


def create_run(
    session: Session,
    ctx: OpContext,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    install_id: UUID | None,
    kind: str,
    params: dict[str, Any] | None = None,
) -> UUID:
    """Write a run in `planning`, its first event, its audit record and the hint; return its id."""
    if ctx.actor.principal_id is None:
        raise ForbiddenError("a run needs a person or service who asks for it")
    run_id = new_id()
    session.execute(
        insert(Run).values(
            organization_id=organization_id,
            boundary_id=boundary_id,
            id=run_id,
            install_id=install_id,
            kind=kind,
            state="planning",
            params=params or {},
            requested_by=ctx.actor.principal_id,
            actor=_actor_record(ctx.actor),
            request_id=ctx.request_id,
        )
    )
    events.append(
        session,
        organization_id=organization_id,
        boundary_id=boundary_id,
        run_id=run_id,
        kind="run.state",
        state="planning",
        detail={"kind": kind, "requested_by": ctx.actor.display},
    )
    audit.append(
        session, ctx, "run.created", target=f"run/{run_id}", boundary_id=boundary_id,
        detail={"kind": kind, "install_id": str(install_id) if install_id else None},
    )  # fmt: skip
    outbox.enqueue(session, ADVANCE, run_id=run_id)
    return run_id


def _actor_record(actor: Actor) -> dict[str, Any]:
    """Return what `store.context_of` makes the requester of again."""
    return {
        "issuer": actor.issuer,
        "subject": actor.subject,
        "kind": actor.kind,
        "display": actor.display,
        "organization_id": str(actor.organization_id) if actor.organization_id else None,
        "person_key": actor.person_key,
    }


def approve(session: Session, ctx: OpContext, run_id: UUID, digest: str) -> None:
    """Approve the plan of that digest. Raises: ConflictError, ForbiddenError (four eyes)."""
    run = _decidable(session, ctx, run_id, digest)
    _resume(session, run, {"approved_digest": digest, "approved_by": ctx.actor.principal_id,
                           "approved_at": func.now()})  # fmt: skip
    _state_event(session, run, "running", approved_by=ctx.actor.display, digest=digest)
    _audit(session, ctx, run, "run.approved", digest=digest)


def deny(session: Session, ctx: OpContext, run_id: UUID, reason: str) -> None:
    """Refuse the plan: the run turns around and access is closed."""
    run = _decidable(session, ctx, run_id, None)
    message = f"{ctx.actor.display} refused the plan: {reason}"
    _resume(
        session, run, {"outcome": "denied", "error_code": "denied", "error_message": message},
        state="unwinding",
    )  # fmt: skip
    _state_event(session, run, "unwinding", denied_by=ctx.actor.display, reason=reason)
    _audit(session, ctx, run, "run.denied", reason=reason)


def request_cancel(session: Session, ctx: OpContext, run_id: UUID) -> None:
    """Ask for a run to stop, undo and close. Raises: ConflictError once there is no way back."""
    run = lock_run(session, run_id)
    if run.cancel_requested_at is not None:
        return
    if run.state in FINAL or run.state == "closing" or run.outcome is not None:
        raise ConflictError(
            f"the run is {run.state}: there is nothing left to cancel",
            fix="wait for it to end; it is already ending by itself",
        )
    values: dict[str, Any] = {"cancel_requested_at": func.now()}
    if run.state in PARKED:
        _resume(session, run, values, state="unwinding")
        _state_event(session, run, "unwinding", cancelled_by=ctx.actor.display)
    else:
        _update(session, run, values)
        _log_event(session, run, f"{ctx.actor.display} asked to cancel")
        outbox.enqueue(session, ADVANCE, run_id=run.id)
    _audit(session, ctx, run, "run.cancel-requested")


def retry(session: Session, ctx: OpContext, run_id: UUID) -> None:
    """Let a parked run go on: failed steps and undos get all their attempts again."""
    run = lock_run(session, run_id)
    if run.state not in PARKED or run.state == "awaiting-approval":
        raise ConflictError(
            f"the run is {run.state}; only a parked run can be retried",
            fix="approve or deny its plan"
            if run.state == "awaiting-approval"
            else "ask for a new install run" if run.state in FINAL else "watch it: it is going on",
        )  # fmt: skip
    session.execute(
        update(StepRow)
        .where(StepRow.boundary_id == run.boundary_id, StepRow.run_id == run.id)
        .values(failures=0)
    )
    state = "running" if run.outcome is None else "unwinding"
    _resume(session, run, {}, state=state)
    _state_event(session, run, state, retried_by=ctx.actor.display)
    _audit(session, ctx, run, "run.retried")


def lock_run(session: Session, run_id: UUID) -> Run:
    """Return the run with its row locked. Raises: NotFoundError, also for other boundaries'."""
    run = session.execute(
        select(Run).where(Run.id == run_id).with_for_update()
    ).scalar_one_or_none()
    if run is None:
        raise NotFoundError(f"there is no run {run_id}")
    return run


def _decidable(session: Session, ctx: OpContext, run_id: UUID, digest: str | None) -> Run:
    run = lock_run(session, run_id)
    if run.state != "awaiting-approval":
        raise ConflictError(f"the run is {run.state}; there is no plan to decide on")
    requester = context_of(run).actor
    actor = ctx.actor
    if actor.kind != "human":
        raise ForbiddenError(
            "only a person can decide on a plan",
            code="person-needed",
            fix="ask a person with the role approver",
        )
    if actor.principal_id == run.requested_by or requester.is_same_person(
        actor.issuer, actor.subject, actor.person_key
    ):
        raise ForbiddenError(
            "you asked for this run, so somebody else must decide on its plan",
            code="four-eyes",
            fix="ask a person with the role approver",
        )
    if digest is not None and digest != run.plan_digest:
        raise ConflictError(
            f"the plan's digest is {run.plan_digest}, not {digest}",
            code="plan-changed",
            field="digest",
            fix="read the plan again and approve the digest it shows",
        )
    return run


def _resume(session: Session, run: Run, values: dict[str, Any], *, state: str = "running") -> None:
    released = {
        "state": state,
        "next_run_at": func.now(),
        "lease_until": None,
        "parked_at": None,
        "parked_reason": None,
    }
    _update(session, run, {**released, **values})
    outbox.enqueue(session, ADVANCE, run_id=run.id)


def _update(session: Session, run: Run, values: dict[str, Any]) -> None:
    session.execute(
        update(Run)
        .where(Run.boundary_id == run.boundary_id, Run.id == run.id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def _state_event(session: Session, run: Run, state: str, **detail: Any) -> None:
    events.append(
        session, organization_id=run.organization_id, boundary_id=run.boundary_id,
        run_id=run.id, kind="run.state", state=state, detail=detail,
    )  # fmt: skip


def _log_event(session: Session, run: Run, message: str) -> None:
    events.append(
        session, organization_id=run.organization_id, boundary_id=run.boundary_id,
        run_id=run.id, kind="log", detail={"message": message},
    )  # fmt: skip


def _audit(session: Session, ctx: OpContext, run: Run, code: str, **detail: Any) -> None:
    audit.append(
        session, ctx, code, target=f"run/{run.id}", boundary_id=run.boundary_id, detail=detail
    )
