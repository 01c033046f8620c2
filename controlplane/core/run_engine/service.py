"""What people and services ask of a run: create, approve, deny, cancel.

Called by `domains/runs` and `domains/installs` inside their own transactions; they authorize, this
module keeps the rules of the run itself. Writers here hold no lease: they change a run only in the
states in which no worker does, or leave a request that the worker reads. What is asked of a run
that waits, or should wait, is in `steering`.
"""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from controlplane.core import audit, outbox
from controlplane.core.actor import Actor, OpContext
from controlplane.core.errors import ConflictError, ForbiddenError, NotFoundError
from controlplane.core.ids import new_id
from controlplane.core.run_engine import events
from controlplane.core.run_engine.decide import FINAL, PARKED
from controlplane.core.run_engine.facts import context_of
from controlplane.core.run_engine.tables import Run

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
    lane: Literal["read", "write"] = "write",
    params: dict[str, Any] | None = None,
) -> UUID:
    """Write a run in `planning`, its first event, its audit record and the hint; return its id.

    Raises: ForbiddenError without a person or service; ConflictError while another writing run of
    the install has not ended.
    """
    if ctx.actor.principal_id is None:
        raise ForbiddenError("a run needs a person or service who asks for it")
    if lane == "write" and install_id is not None:
        _require_no_writer(session, boundary_id, install_id)
    run_id = new_id()
    session.execute(
        insert(Run).values(
            organization_id=organization_id,
            boundary_id=boundary_id,
            id=run_id,
            install_id=install_id,
            kind=kind,
            lane=lane,
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
    detail = {"kind": kind, "install_id": str(install_id) if install_id else None}
    target = f"run/{run_id}"
    audit.append(session, ctx, "run.created", target=target, boundary_id=boundary_id, detail=detail)
    outbox.enqueue(session, ADVANCE, run_id=run_id)
    return run_id


def _require_no_writer(session: Session, boundary_id: UUID, install_id: UUID) -> None:
    other = session.execute(
        select(Run.id, Run.state).where(
            Run.boundary_id == boundary_id,
            Run.install_id == install_id,
            Run.lane == "write",
            Run.state.not_in(FINAL),
        )
    ).first()
    if other is not None:
        raise ConflictError(
            f"run {other.id} of this install is {other.state}; one run at a time may change it",
            code="install-busy",
            fix=f"wait for run {other.id} to end, or cancel it",
            detail={"run_id": str(other.id)},
        )


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
    resume_run(session, run, {"approved_digest": digest, "approved_by": ctx.actor.principal_id,
                           "approved_at": func.now()})  # fmt: skip
    state_event(session, run, "running", approved_by=ctx.actor.display, digest=digest)
    audit_run(session, ctx, run, "run.approved", digest=digest)


def deny(session: Session, ctx: OpContext, run_id: UUID, reason: str) -> None:
    """Refuse the plan: the run turns around and access is closed."""
    run = _decidable(session, ctx, run_id, None)
    message = f"{ctx.actor.display} refused the plan: {reason}"
    resume_run(
        session, run, {"outcome": "denied", "error_code": "denied", "error_message": message},
        state="unwinding",
    )  # fmt: skip
    state_event(session, run, "unwinding", denied_by=ctx.actor.display, reason=reason)
    audit_run(session, ctx, run, "run.denied", reason=reason)


def request_cancel(session: Session, ctx: OpContext, run_id: UUID, *, keep: bool = False) -> None:
    """Ask for a run to stop, to undo what it made unless `keep`, and to close.

    Raises: ConflictError once there is no way back.
    """
    run = lock_run(session, run_id)
    if run.cancel_requested_at is not None:
        return
    if run.state in FINAL or run.state == "closing" or run.outcome is not None:
        raise ConflictError(
            f"the run is {run.state}: there is nothing left to cancel",
            fix="wait for it to end; it is already ending by itself",
        )
    values: dict[str, Any] = {"cancel_requested_at": func.now(), "cancel_keeps": keep}
    state = "closing" if keep else "unwinding"
    if run.state in PARKED:
        resume_run(session, run, values, state=state)
        state_event(session, run, state, cancelled_by=ctx.actor.display)
    else:
        update_run(session, run, values)
        log_event(
            session, run, f"{ctx.actor.display} asked to cancel" + (" and keep" if keep else "")
        )
        outbox.enqueue(session, ADVANCE, run_id=run.id)
    audit_run(session, ctx, run, "run.cancel-requested", keep=keep)


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


def resume_run(
    session: Session, run: Run, values: dict[str, Any], *, state: str = "running"
) -> None:
    """Give a parked run back to the workers in `state`."""
    released = {
        "state": state,
        "next_run_at": func.now(),
        "lease_until": None,
        "parked_at": None,
        "parked_reason": None,
        "resume_at": None,
        "pause_requested_at": None,
        "pause_reason": None,
    }
    update_run(session, run, {**released, **values})
    outbox.enqueue(session, ADVANCE, run_id=run.id)


def update_run(session: Session, run: Run, values: dict[str, Any]) -> None:
    """Write columns of a locked run."""
    session.execute(
        update(Run)
        .where(Run.boundary_id == run.boundary_id, Run.id == run.id)
        .values(values)
        .execution_options(synchronize_session=False)
    )


def state_event(session: Session, run: Run, state: str, **detail: Any) -> None:
    """Tell that a person changed the run's state."""
    events.append(
        session, organization_id=run.organization_id, boundary_id=run.boundary_id,
        run_id=run.id, kind="run.state", state=state, detail=detail,
    )  # fmt: skip


def log_event(session: Session, run: Run, message: str) -> None:
    """Tell what a person asked for."""
    events.append(
        session, organization_id=run.organization_id, boundary_id=run.boundary_id,
        run_id=run.id, kind="log", detail={"message": message},
    )  # fmt: skip


def audit_run(session: Session, ctx: OpContext, run: Run, code: str, **detail: Any) -> None:
    """Record it in the boundary's chain."""
    audit.append(
        session, ctx, code, target=f"run/{run.id}", boundary_id=run.boundary_id, detail=detail
    )
