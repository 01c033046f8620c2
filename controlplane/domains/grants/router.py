"""Routes on access grants."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.connections.repository import get_for_boundary
from controlplane.domains.connections.router import CurrentPins, iso
from controlplane.domains.grants import repository, service
from controlplane.domains.grants.schemas import (
    ApproveIn,
    DecisionIn,
    GrantIn,
    GrantOut,
    GrantsOut,
)
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.schemas import person_out
from controlplane.tables.access import AccessGrant

router = APIRouter(prefix="/v1", tags=["grants"], route_class=TransactionRoute)


@router.post("/boundaries/{boundary}/grants", operation_id="grant_request", status_code=201)
def grant_request(
    boundary: str, body: GrantIn, session: Transaction, ctx: Context, pins: CurrentPins
) -> GrantOut:
    """Ask for access to a boundary for a purpose and a duration."""
    found = get_boundary(session, boundary)
    row = service.request_grant(session, ctx, found, pins, **body.model_dump())
    return _out(session, row)


@router.get("/boundaries/{boundary}/grants", operation_id="grant_list")
def grant_list(boundary: str, session: Transaction, ctx: Context) -> GrantsOut:
    """List the grants of a boundary, newest first."""
    found = get_boundary(session, boundary)
    return GrantsOut(grants=[_out(session, g) for g in repository.list_grants(session, found.id)])


@router.get("/grants/{grant_id}", operation_id="grant_show")
def grant_show(grant_id: UUID, session: Transaction, ctx: Context) -> GrantOut:
    """Show a grant."""
    return _out(session, repository.get_grant(session, grant_id))


@router.post("/grants/{grant_id}/approve", operation_id="grant_approve")
def grant_approve(
    grant_id: UUID, body: ApproveIn, session: Transaction, ctx: Context, pins: CurrentPins
) -> GrantOut:
    """Approve a grant that somebody else asked for."""
    row = service.approve(
        session, ctx, grant_id, pins, policy_digest=body.policy_digest, reason=body.reason
    )
    return _out(session, row)


@router.post("/grants/{grant_id}/deny", operation_id="grant_deny")
def grant_deny(grant_id: UUID, body: DecisionIn, session: Transaction, ctx: Context) -> GrantOut:
    """Refuse a grant that somebody else asked for."""
    return _out(session, service.deny(session, ctx, grant_id, reason=body.reason))


@router.post("/grants/{grant_id}/revoke", operation_id="grant_revoke")
def grant_revoke(grant_id: UUID, body: DecisionIn, session: Transaction, ctx: Context) -> GrantOut:
    """End a grant before its time."""
    return _out(session, service.revoke(session, ctx, grant_id, reason=body.reason))


def _out(session: Session, row: AccessGrant) -> GrantOut:
    cards = identity.get_cards(session, [row.requested_by, row.decided_by])
    decider = cards.get(row.decided_by) if row.decided_by else None
    connection = get_for_boundary(session, row.boundary_id)
    parameters = {}
    if row.grant_until is not None:
        parameters = {"GrantNumber": str(row.number), "GrantUntil": iso(row.grant_until)}
    shown = {
        column.key: getattr(row, column.key)
        for column in AccessGrant.__table__.columns
        if column.key not in ("organization_id", "requested_by", "decided_by")
    }
    return GrantOut(
        **shown,
        requested_by=person_out(cards[row.requested_by]),
        decided_by=person_out(decider) if decider else None,
        role_name=f"{connection.role_base_name}-g{row.number}",
        stack_parameters=parameters,
    )
