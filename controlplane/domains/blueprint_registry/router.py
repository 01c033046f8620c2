"""`GET /v1/blueprints`."""

from __future__ import annotations

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.blueprint_registry import service
from controlplane.domains.blueprint_registry.schemas import BlueprintOut, BlueprintsOut

router = APIRouter(prefix="/v1", tags=["blueprints"], route_class=TransactionRoute)


@router.get("/blueprints", operation_id="blueprint_list")
def blueprint_list(session: Transaction, ctx: Context) -> BlueprintsOut:
    """List the registered blueprint versions with their manifests."""
    found = service.list_versions(session)
    return BlueprintsOut(
        blueprints=[BlueprintOut.model_validate(b, from_attributes=True) for b in found]
    )
