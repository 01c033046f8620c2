"""The discovery routes of SCIM 2.0, and the answer to whatever SCIM knows and we do not serve."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter
from scim2_models import Context as Phase
from scim2_models import (
    ListResponse,
    Meta,
    NotFoundException,
    NotImplementedException,
    ResourceType,
    Schema,
)

from controlplane.core.http import Context
from controlplane.domains.provisioning.description import CONFIG, PROVIDER
from controlplane.domains.provisioning.edge import ScimResponse, ScimRoute
from controlplane.domains.provisioning.router import Base, Parameters

router = APIRouter(prefix="/scim/v2", tags=["scim"], route_class=ScimRoute, include_in_schema=False)


@router.get("/ServiceProviderConfig")
def scim_config_show(ctx: Context, base: Base) -> ScimResponse:
    """Say what this service can do."""
    return ScimResponse(_document(CONFIG, "ServiceProviderConfig", f"{base}/ServiceProviderConfig"))


@router.get("/ResourceTypes")
def scim_resource_type_list(ctx: Context, base: Base, q: Parameters) -> ScimResponse:
    """List which resources there are."""
    return _all(ResourceType, [_resource_type(r, base) for r in PROVIDER.resource_types], q)


@router.get("/ResourceTypes/{wanted}")
def scim_resource_type_show(wanted: str, ctx: Context, base: Base) -> ScimResponse:
    """Show one resource type."""
    for found in PROVIDER.resource_types:
        if found.name == wanted:
            return ScimResponse(_resource_type(found, base))
    raise NotFoundException(detail=f"there is no resource type {wanted}")


@router.get("/Schemas")
def scim_schema_list(ctx: Context, base: Base, q: Parameters) -> ScimResponse:
    """List the schemas of the resources."""
    return _all(Schema, [_schema(s, base) for s in PROVIDER.schemas], q)


@router.get("/Schemas/{wanted}")
def scim_schema_show(wanted: str, ctx: Context, base: Base) -> ScimResponse:
    """Show one schema."""
    for found in PROVIDER.schemas:
        if str(found.id) == wanted:
            return ScimResponse(_schema(found, base))
    raise NotFoundException(detail=f"there is no schema {wanted}")


@router.post("/.search")
def scim_search(ctx: Context) -> ScimResponse:
    """Refuse a search over all kinds at once: each kind has its own."""
    raise NotImplementedException(detail="search /Users/.search or /Groups/.search")


@router.get("/{rest:path}")
def scim_unknown(rest: str, ctx: Context) -> ScimResponse:
    """Answer in SCIM's shape for what is not served here."""
    raise NotFoundException(detail=f"there is no {rest}")


def _resource_type(found: ResourceType, base: str) -> dict[str, Any]:
    return _document(found, "ResourceType", f"{base}/ResourceTypes/{found.name}")


def _schema(found: Schema, base: str) -> dict[str, Any]:
    return _document(found, "Schema", f"{base}/Schemas/{found.id}")


def _document(resource: Any, kind: str, location: str) -> dict[str, Any]:
    copy = resource.model_copy()
    copy.meta = Meta(resource_type=kind, location=location)
    document: dict[str, Any] = copy.model_dump(mode="json", scim_ctx=Phase.RESOURCE_QUERY_RESPONSE)
    return document


def _all(model: Any, documents: Sequence[dict[str, Any]], query: dict[str, str]) -> ScimResponse:
    """Return everything at once; a filter is refused (RFC 7644, 4)."""
    if "filter" in query:
        return ScimResponse(
            {
                "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
                "status": "403",
                "detail": "discovery is not filtered",
            },
            status_code=403,
        )
    return ScimResponse(
        {
            "schemas": [str(ListResponse.__schema__)],
            "totalResults": len(documents),
            "startIndex": 1,
            "itemsPerPage": len(documents),
            "Resources": list(documents),
        }
    )
