"""Request, decide, activate and end access grants.

Called by the router for people, by the task of a probe (activation), and by sagas and scheduler
(the end). An open grant blocks a second one: there is one role per boundary at a time (decision 1).
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, ForbiddenError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.approvals import service as approvals
from controlplane.domains.connections import repository as connections
from controlplane.domains.connections import service as connection_service
from controlplane.domains.connections.service import Pins
from controlplane.domains.grants import repository
from controlplane.domains.grants.states import require
from controlplane.domains.permissions import service as permissions
from controlplane.tables.access import AccessGrant, GrantState
from controlplane.tables.organizations import Boundary, CloudConnection, ConnectionState
from proof.canonical import digest


def request_grant(
    session: Session,
    ctx: OpContext,
    boundary: Boundary,
    pins: Pins,
    *,
    purpose: str,
    reason: str,
    ticket: str | None,
    duration_seconds: int,
) -> AccessGrant:
    """Ask for access to a boundary. Raises: ConflictError while another grant has not ended."""
    if ctx.actor.principal_id is None:
        raise ForbiddenError("only a person can request a grant")
    connection = _usable_connection(session, boundary)
    asked = permissions.keep(
        session, boundary, connection_service.permission_document(connection, boundary, pins)
    )
    row = AccessGrant(
        organization_id=boundary.organization_id,
        boundary_id=boundary.id,
        id=new_id(),
        connection_id=connection.id,
        number=repository.next_number(session, boundary.id),
        purpose=purpose,
        reason=reason,
        ticket=ticket,
        policy_digest=asked.digest,
        permission_document_id=asked.id,
        duration_seconds=duration_seconds,
        state=GrantState.REQUESTED,
        requested_by=ctx.actor.principal_id,
        requested_at=now(),
    )
    session.add(row)
    session.flush()
    _record(
        session,
        ctx,
        row,
        "grant.requested",
        purpose=purpose,
        duration_seconds=duration_seconds,
        policy_digest=row.policy_digest,
        ticket=ticket,
    )
    return row


def _usable_connection(session: Session, boundary: Boundary) -> CloudConnection:
    """Return the boundary's connection if a grant may be asked for now."""
    connection = connections.get_for_boundary(session, boundary.id)
    if connection.state == ConnectionState.UNSAFE:
        raise ConflictError(
            "the customer's role lets in more than our external id; a grant would open it",
            code="connection-unsafe",
            fix="correct the trust policy, then verify the connection again",
        )
    unfinished = repository.find_unfinished(session, boundary.id)
    if unfinished is not None:
        raise ConflictError(
            f"grant {unfinished.id} of this boundary is {unfinished.state}",
            code="grant-open",
            fix="use it, deny it or revoke it first: one role per boundary at a time",
            detail={"grant_id": str(unfinished.id)},
        )
    return connection


def approve(
    session: Session,
    ctx: OpContext,
    grant_id: UUID,
    pins: Pins,
    *,
    policy_digest: str | None,
    reason: str,
) -> AccessGrant:
    """Approve a grant as a second person; its end is counted from now.

    Raises: ForbiddenError for the requester; ConflictError for another state or digest, or once the
    template is another one than was asked for.
    """
    row = repository.get_grant(session, grant_id, lock=True)
    require(row.state, GrantState.APPROVED)
    if policy_digest is not None and policy_digest != row.policy_digest:
        raise ConflictError(
            f"the grant's policy digest is {row.policy_digest}, not {policy_digest}",
            code="policy-changed",
            field="policy_digest",
            fix="read GET /v1/grants/{grant_id}/permissions and approve the digest it shows",
        )
    _require_same_template(session, row, pins)
    row.decided_by = _decide(session, ctx, row, "approved", reason)
    row.decided_at = now()
    row.decision_reason = reason
    row.state = GrantState.APPROVED
    # Whole seconds: the template's parameter has no fraction, and both must say the same moment.
    row.grant_until = (now() + timedelta(seconds=row.duration_seconds)).replace(microsecond=0)
    session.flush()
    _record(
        session,
        ctx,
        row,
        "grant.approved",
        policy_digest=row.policy_digest,
        grant_until=row.grant_until.isoformat(),
        reason=reason,
    )
    return row


def _require_same_template(session: Session, row: AccessGrant, pins: Pins) -> None:
    """Refuse an approval of what would not be handed over. Raises: ConflictError."""
    connection, boundary = connections.get_connection(session, row.connection_id)
    now_rendered = digest(connection_service.permission_document(connection, boundary, pins))
    if now_rendered != row.policy_digest:
        raise ConflictError(
            "the role's template has changed since this grant was asked for",
            code="template-changed",
            fix="deny this grant and have it asked for again: the new one shows what changed",
            detail={"asked_digest": row.policy_digest, "current_digest": now_rendered},
        )


def deny(session: Session, ctx: OpContext, grant_id: UUID, *, reason: str) -> AccessGrant:
    """Refuse a grant as a second person."""
    row = repository.get_grant(session, grant_id, lock=True)
    require(row.state, GrantState.DENIED)
    row.decided_by = _decide(session, ctx, row, "denied", reason)
    row.decided_at = row.ended_at = now()
    row.decision_reason = reason
    row.state = GrantState.DENIED
    session.flush()
    _record(session, ctx, row, "grant.denied", reason=reason)
    return row


def revoke(session: Session, ctx: OpContext, grant_id: UUID, *, reason: str) -> AccessGrant:
    """End a grant before its time: no new session is asked for under it from now on."""
    row = repository.get_grant(session, grant_id, lock=True)
    require(row.state, GrantState.REVOKED)
    row.state = GrantState.REVOKED
    row.ended_at = now()
    session.flush()
    _record(session, ctx, row, "grant.revoked", reason=reason)
    return row


def activate(session: Session, ctx: OpContext, grant_id: UUID) -> AccessGrant:
    """Make an approved grant active: a probe showed that the customer opened its role."""
    row = repository.get_grant(session, grant_id, lock=True)
    if row.state == GrantState.ACTIVE:
        return row
    require(row.state, GrantState.ACTIVE)
    row.state = GrantState.ACTIVE
    row.activated_at = now()
    session.flush()
    _record(session, ctx, row, "grant.activated")
    return row


def end(
    session: Session,
    ctx: OpContext,
    grant_id: UUID,
    state: GrantState,
    *,
    closed_by: str | None = None,
) -> AccessGrant:
    """Move a grant to `closing`, `expired` or `closed`; repeating it is harmless."""
    codes = {
        GrantState.CLOSING: "grant.revoked",
        GrantState.EXPIRED: "grant.expired",
        GrantState.CLOSED: "grant.closed",
    }
    row = repository.get_grant(session, grant_id, lock=True)
    if row.state == state:
        return row
    require(row.state, state)
    row.state = state
    if state is not GrantState.CLOSING:
        row.ended_at = row.ended_at or now()
    if closed_by is not None:
        row.closed_by = closed_by
    session.flush()
    _record(session, ctx, row, codes[state], state=state, closed_by=closed_by)
    return row


def require_active(
    session: Session, grant_id: UUID, boundary_id: UUID, *, remaining: timedelta | None = None
) -> AccessGrant:
    """Return the boundary's grant if it is active now, with at least `remaining` left.

    Raises: InvalidRequestError for another boundary's; ConflictError for one that is not active.
    """
    row = repository.get_grant(session, grant_id)
    if row.boundary_id != boundary_id:
        raise InvalidRequestError(
            "this grant belongs to another boundary",
            field="grant_id",
            fix="request a grant for the boundary of the install",
        )
    if row.state != GrantState.ACTIVE:
        raise ConflictError(
            f"the grant is {row.state}, not active",
            code="grant-not-active",
            field="grant_id",
            fix=_next_step(row),
        )
    left = (row.grant_until or now()) - now()
    if left < (remaining or timedelta(0)):
        raise ConflictError(
            f"the grant ends in {max(int(left.total_seconds()), 0)} s; this needs"
            f" {int((remaining or timedelta(0)).total_seconds())} s",
            code="grant-too-short",
            field="grant_id",
            fix="request a new grant with a longer duration",
        )
    return row


def _next_step(row: AccessGrant) -> str:
    steps = {
        GrantState.REQUESTED: "have it approved by a second person",
        GrantState.APPROVED: "have the customer update the stack to this grant, then verify the"
        " connection with expect=open",
    }
    return steps.get(GrantState(row.state), "request a new grant")


def _decide(session: Session, ctx: OpContext, row: AccessGrant, decision: Any, reason: str) -> UUID:
    return approvals.record(
        session,
        ctx,
        organization_id=row.organization_id,
        boundary_id=row.boundary_id,
        subject_kind="grant",
        subject_id=row.id,
        digest=row.policy_digest,
        decision=decision,
        requested_by=row.requested_by,
        reason=reason,
    )


def _record(session: Session, ctx: OpContext, row: AccessGrant, code: str, **detail: Any) -> None:
    audit.append(
        session,
        ctx,
        code,
        target=f"grant/{row.id}",
        boundary_id=row.boundary_id,
        organization_id=row.organization_id,
        detail={"number": row.number, **detail},
    )
