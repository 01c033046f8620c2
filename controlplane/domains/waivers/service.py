"""Request, approve, deny and revoke waivers.

Called by the router, and by `domains/documents` for the guests that an organization's file names.
Two people of the organization approve; neither is the one who asked, nor the one who crosses, nor
the other approver, under any identity. One person is enough to end a waiver. Nothing runs when a
waiver's time comes or is over: whoever decides on access reads the clock (`principal_roles`).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, ForbiddenError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.approvals import service as approvals
from controlplane.domains.entitlements import service as entitlements
from controlplane.domains.identity import api_tokens
from controlplane.domains.identity import repository as identity
from controlplane.domains.waivers import repository
from controlplane.tables.waivers import Waiver, WaiverKind, WaiverState
from proof.canonical import digest as digest_of

LONGEST = timedelta(days=90)
BY_FILE = timedelta(days=30)
"""How long a waiver lasts that the organization's file asks for."""
BY_FILE_REASON = "named as a guest in the organization's file"
ASK_ANOTHER = "ask another approver or platform-admin of the organization"


def request(
    session: Session,
    ctx: OpContext,
    *,
    subject: str,
    issuer: str,
    boundary: str | None,
    reason: str,
    ticket: str | None,
    starts_at: datetime | None,
    ends_at: datetime,
) -> Waiver:
    """Ask for a waiver for a guest, for the organization or for one boundary of it.

    Raises: InvalidRequestError naming the field; ConflictError while the same is asked for already.
    """
    organization_id = _organization(ctx)
    if identity.find_home_of_issuer(session, issuer) == organization_id:
        raise InvalidRequestError(
            "this is the organization's own identity provider; its people cross no wall",
            field="issuer",
            fix="give the person a role in the organization's file",
        )
    at = now()
    start, end = _window(at, starts_at, ends_at)
    boundary_id = None
    if boundary is not None:
        boundary_id = identity.find_boundary_id_in_scope(session, boundary)
        if boundary_id is None:
            raise InvalidRequestError(
                f"there is no boundary {boundary!r}",
                field="boundary",
                fix="list them with GET /v1/boundaries, or leave it out for the organization",
            )
    principal_id = identity.ensure_principal(session, issuer, subject, subject)
    waiting = repository.find_waiting(session, principal_id, boundary_id, at)
    if waiting is not None:
        raise ConflictError(
            f"waiver {waiting.id} asks for this crossing and waits for a decision",
            code="waiver-waiting",
            fix="have it approved or denied, or revoke it to withdraw it",
            detail={"waiver_id": str(waiting.id)},
        )
    return _write(session, ctx, principal_id, boundary_id, reason, ticket, start, end)


def ensure_requested(session: Session, ctx: OpContext, guests: Mapping[str, UUID]) -> None:
    """Ask for a waiver for each guest of a file who has none; let nobody in.

    Asked anew once one has expired, and never over a person's no: after a denial or a revocation
    somebody has to ask by name.
    """
    at = now()
    for principal_id in guests.values():
        if all(
            w.state_at(at) is WaiverState.EXPIRED
            for w in repository.list_waivers_of(session, principal_id)
        ):
            _write(session, ctx, principal_id, None, BY_FILE_REASON, None, at, at + BY_FILE)


def approve(
    session: Session, ctx: OpContext, waiver_id: UUID, *, digest: str, reason: str
) -> Waiver:
    """Give the first or the second of two approvals; with the second the waiver holds.

    Raises: ForbiddenError for whoever asked, crosses or approved before, or is an outsider;
    ConflictError for another state or other terms.
    """
    row = repository.get_waiver(session, waiver_id)
    decider = _decider(session, ctx, row, is_approval=True)
    _require_waiting(row)
    if digest != row.digest:
        raise ConflictError(
            f"the digest of the waiver's terms is {row.digest}, not {digest}",
            code="terms-changed",
            field="digest",
            fix="read the waiver again and approve the digest that it shows",
        )
    if row.first_approver is None:
        row.first_approver, row.first_approved_at, row.first_reason = decider, now(), reason
        session.flush()
        _record(session, ctx, row, "waiver.approval-given", reason=reason)
        return row
    row.second_approver, row.second_approved_at, row.second_reason = decider, now(), reason
    row.state = WaiverState.APPROVED
    session.flush()
    approvers = [str(row.first_approver), str(row.second_approver)]
    _record(session, ctx, row, "waiver.approved", is_loud=True, approvers=approvers, reason=reason)
    return row


def deny(session: Session, ctx: OpContext, waiver_id: UUID, *, reason: str) -> Waiver:
    """Refuse a waiver: one person other than who asked and who would cross is enough."""
    row = repository.get_waiver(session, waiver_id)
    decider = _decider(session, ctx, row, is_approval=False)
    _require_waiting(row)
    _end(row, WaiverState.DENIED, decider, reason)
    session.flush()
    _record(session, ctx, row, "waiver.denied", reason=reason)
    return row


def revoke(session: Session, ctx: OpContext, waiver_id: UUID, *, reason: str) -> Waiver:
    """End a waiver now, or withdraw one that was not approved; any one person with the role may.

    Roles end with it; tokens for this organization and gateway keys that no other waiver of the
    same person covers are revoked.
    """
    row = repository.get_waiver(session, waiver_id)
    decider = approvals.require_person(ctx)
    at = now()
    if row.state_at(at) not in (WaiverState.REQUESTED, WaiverState.APPROVED, WaiverState.ACTIVE):
        raise _wrong_state(row, at)
    was_approved = row.state == WaiverState.APPROVED
    _end(row, WaiverState.REVOKED, decider, reason)
    session.flush()
    tokens, keys = _end_credentials(session, ctx, row, at) if was_approved else (0, 0)
    _record(
        session,
        ctx,
        row,
        "waiver.revoked",
        is_loud=was_approved,
        reason=reason,
        tokens=tokens,
        keys=keys,
    )
    return row


def _organization(ctx: OpContext) -> UUID:
    assert ctx.scope.organization_id is not None  # the route's layer is the organization
    return ctx.scope.organization_id


def _window(at: datetime, starts_at: datetime | None, ends_at: datetime) -> tuple[datetime, Any]:
    """Return start and end; a start in the past is now. Raises: InvalidRequestError."""
    start = max(at, starts_at or at)
    if ends_at <= start:
        raise InvalidRequestError(
            "the waiver would end before it starts",
            field="ends_at",
            fix="give an end in the future, after the start",
        )
    if ends_at - start > LONGEST:
        raise InvalidRequestError(
            f"a waiver lasts at most {LONGEST.days} days",
            field="ends_at",
            fix=f"end it by {(start + LONGEST).isoformat(timespec='seconds')}, and ask again then",
        )
    return start, ends_at


def _write(
    session: Session,
    ctx: OpContext,
    principal_id: UUID,
    boundary_id: UUID | None,
    reason: str,
    ticket: str | None,
    starts_at: datetime,
    ends_at: datetime,
) -> Waiver:
    row = Waiver(
        organization_id=_organization(ctx),
        id=new_id(),
        kind=WaiverKind.GUEST,
        principal_id=principal_id,
        boundary_id=boundary_id,
        reason=reason,
        ticket=ticket,
        starts_at=starts_at,
        ends_at=ends_at,
        state=WaiverState.REQUESTED,
        requested_by=ctx.actor.principal_id,
        requested_at=now(),
        carried_over=False,
    )
    row.digest = _digest(row)
    session.add(row)
    session.flush()
    _record(session, ctx, row, "waiver.requested", reason=reason, ticket=ticket)
    return row


def _digest(row: Waiver) -> str:
    """Return the digest of all that two people say yes to."""
    return digest_of(
        {
            "waiver": str(row.id),
            "kind": str(row.kind),
            "organization": str(row.organization_id),
            "boundary": str(row.boundary_id) if row.boundary_id else None,
            "principal": str(row.principal_id),
            "requested_by": str(row.requested_by),
            "reason": row.reason,
            "ticket": row.ticket,
            "starts_at": row.starts_at.isoformat(),
            "ends_at": row.ends_at.isoformat(),
        }
    )


def _decider(session: Session, ctx: OpContext, row: Waiver, *, is_approval: bool) -> UUID:
    """Return who decides: one of the organization's own people, and none of those it is about."""
    others = {row.principal_id: "this is about you yourself, so others must decide"}
    if row.requested_by is not None:
        others[row.requested_by] = "you asked for this yourself, so two other people must decide"
    if is_approval and row.first_approver is not None:
        others[row.first_approver] = "you have approved this already; a second person must too"
    decider = approvals.require_another_person(session, ctx, others, fix=ASK_ANOTHER)
    if ctx.actor.organization_id != row.organization_id:
        raise ForbiddenError(
            "only the organization's own people decide on waivers",
            code="outsider",
            fix=ASK_ANOTHER,
        )
    return decider


def _require_waiting(row: Waiver) -> None:
    at = now()
    if row.state_at(at) is not WaiverState.REQUESTED:
        raise _wrong_state(row, at)


def _wrong_state(row: Waiver, at: datetime) -> ConflictError:
    return ConflictError(
        f"the waiver is {row.state_at(at)}",
        code="waiver-state",
        fix="request a new waiver if the crossing is still needed",
    )


def _end(row: Waiver, state: WaiverState, by: UUID, reason: str) -> None:
    row.state, row.ended_by, row.ended_at, row.end_reason = state, by, now(), reason


def _end_credentials(
    session: Session, ctx: OpContext, row: Waiver, at: datetime
) -> tuple[int, int]:
    """Revoke what the person could use here by this waiver alone; return (tokens, gateway keys)."""
    left = repository.list_in_force(session, row.principal_id, at)
    if any(w.boundary_id is None for w in left):
        return 0, 0
    kept = {w.boundary_id for w in left}
    ended = ctx.scope.boundary_ids or frozenset()
    if row.boundary_id is not None:
        ended = frozenset({row.boundary_id})
    ended -= kept
    tokens = api_tokens.revoke_for_organization(
        session, ctx, row.principal_id, row.organization_id, None if not left else ended
    )
    return tokens, entitlements.revoke_keys_of(session, ctx, row.principal_id, within=ended)


def _record(
    session: Session,
    ctx: OpContext,
    row: Waiver,
    code: str,
    *,
    is_loud: bool = False,
    **detail: Any,
) -> None:
    """Write the event to the organization's chain; a loud one also to each boundary's it opens."""
    facts = {
        "kind": str(row.kind),
        "principal": str(row.principal_id),
        "boundary_id": str(row.boundary_id) if row.boundary_id else None,
        "starts_at": row.starts_at.isoformat(),
        "ends_at": row.ends_at.isoformat(),
        "digest": row.digest,
    }
    chains: list[UUID | None] = [None]
    if is_loud:
        opened = [row.boundary_id] if row.boundary_id else sorted(ctx.scope.boundary_ids or ())
        chains += opened
    for boundary_id in chains:
        audit.append(
            session,
            ctx,
            code,
            target=f"waiver/{row.id}",
            organization_id=row.organization_id,
            boundary_id=boundary_id,
            detail={**facts, **detail},
        )
