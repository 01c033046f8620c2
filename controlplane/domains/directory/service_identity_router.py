"""Routes on an organization's service identities and their tokens."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.boundaries.repository import list_boundaries
from controlplane.domains.directory import repository, service_identities
from controlplane.domains.directory.service_identity_schemas import (
    ServiceIn,
    ServiceOut,
    ServicesOut,
    ServiceTokenIn,
)
from controlplane.domains.identity.repository import get_cards
from controlplane.domains.identity.schemas import person_out
from controlplane.domains.identity.token_schemas import TokenCreatedOut, token_out
from controlplane.tables.services import ServiceIdentity

router = APIRouter(prefix="/v1", tags=["services"], route_class=TransactionRoute)


@router.get("/organizations/{name}/services", operation_id="service_list")
def service_list(name: str, session: Transaction, ctx: Context) -> ServicesOut:
    """List service identities with their roles, disabled ones too."""
    rows = service_identities.list_visible(session, ctx)
    return ServicesOut(services=_shown(session, rows))


@router.post("/organizations/{name}/services", operation_id="service_create", status_code=201)
def service_create(name: str, body: ServiceIn, session: Transaction, ctx: Context) -> ServiceOut:
    """Make a service identity; it can do nothing until it has a token."""
    row = service_identities.create(
        session,
        ctx,
        name=body.name,
        purpose=body.purpose,
        roles=body.roles,
        boundary=body.boundary,
    )
    (out,) = _shown(session, [row])
    return out


@router.post(
    "/organizations/{name}/services/{service_id}/tokens",
    operation_id="service_token_create",
    status_code=201,
)
def service_token_create(
    name: str, service_id: UUID, body: ServiceTokenIn, session: Transaction, ctx: Context
) -> TokenCreatedOut:
    """Make a token for a service; this answer is the only place that ever shows it."""
    token, secret = service_identities.create_token(
        session, ctx, service_id, name=body.name, lifetime=timedelta(days=body.lifetime_days)
    )
    cards = get_cards(session, [token.holder_id, token.created_by])
    return TokenCreatedOut(**token_out(token, cards, None, now()).model_dump(), token=secret)


@router.post("/organizations/{name}/services/{service_id}/disable", operation_id="service_disable")
def service_disable(name: str, service_id: UUID, session: Transaction, ctx: Context) -> ServiceOut:
    """Disable a service for good; its tokens are refused from now on."""
    (out,) = _shown(session, [service_identities.disable(session, ctx, service_id)])
    return out


def _shown(session: Session, rows: list[ServiceIdentity]) -> list[ServiceOut]:
    names = {b.id: b.name for b in list_boundaries(session)}
    cards = get_cards(session, [r.created_by for r in rows])
    held = repository.list_assignments(session, now())
    return [
        ServiceOut(
            id=row.id,
            principal_id=row.principal_id,
            name=row.name,
            purpose=row.purpose,
            boundary=names.get(row.boundary_id) if row.boundary_id else None,
            roles=sorted(a.role for a in held if a.principal_id == row.principal_id),
            created_by=person_out(cards[row.created_by]) if row.created_by in cards else None,
            created_at=row.created_at,
            disabled_at=row.disabled_at,
        )
        for row in rows
    ]
