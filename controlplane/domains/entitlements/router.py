"""Routes on a boundary's entitlements and gateway keys."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.entitlements import repository, service
from controlplane.domains.entitlements.schemas import (
    EntitlementOut,
    EntitlementsOut,
    GatewayKeyCreatedOut,
    GatewayKeyIn,
    GatewayKeyOut,
    GatewayKeysOut,
)
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.schemas import person_out
from controlplane.tables.catalog import GatewayKey

router = APIRouter(prefix="/v1", tags=["entitlements"], route_class=TransactionRoute)


@router.get("/boundaries/{boundary}/entitlements", operation_id="entitlement_list")
def entitlement_list(boundary: str, session: Transaction, ctx: Context) -> EntitlementsOut:
    """List which groups may use which model versions now; an engineer sees the own groups'."""
    found = get_boundary(session, boundary)
    names = repository.group_names(session)
    return EntitlementsOut(
        entitlements=[
            EntitlementOut(
                id=e.id,
                group=names[e.group_id],
                model_version_id=e.model_version_id,
                valid_from=e.valid_from,
                reason=e.reason,
            )
            for e in service.list_entitlements(session, ctx, found.id)
        ]
    )


@router.get("/boundaries/{boundary}/gateway-keys", operation_id="gateway_key_list")
def gateway_key_list(boundary: str, session: Transaction, ctx: Context) -> GatewayKeysOut:
    """List the gateway keys of a boundary without their secrets; an engineer sees the own."""
    found = get_boundary(session, boundary)
    keys = service.list_keys(session, ctx, found.id)
    names = repository.group_names(session)
    cards = identity.get_cards(session, [k.owner_id for k in keys])
    return GatewayKeysOut(keys=[GatewayKeyOut(**_fields(k, names, cards)) for k in keys])


@router.post(
    "/boundaries/{boundary}/gateway-keys", operation_id="gateway_key_create", status_code=201
)
def gateway_key_create(
    boundary: str, body: GatewayKeyIn, session: Transaction, ctx: Context
) -> GatewayKeyCreatedOut:
    """Make a gateway key; this answer is the only place that ever shows it."""
    found = get_boundary(session, boundary)
    row, key = service.create_key(
        session,
        ctx,
        organization_id=found.organization_id,
        boundary_id=found.id,
        group=body.group,
        owner=body.owner,
    )
    cards = identity.get_cards(session, [row.owner_id])
    fields = _fields(row, repository.group_names(session), cards)
    return GatewayKeyCreatedOut(**fields, key=key)


@router.post(
    "/boundaries/{boundary}/gateway-keys/{key_id}/revoke", operation_id="gateway_key_revoke"
)
def gateway_key_revoke(
    boundary: str, key_id: UUID, session: Transaction, ctx: Context
) -> GatewayKeyOut:
    """Revoke a gateway key."""
    found = get_boundary(session, boundary)
    row = service.revoke_key(session, ctx, found.id, key_id)
    cards = identity.get_cards(session, [row.owner_id])
    return GatewayKeyOut(**_fields(row, repository.group_names(session), cards))


def _fields(
    row: GatewayKey, names: dict[UUID, str], cards: dict[UUID, PrincipalCard]
) -> dict[str, Any]:
    return {
        "id": row.id,
        "group": names[row.group_id],
        "owner": person_out(cards[row.owner_id]),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
    }
