"""Routes on an organization and its guests; its file is applied by `domains/documents`."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.schemas import person_out
from controlplane.domains.organizations import guests, repository
from controlplane.domains.organizations.schemas import GuestOut, GuestsOut, OrganizationOut
from controlplane.tables.identity import GuestAssignment

router = APIRouter(prefix="/v1", tags=["organizations"], route_class=TransactionRoute)


@router.get("/organizations/{name}", operation_id="organization_show")
def organization_show(name: str, session: Transaction, ctx: Context) -> OrganizationOut:
    """Show an organization and the document that was applied last."""
    found = repository.get_organization(session, name)
    return OrganizationOut(
        id=found.id,
        name=found.name,
        display_name=found.display_name,
        document=found.document,
        document_digest=found.document_digest,
        updated_at=found.updated_at,
    )


@router.get("/organizations/{name}/guests", operation_id="guest_list")
def guest_list(name: str, session: Transaction, ctx: Context) -> GuestsOut:
    """List people of other identity providers, let in or waiting."""
    found = repository.list_guests(session)
    ids = [g.principal_id for g in found] + [g.approved_by for g in found]
    cards = identity.get_cards(session, ids)
    return GuestsOut(guests=[_guest(g, cards) for g in found])


@router.post("/organizations/{name}/guests/{guest_id}/approve", operation_id="guest_approve")
def guest_approve(name: str, guest_id: UUID, session: Transaction, ctx: Context) -> GuestOut:
    """Let a guest in."""
    guest = guests.approve_guest(session, ctx, guest_id)
    cards = identity.get_cards(session, [guest.principal_id, guest.approved_by])
    return _guest(guest, cards)


def _guest(guest: GuestAssignment, cards: dict[UUID, PrincipalCard]) -> GuestOut:
    approver = cards.get(guest.approved_by) if guest.approved_by else None
    return GuestOut(
        id=guest.id,
        person=person_out(cards[guest.principal_id]),
        requested_at=guest.requested_at,
        approved_by=person_out(approver) if approver else None,
        approved_at=guest.approved_at,
    )
