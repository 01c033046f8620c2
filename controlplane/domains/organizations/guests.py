"""Name people of other identity providers, and let them in as a second person.

Called by `domains/documents`, which applies a whole file, and by the router.
"""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ForbiddenError, NotFoundError
from controlplane.domains.approvals import service as approvals
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.organizations import repository
from controlplane.tables.identity import GuestAssignment, RoleName


def ensure_guests(
    session: Session, ctx: OpContext, organization_id: UUID, principals: Collection[UUID]
) -> None:
    """Name guests; they are let in at once only by the organization's own administrator."""
    known = {g.principal_id for g in repository.list_guests(session)}
    own_administrator = (
        ctx.actor.organization_id == organization_id
        and ctx.actor.kind == "human"
        and RoleName.PLATFORM_ADMIN in ctx.roles
    )
    cards = identity.get_cards(session, principals)
    for principal_id in principals:
        if principal_id in known:
            continue
        approved = own_administrator and not _is_same_person(ctx, cards[principal_id])
        session.add(
            GuestAssignment(
                organization_id=organization_id,
                principal_id=principal_id,
                requested_by=ctx.actor.principal_id,
                approved_by=ctx.actor.principal_id if approved else None,
                approved_at=now() if approved else None,
            )
        )
        session.flush()
        audit.append(
            session,
            ctx,
            "guest.approved" if approved else "guest.requested",
            target=f"principal/{principal_id}",
            organization_id=organization_id,
        )


def _is_same_person(ctx: OpContext, card: PrincipalCard) -> bool:
    return ctx.actor.is_same_person(card.issuer, card.subject, card.person_key)


def approve_guest(session: Session, ctx: OpContext, guest_id: UUID) -> GuestAssignment:
    """Let a guest in, as a person who is neither the guest nor the one who named the guest.

    Raises: NotFoundError; ForbiddenError for oneself, under any identity, or for an outsider.
    """
    guest = session.scalars(
        select(GuestAssignment).where(GuestAssignment.id == guest_id).with_for_update()
    ).one_or_none()
    organization_id = ctx.scope.organization_id
    if guest is None or organization_id is None:
        raise NotFoundError(f"there is no guest {guest_id}")
    approvals.require_person(ctx)
    cards = identity.get_cards(session, [guest.principal_id, guest.requested_by])
    if any(_is_same_person(ctx, card) for card in cards.values()):
        raise ForbiddenError(
            "you cannot let in yourself, or whom you named yourself",
            code="four-eyes",
            fix="ask another approver of the organization",
        )
    if ctx.actor.organization_id != organization_id:
        raise ForbiddenError(
            "only the organization's own people let guests in",
            fix="ask an approver of the organization",
        )
    if guest.approved_at is None:
        at = now()
        session.execute(
            update(GuestAssignment)
            .where(
                GuestAssignment.organization_id == organization_id, GuestAssignment.id == guest_id
            )
            .values(approved_by=ctx.actor.principal_id, approved_at=at)
        )
        session.refresh(guest)
        audit.append(
            session,
            ctx,
            "guest.approved",
            target=f"principal/{guest.principal_id}",
            organization_id=organization_id,
        )
    return guest
