"""`GET /v1/me`, and what decided on somebody's access."""

from __future__ import annotations

from fastapi import APIRouter

from controlplane.core.errors import UnauthenticatedError
from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.identity import break_glass, explanation, service
from controlplane.domains.identity.principals import HeldRole
from controlplane.domains.identity.schemas import (
    ExplainedWaiverOut,
    ExplainIn,
    ExplanationOut,
    MeOut,
    PolicyOut,
    RoleOut,
    person_out,
)

router = APIRouter(prefix="/v1", tags=["identity"], route_class=TransactionRoute)


@router.get("/me", operation_id="me_show")
def me_show(session: Transaction, ctx: Context) -> MeOut:
    """Say who the token belongs to and which roles it has now."""
    actor = ctx.actor
    if actor.principal_id is None:
        raise UnauthenticatedError("this route needs a bearer token")
    roles = service.held_roles(session, actor)
    return MeOut(
        id=actor.principal_id,
        issuer=actor.issuer,
        subject=actor.subject,
        display=actor.display,
        kind=actor.kind,
        break_glass_open=break_glass.state(session).opened_at is not None,
        roles=[_role(r) for r in roles],
    )


@router.post("/access/explain", operation_id="access_explain")
def access_explain(session: Transaction, ctx: Context, body: ExplainIn) -> ExplanationOut:
    """Say whether somebody may use a route, and which policy at which layer decides it."""
    question = explanation.Question(
        body.subject, body.issuer, body.method, body.path, body.boundary
    )
    found = explanation.explain(session, ctx, question)
    return ExplanationOut(
        person=person_out(found.principal),
        route=found.rule.action,
        route_layer=found.rule.layer,
        allowed=found.is_allowed,
        status=found.status,
        deciding_layer=found.layer,
        policies=[
            PolicyOut(id=p.id, effect=p.effect, layer=p.layer, message=p.message)
            for p in found.policies
        ],
        roles=[_role(r) for r in found.roles],
        waiver=_waiver(found),
    )


def _waiver(found: explanation.Explanation) -> ExplainedWaiverOut | None:
    if found.waiver is None:
        return None
    return ExplainedWaiverOut.model_validate(
        {
            **{k: getattr(found.waiver, k, None) for k in ExplainedWaiverOut.model_fields},
            "state": found.waiver_state,
            "approved_by": [person_out(card) for card in found.approvers],
        }
    )


def _role(held: HeldRole) -> RoleOut:
    return RoleOut(
        role=held.role,
        organization=held.organization_name,
        boundary_id=held.boundary_id,
        pending_guest=held.is_pending_guest,
    )
