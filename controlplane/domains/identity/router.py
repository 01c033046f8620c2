"""`GET /v1/me`."""

from __future__ import annotations

from fastapi import APIRouter

from controlplane.core.errors import UnauthenticatedError
from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.identity import break_glass, service
from controlplane.domains.identity.schemas import MeOut, RoleOut

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
        roles=[
            RoleOut(
                role=r.role,
                organization=r.organization_name,
                boundary_id=r.boundary_id,
                pending_guest=r.is_pending_guest,
            )
            for r in roles
        ],
    )
