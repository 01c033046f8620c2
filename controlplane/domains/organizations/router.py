"""Route on an organization; its file is applied by `domains/documents`."""

from __future__ import annotations

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.organizations import repository
from controlplane.domains.organizations.schemas import OrganizationOut

router = APIRouter(prefix="/v1", tags=["organizations"], route_class=TransactionRoute)


@router.get("/organizations/{name}", operation_id="organization_show")
def organization_show(name: str, session: Transaction, ctx: Context) -> OrganizationOut:
    """Show an organization and the document that was applied last."""
    found = repository.get_organization(session, name)
    return OrganizationOut(
        id=found.id,
        name=found.name,
        display_name=found.display_name,
        document=found.document,
        document_digest=found.document_digest,
        updated_at=found.updated_at,
    )
