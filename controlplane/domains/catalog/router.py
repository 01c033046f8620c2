"""`GET /v1/boundaries/{boundary}/models`."""

from __future__ import annotations

from fastapi import APIRouter

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.catalog import repository
from controlplane.domains.catalog.schemas import ModelOut, ModelsOut

router = APIRouter(prefix="/v1", tags=["catalog"], route_class=TransactionRoute)


@router.get("/boundaries/{boundary}/models", operation_id="model_list")
def model_list(boundary: str, session: Transaction, ctx: Context) -> ModelsOut:
    """List the model versions of a boundary."""
    found = get_boundary(session, boundary)
    return ModelsOut(
        models=[
            ModelOut(
                id=v.version.id,
                name=v.version.name,
                version=v.version.version,
                kind=v.version.kind,
                digest=v.artifact.digest,
                size_bytes=v.artifact.size_bytes,
                format=v.artifact.format,
                parent_id=v.version.parent_id,
            )
            for v in repository.list_versions(session, found.id)
        ]
    )
