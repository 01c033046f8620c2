"""List what waits for a person: requested grants, plans, guests; and whether the caller may decide.

Called by the router. Whether somebody may decide is enforced where the decision is made
(`service.require_second_person`, and the route table); here the same rules are only told, so that
nobody is offered a button that the server would refuse.
"""

from __future__ import annotations

from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.core.run_engine.tables import Run
from controlplane.domains.approvals import repository
from controlplane.domains.approvals.schemas import PendingOut, WhereOut
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.reach import Reach, reach_of
from controlplane.domains.identity.schemas import person_out
from controlplane.domains.permissions import service as permissions
from controlplane.domains.permissions.answers import summary
from controlplane.domains.permissions.schemas import PermissionSummaryOut
from controlplane.domains.permissions.service import Comparison
from controlplane.tables.access import AccessGrant
from controlplane.tables.identity import GuestAssignment
from controlplane.tables.organizations import Boundary

Cards = dict[UUID, PrincipalCard]
APPROVE_GRANT = ("POST", "/v1/grants/{grant_id}/approve")
APPROVE_PLAN = ("POST", "/v1/runs/{run_id}/approve")
APPROVE_GUEST = ("POST", "/v1/organizations/{name}/guests/{guest_id}/approve")
SEE_GUESTS = ("GET", "/v1/organizations/{name}/guests")


def list_pending(session: Session, ctx: OpContext) -> list[PendingOut]:
    """Return all that waits in the caller's boundaries, oldest first: a fixed number of queries."""
    reach = reach_of(session, ctx)
    grants = repository.list_requested_grants(session)
    plans = repository.list_waiting_plans(session)
    may_see_guests = reach.may(*SEE_GUESTS, None)
    guests = repository.list_waiting_guests(session) if may_see_guests else []
    under = repository.open_grants(session, [boundary.id for _, boundary, _ in plans])
    compared = permissions.compare_many(
        session, [*(grant.id for grant, _ in grants), *(grant_id for grant_id, _ in under.values())]
    )
    people = [c.base.decided_by for c in compared.values() if c.base and c.base.decided_by]
    people += [g.requested_by for g, _ in grants] + [run.requested_by for run, _, _ in plans]
    people += [i for g in guests for i in (g.principal_id, g.requested_by) if i is not None]
    cards = identity.get_cards(session, people)
    decide = _Decider(ctx, reach, cards)
    found = [decide.grant(grant, boundary, compared.get(grant.id)) for grant, boundary in grants]
    for run, boundary, name in plans:
        grant_id, until = under.get(boundary.id, (None, None))
        access = decide.permissions(compared.get(grant_id) if grant_id else None)
        seen = {"grant_id": grant_id, "grant_until": until, "permissions": access}
        found.append(decide.plan(run, boundary, name).model_copy(update=seen))
    found += [decide.guest(guest) for guest in guests]
    return sorted(found, key=lambda item: (item.requested_at, str(item.id)))


class _Decider:
    """Shows one thing at a time, with whether the caller may decide on it."""

    def __init__(self, ctx: OpContext, reach: Reach, cards: Cards) -> None:
        self._actor = ctx.actor
        self._reach = reach
        self._cards = cards

    def grant(
        self, grant: AccessGrant, boundary: Boundary, compared: Comparison | None
    ) -> PendingOut:
        """Show a requested grant."""
        may = self._reach.may(*APPROVE_GRANT, boundary.id)
        return self._item(
            "grant",
            grant.id,
            boundary,
            grant.requested_by,
            may=may,
            title=grant.purpose,
            reason=grant.reason,
            ticket=grant.ticket,
            requested_at=grant.requested_at,
            duration_seconds=grant.duration_seconds,
            digest=grant.policy_digest,
            grant_id=grant.id,
            permissions=self.permissions(compared),
        )

    def permissions(self, compared: Comparison | None) -> PermissionSummaryOut | None:
        """Show in figures what a grant asks for; None where that was not kept."""
        return summary(compared, self._cards) if compared else None

    def plan(self, run: Run, boundary: Boundary, name: str | None) -> PendingOut:
        """Show a run whose plan waits."""
        plan = run.plan or {}
        blueprint = " ".join(
            str(plan[key]) for key in ("blueprint", "blueprint_version") if plan.get(key)
        )
        return self._item(
            "plan",
            run.id,
            boundary,
            run.requested_by,
            may=self._reach.may(*APPROVE_PLAN, boundary.id),
            title=f"Install {blueprint or name or ''}".strip(),
            requested_at=run.parked_at or run.created_at,
            digest=run.plan_digest,
            counts=plan.get("counts", {}),
        )

    def guest(self, guest: GuestAssignment) -> PendingOut:
        """Show a guest who is not let in; only the organization's own people decide on one."""
        who = self._cards[guest.principal_id]
        is_own_people = self._actor.organization_id == guest.organization_id
        return self._item(
            "guest",
            guest.id,
            None,
            guest.requested_by,
            may=is_own_people and self._reach.may(*APPROVE_GUEST, None),
            title=f"Let in {who.display} ({who.subject})",
            reason=f"known to {who.issuer}",
            requested_at=guest.requested_at,
            own=self._actor.is_same_person(who.issuer, who.subject, who.person_key),
        )

    def _item(
        self,
        kind: str,
        identifier: UUID,
        boundary: Boundary | None,
        requested_by: UUID | None,
        *,
        may: bool,
        own: bool | None = None,
        **facts: object,
    ) -> PendingOut:
        card = self._cards.get(requested_by) if requested_by else None
        if own is None:
            own = card is not None and self._actor.is_same_person(
                card.issuer, card.subject, card.person_key
            )
        empty = {"reason": "", "ticket": None, "duration_seconds": None, "counts": None}
        empty |= {"digest": None, "grant_id": None, "grant_until": None, "permissions": None}
        where = None
        if boundary is not None:
            where = WhereOut.model_validate(boundary, from_attributes=True)
        return PendingOut.model_validate(
            {
                **empty,
                **facts,
                "kind": kind,
                "id": identifier,
                "boundary": where,
                "requested_by": person_out(card) if card else None,
                "may_decide": may and not own,
                "why_not": "four-eyes" if own else None if may else "role",
            }
        )
