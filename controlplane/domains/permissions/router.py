"""`GET /v1/grants/{grant_id}/permissions`: what a grant asks for, beside what was open last."""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.identity import repository as identity
from controlplane.domains.permissions import answers, service
from controlplane.domains.permissions.schemas import PermissionsOut

router = APIRouter(prefix="/v1", tags=["grants"], route_class=TransactionRoute)


@router.get("/grants/{grant_id}/permissions", operation_id="grant_permissions")
def grant_permissions(grant_id: UUID, session: Transaction, ctx: Context) -> PermissionsOut:
    """Show what a grant asks for, compared line by line with the grant that was open last."""
    comparison = service.compare_one(session, grant_id)
    base = comparison.base
    cards = identity.get_cards(session, [base.decided_by] if base else [])
    return answers.whole(comparison, cards)
