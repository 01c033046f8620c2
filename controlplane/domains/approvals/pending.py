"""List what waits for people: grants, plans, waivers, overrides; and who may decide on them.

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
from controlplane.tables.organizations import Boundary
from controlplane.tables.waivers import APPROVALS_NEEDED, Waiver
from controlplane.tables.windows import KEPT_REQUESTS, WindowOverride

Cards = dict[UUID, PrincipalCard]
APPROVE_GRANT = ("POST", "/v1/grants/{grant_id}/approve")
APPROVE_PLAN = ("POST", "/v1/runs/{run_id}/approve")
APPROVE_OVERRIDE = ("POST", "/v1/boundaries/{boundary}/window-overrides/{override_id}/approve")
APPROVE_WAIVER = ("POST", "/v1/organizations/{name}/waivers/{waiver_id}/approve")
_VERBS = {
    "install.update": "Update",
    "install.restore": "Restore",
    "install.deprovision": "Remove",
    "install.purge": "Purge the data of",
}
SEE_WAIVERS = ("GET", "/v1/organizations/{name}/waivers")


def list_pending(session: Session, ctx: OpContext) -> list[PendingOut]:
    """Return all that waits in the caller's boundaries, oldest first: a fixed number of queries."""
    reach = reach_of(session, ctx)
    grants = repository.list_requested_grants(session)
    plans = repository.list_waiting_plans(session)
    overrides = repository.list_waiting_overrides(session)
    may_see_waivers = reach.may(*SEE_WAIVERS, None)
    waivers = repository.list_waiting_waivers(session) if may_see_waivers else []
    under = repository.open_grants(session, [boundary.id for _, boundary, _ in plans])
    compared = permissions.compare_many(
        session, [*(grant.id for grant, _ in grants), *(grant_id for grant_id, _ in under.values())]
    )
    people = [c.base.decided_by for c in compared.values() if c.base and c.base.decided_by]
    people += [g.requested_by for g, _ in grants] + [run.requested_by for run, _, _ in plans]
    people += [override.requested_by for override, _ in overrides]
    people += [
        i
        for w, _ in waivers
        for i in (w.principal_id, w.requested_by, w.first_approver)
        if i is not None
    ]
    cards = identity.get_cards(session, people)
    decide = _Decider(ctx, reach, cards)
    found = [decide.grant(grant, boundary, compared.get(grant.id)) for grant, boundary in grants]
    for run, boundary, name in plans:
        grant_id, until = under.get(boundary.id, (None, None))
        access = decide.permissions(compared.get(grant_id) if grant_id else None)
        seen = {"grant_id": grant_id, "grant_until": until, "permissions": access}
        found.append(decide.plan(run, boundary, name).model_copy(update=seen))
    found += [decide.waiver(waiver, boundary) for waiver, boundary in waivers]
    found += [decide.override(override, boundary) for override, boundary in overrides]
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
            title=f"{_VERBS.get(run.kind, 'Install')} {blueprint or name or ''}".strip(),
            requested_at=run.parked_at or run.created_at,
            digest=run.plan_digest,
            counts=plan.get("counts", {}),
        )

    def override(self, override: WindowOverride, boundary: Boundary) -> PendingOut:
        """Show a wish to change a boundary outside its maintenance windows."""
        return self._item(
            "override",
            override.id,
            boundary,
            override.requested_by,
            may=self._reach.may(*APPROVE_OVERRIDE, boundary.id),
            title="Change outside the maintenance windows",
            reason=override.reason,
            requested_at=override.requested_at,
            duration_seconds=override.minutes * 60,
            ends_at=override.requested_at + KEPT_REQUESTS,
        )

    def waiver(self, waiver: Waiver, boundary: Boundary | None) -> PendingOut:
        """Show a waiver that two of the organization's own people have not approved yet."""
        who = self._cards[waiver.principal_id]
        is_own_people = self._actor.organization_id == waiver.organization_id
        concerned = [
            self._cards[i]
            for i in (waiver.principal_id, waiver.requested_by, waiver.first_approver)
            if i is not None
        ]
        return self._item(
            waiver.kind,
            waiver.id,
            boundary,
            waiver.requested_by,
            may=is_own_people and self._reach.may(*APPROVE_WAIVER, None),
            title=f"Let in {who.display} of {who.issuer}",
            reason=waiver.reason,
            ticket=waiver.ticket,
            requested_at=waiver.requested_at,
            digest=waiver.digest,
            starts_at=waiver.starts_at,
            ends_at=waiver.ends_at,
            approved_by=[person_out(self._cards[i]) for i in (waiver.first_approver,) if i],
            approvals_needed=APPROVALS_NEEDED,
            own=any(
                self._actor.is_same_person(c.issuer, c.subject, c.person_key) for c in concerned
            ),
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
        empty: dict[str, object] = {
            **dict.fromkeys(("ticket", "duration_seconds", "counts", "digest", "grant_id")),
            **dict.fromkeys(("grant_until", "permissions", "starts_at", "ends_at")),
            "reason": "",
            "approved_by": [],
            "approvals_needed": 1,
        }
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
