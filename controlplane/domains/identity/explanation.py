"""Explain a decision to an auditor: who asked for what, what decided, and at which layer.

Called by the router. The question is decided by the same function as a request, so that the
explanation cannot drift from what happens. Only principals with a role in the caller's organization
can be asked about; their roles elsewhere are neither used nor shown.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import InvalidRequestError, NotFoundError
from controlplane.core.policy import Policy
from controlplane.domains.identity import decision, repository
from controlplane.domains.identity.decision import Asker, Place
from controlplane.domains.identity.principals import HeldRole, PrincipalCard
from controlplane.domains.identity.route_table import ROUTES, Rule, find_rule
from controlplane.tables.waivers import Waiver, WaiverState


@dataclass(frozen=True)
class Question:
    """May this subject use this route, in this boundary when one is named?"""

    subject: str
    issuer: str | None
    method: str
    path: str
    boundary: str | None


@dataclass(frozen=True)
class Explanation:
    """The answer, with everything it rests on."""

    principal: PrincipalCard
    rule: Rule
    is_allowed: bool
    layer: str
    policies: tuple[Policy, ...]
    roles: tuple[HeldRole, ...]
    waiver: Waiver | None
    """What a guest's access to the place rests on, or lacks; None for the organization's own."""
    waiver_state: WaiverState | None
    approvers: tuple[PrincipalCard, ...]
    """Who approved the waiver."""
    status: int
    """What a request would get: 200 for yes, else 403, or 404 where existence is secret."""


def explain(session: Session, ctx: OpContext, question: Question) -> Explanation:
    """Decide as a request would be decided, and say why.

    Raises: InvalidRequestError for a route that people do not use, NotFoundError for a subject
    without a role here or a boundary that is not there.
    """
    rule = _rule(question)
    organization_id = ctx.scope.organization_id
    assert organization_id is not None  # the route's layer is the organization
    card, roles = _principal(session, question, organization_id)
    asker = Asker(
        str(card.id),
        card.kind,
        repository.find_home(session, card),
        roles,
        repository.is_disabled(session, card.id),
    )
    place = Place() if rule.layer == "authenticated" else Place(organization_id)
    if question.boundary is not None and rule.layer == "boundary":
        found = repository.find_boundary_id_in_scope(session, question.boundary)
        if found is None:
            raise NotFoundError(
                f"there is no boundary {question.boundary!r}",
                field="boundary",
                fix="list them with GET /v1/boundaries",
            )
        place = Place(organization_id, found)
    (verdict,) = decision.decide(asker, rule.action, [place])
    audit.append(
        session,
        ctx,
        "access.explained",
        target=f"principal/{card.id}",
        detail={"route": rule.action, "allowed": verdict.is_allowed},
    )
    waiver = None
    if asker.home is None:
        waiver = repository.find_newest_waiver(session, card.id, place.boundary_id)
    return Explanation(
        card,
        rule,
        verdict.is_allowed,
        verdict.layer,
        verdict.policies,
        roles,
        waiver,
        waiver.state_at(now()) if waiver else None,
        _approvers(session, waiver),
        200 if verdict.is_allowed else _refusal(asker, rule, place),
    )


def _approvers(session: Session, waiver: Waiver | None) -> tuple[PrincipalCard, ...]:
    """Return who said yes to a waiver, in order."""
    if waiver is None:
        return ()
    ids = [i for i in (waiver.first_approver, waiver.second_approver) if i is not None]
    cards = repository.get_cards(session, ids)
    return tuple(cards[i] for i in ids)


def _refusal(asker: Asker, rule: Rule, place: Place) -> int:
    """Return 404 where the asker may do it in another boundary, and so learns nothing of this."""
    if place.boundary_id is None:
        return 403
    held = [Place(place.organization_id, r.boundary_id) for r in asker.roles if r.boundary_id]
    return 404 if any(v.is_allowed for v in decision.decide(asker, rule.action, held)) else 403


def _rule(question: Question) -> Rule:
    """Return the rule of a route, named by its template or by a path that it matches."""
    method = question.method.upper()
    rule = find_rule(method, question.path)
    for listed_method, template in sorted(ROUTES, key=lambda key: key[1].count("{")):
        pattern = re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(template))
        if rule is None and listed_method == method and re.fullmatch(pattern, question.path):
            rule = find_rule(method, template)
    if rule is None or rule.layer in ("public", "platform", "agent"):
        raise InvalidRequestError(
            f"{method} {question.path} is not a route for people with roles in an organization",
            field="path",
            fix="take one of docs/reference/authorization.md",
        )
    return rule


def _principal(
    session: Session, question: Question, organization_id: UUID
) -> tuple[PrincipalCard, tuple[HeldRole, ...]]:
    """Return the one principal meant, with its roles in this organization."""
    ids = repository.list_ids_by_subject(session, question.subject)
    found = []
    for card in repository.get_cards(session, ids).values():
        roles = tuple(
            r
            for r in repository.list_roles(session, card.id)
            if r.organization_id == organization_id
        )
        if roles and question.issuer in (None, card.issuer):
            found.append((card, roles))
    if not found:
        raise NotFoundError(
            f"nobody called {question.subject!r} has a role in this organization", field="subject"
        )
    if len(found) > 1:
        issuers = ", ".join(sorted(card.issuer for card, _ in found))
        raise InvalidRequestError(
            "several identity providers have this subject",
            field="issuer",
            fix=f"name one of: {issuers}",
        )
    return found[0]
