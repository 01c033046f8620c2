"""Routes on the waivers of an organization."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.boundaries.repository import list_boundaries
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.schemas import PersonOut, person_out
from controlplane.domains.waivers import repository, service
from controlplane.domains.waivers.schemas import (
    WaiverApproveIn,
    WaiverEndIn,
    WaiverIn,
    WaiverOut,
    WaiversOut,
)
from controlplane.tables.waivers import APPROVALS_NEEDED, Waiver

router = APIRouter(
    prefix="/v1/organizations/{name}/waivers", tags=["waivers"], route_class=TransactionRoute
)


@router.get("", operation_id="waiver_list")
def waiver_list(name: str, session: Transaction, ctx: Context) -> WaiversOut:
    """List who may cross the organization's walls, could, or asks to; newest first."""
    return WaiversOut(waivers=_out(session, repository.list_waivers(session)))


@router.post("", operation_id="waiver_request", status_code=201)
def waiver_request(name: str, body: WaiverIn, session: Transaction, ctx: Context) -> WaiverOut:
    """Ask for a crossing; two other people of the organization decide on it."""
    row = service.request(session, ctx, **body.model_dump(exclude={"kind"}))
    return _out(session, [row])[0]


@router.post("/{waiver_id}/approve", operation_id="waiver_approve")
def waiver_approve(
    name: str, waiver_id: UUID, body: WaiverApproveIn, session: Transaction, ctx: Context
) -> WaiverOut:
    """Give one of the two approvals, to exactly the terms with this digest."""
    row = service.approve(session, ctx, waiver_id, digest=body.digest, reason=body.reason)
    return _out(session, [row])[0]


@router.post("/{waiver_id}/deny", operation_id="waiver_deny")
def waiver_deny(
    name: str, waiver_id: UUID, body: WaiverEndIn, session: Transaction, ctx: Context
) -> WaiverOut:
    """Refuse a waiver that somebody else asked for."""
    return _out(session, [service.deny(session, ctx, waiver_id, reason=body.reason)])[0]


@router.post("/{waiver_id}/revoke", operation_id="waiver_revoke")
def waiver_revoke(
    name: str, waiver_id: UUID, body: WaiverEndIn, session: Transaction, ctx: Context
) -> WaiverOut:
    """End a waiver at once, or withdraw one that was not approved."""
    return _out(session, [service.revoke(session, ctx, waiver_id, reason=body.reason)])[0]


def _out(session: Session, rows: Sequence[Waiver]) -> list[WaiverOut]:
    people = {i for row in rows for i in _people(row)}
    cards = identity.get_cards(session, people)
    boundaries = {b.id: b.name for b in list_boundaries(session)}
    at = now()
    return [
        WaiverOut.model_validate(
            {
                **{k: getattr(row, k) for k in WaiverOut.model_fields if hasattr(row, k)},
                "state": row.state_at(at),
                "person": person_out(cards[row.principal_id]),
                "issuer": cards[row.principal_id].issuer,
                "boundary": boundaries[row.boundary_id] if row.boundary_id else None,
                "requested_by": _person(cards, row.requested_by),
                "approvals": _approvals(cards, row),
                "approvals_needed": APPROVALS_NEEDED,
                "ended_by": _person(cards, row.ended_by),
            }
        )
        for row in rows
    ]


def _people(row: Waiver) -> list[UUID | None]:
    deciders = [row.first_approver, row.second_approver, row.ended_by]
    return [row.principal_id, row.requested_by, *deciders]


def _person(cards: dict[UUID, PrincipalCard], who: UUID | None) -> PersonOut | None:
    return person_out(cards[who]) if who is not None else None


def _approvals(cards: dict[UUID, PrincipalCard], row: Waiver) -> list[dict[str, Any]]:
    given = (
        (row.first_approver, row.first_approved_at, row.first_reason),
        (row.second_approver, row.second_approved_at, row.second_reason),
    )
    return [
        {"by": _person(cards, who), "at": at, "reason": reason or ""}
        for who, at, reason in given
        if who is not None
    ]
