"""Record a decision by a second person. Called by grants; waivers need two and keep their own rows.

Plans are decided in the run engine, which keeps the same rules over its own rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from sqlalchemy import insert
from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.core.errors import ForbiddenError
from controlplane.core.ids import new_id
from controlplane.domains.identity import repository as identity
from controlplane.tables.access import Approval


def require_person(ctx: OpContext) -> UUID:
    """Return the decider's id. Raises: ForbiddenError for services and break glass: no eyes."""
    if ctx.actor.principal_id is None or ctx.actor.kind != "human":
        raise ForbiddenError(
            "only a person can decide on this",
            code="person-needed",
            fix="ask a person with the role approver",
        )
    return ctx.actor.principal_id


def require_second_person(session: Session, ctx: OpContext, requested_by: UUID) -> UUID:
    """Return the decider's id once it is clear that the requester is another person.

    Raises: ForbiddenError for the same principal, or for another identity of the same person.
    """
    decider = require_person(ctx)
    requester = identity.get_cards(session, [requested_by]).get(requested_by)
    if requester is None or ctx.actor.is_same_person(
        requester.issuer, requester.subject, requester.person_key
    ):
        raise ForbiddenError(
            "you asked for this yourself, so somebody else must decide",
            code="four-eyes",
            fix="ask a person with the role approver",
        )
    return decider


def require_another_person(
    session: Session, ctx: OpContext, others: Mapping[UUID, str], *, fix: str
) -> UUID:
    """Return the decider's id once it is clear that none of these is the same person.

    Shapes: `others` has per principal what is told to whoever is that person, under any identity.
    Raises: ForbiddenError for one of them, and when one of them is not known.
    """
    decider = require_person(ctx)
    cards = identity.get_cards(session, others)
    for principal_id, message in others.items():
        card = cards.get(principal_id)
        if card is None or ctx.actor.is_same_person(card.issuer, card.subject, card.person_key):
            raise ForbiddenError(message, code="four-eyes", fix=fix)
    return decider


def record(
    session: Session,
    ctx: OpContext,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    subject_kind: Literal["grant", "plan"],
    subject_id: UUID,
    digest: str,
    decision: Literal["approved", "denied"],
    requested_by: UUID,
    reason: str,
) -> UUID:
    """Write the decision of the caller, who must be a second person; return who decided."""
    decider = require_second_person(session, ctx, requested_by)
    session.execute(
        insert(Approval).values(
            organization_id=organization_id,
            boundary_id=boundary_id,
            id=new_id(),
            subject_kind=subject_kind,
            subject_id=subject_id,
            digest=digest,
            decision=decision,
            requested_by=requested_by,
            decided_by=decider,
            reason=reason,
        )
    )
    return decider
