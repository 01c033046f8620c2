"""The routes of SCIM 2.0 under `/scim/v2`; their description is SCIM's own `/Schemas`."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Header, Request
from scim2_models import (
    Context as Phase,
)
from scim2_models import (
    ListResponse,
    NotFoundException,
    PatchOp,
    PreconditionFailedException,
    SearchRequest,
)

from controlplane.core.actor import OpContext
from controlplane.core.errors import NotFoundError
from controlplane.core.http import Context, Transaction
from controlplane.domains.provisioning import filters, groups, repository, users
from controlplane.domains.provisioning.description import (
    MOST_RESULTS,
    POLICY,
    ScimGroup,
    ScimUser,
)
from controlplane.domains.provisioning.edge import ScimResponse, ScimRoute
from controlplane.domains.provisioning.resources import (
    entity_tag,
    group_resources,
    user_resources,
)

router = APIRouter(prefix="/scim/v2", tags=["scim"], route_class=ScimRoute, include_in_schema=False)

Payload = Annotated[dict[str, Any], Body()]
IfMatch = Annotated[str | None, Header()]


async def base_address(request: Request) -> str:
    """Return the address of this service as the caller wrote it."""
    return f"{str(request.base_url).rstrip('/')}/scim/v2"


async def parameters(request: Request) -> dict[str, str]:
    """Return the query's parameters as they are; SCIM's own models read them."""
    return dict(request.query_params)


Base = Annotated[str, Depends(base_address)]
Parameters = Annotated[dict[str, str], Depends(parameters)]


def _organization(ctx: OpContext) -> UUID:
    if ctx.scope.organization_id is None:
        raise NotFoundError("there is no such organization")
    return ctx.scope.organization_id


def _id(value: str) -> UUID:
    try:
        return UUID(value)
    except ValueError as error:
        raise NotFoundException(detail=f"there is no resource {value}") from error


def _require_version(wanted: str | None, version: int) -> None:
    """Refuse a change of something that has changed since the caller read it."""
    if wanted is not None and wanted != "*" and entity_tag(version) not in wanted:
        raise PreconditionFailedException(detail="it has changed since; read it again")


def _one(
    model: Any, resource: Any, phase: Phase, query: dict[str, str], status: int = 200
) -> ScimResponse:
    request = SearchRequest[model].model_validate(
        {k: v for k, v in query.items() if k in ("attributes", "excludedAttributes")}
    )
    document = resource.model_dump(mode="json", scim_ctx=phase, response_parameters=request)
    headers = {"Location": str(resource.meta.location), "ETag": str(resource.meta.version)}
    return ScimResponse(document, status_code=status, headers=headers)


def _page(model: Any, query: dict[str, Any]) -> tuple[SearchRequest[Any], int, int]:
    request = SearchRequest[model].model_validate(
        {k: v for k, v in query.items() if k not in ("sortBy", "sortOrder", "cursor")}
    )
    count = MOST_RESULTS if request.count is None else min(request.count, MOST_RESULTS)
    return request, (request.start_index or 1) - 1, count


def _list(
    model: Any, total: int, resources: list[Any], start: int, request: SearchRequest[Any]
) -> ScimResponse:
    answer = ListResponse[model](
        total_results=total,
        start_index=start + 1,
        items_per_page=len(resources),
        resources=resources or None,
    )
    document = answer.model_dump(
        mode="json", scim_ctx=Phase.RESOURCE_QUERY_RESPONSE, response_parameters=request
    )
    return ScimResponse({"Resources": [], **document})


@router.get("/Users")
def scim_user_list(session: Transaction, ctx: Context, base: Base, q: Parameters) -> ScimResponse:
    """List people, by filter."""
    request, start, count = _page(ScimUser, q)
    condition = filters.condition_of(request.filter, filters.USERS)
    total, rows = repository.list_users(session, condition, start, count)
    return _list(ScimUser, total, user_resources(session, rows, base), start, request)


@router.post("/Users/.search")
def scim_user_search(body: Payload, session: Transaction, ctx: Context, base: Base) -> ScimResponse:
    """List people, by a filter that is kept out of addresses and their logs."""
    return scim_user_list(session, ctx, base, body)


@router.post("/Users")
def scim_user_create(
    body: Payload, session: Transaction, ctx: Context, base: Base, q: Parameters
) -> ScimResponse:
    """Write a new person."""
    user = ScimUser.model_validate(
        body, scim_ctx=Phase.RESOURCE_CREATION_REQUEST, scim_policy=POLICY
    )
    row = users.create(session, ctx, _organization(ctx), user)
    (resource,) = user_resources(session, [row], base)
    return _one(ScimUser, resource, Phase.RESOURCE_CREATION_RESPONSE, q, 201)


@router.get("/Users/{user_id}")
def scim_user_show(
    user_id: str, session: Transaction, ctx: Context, base: Base, q: Parameters
) -> ScimResponse:
    """Show a person."""
    (resource,) = user_resources(session, [users.get(session, _id(user_id))], base)
    return _one(ScimUser, resource, Phase.RESOURCE_QUERY_RESPONSE, q)


@router.put("/Users/{user_id}")
def scim_user_replace(
    user_id: str,
    body: Payload,
    session: Transaction,
    ctx: Context,
    base: Base,
    q: Parameters,
    if_match: IfMatch = None,
) -> ScimResponse:
    """Replace a person."""
    row = users.get(session, _id(user_id), lock=True)
    _require_version(if_match, row.version)
    user = ScimUser.model_validate(
        body, scim_ctx=Phase.RESOURCE_REPLACEMENT_REQUEST, scim_policy=POLICY
    )
    (original,) = user_resources(session, [row], base)
    if user.replace(original):
        users.change(session, ctx, row, user)
    (resource,) = user_resources(session, [row], base)
    return _one(ScimUser, resource, Phase.RESOURCE_REPLACEMENT_RESPONSE, q)


@router.patch("/Users/{user_id}")
def scim_user_patch(
    user_id: str,
    body: Payload,
    session: Transaction,
    ctx: Context,
    base: Base,
    q: Parameters,
    if_match: IfMatch = None,
) -> ScimResponse:
    """Change parts of a person."""
    row = users.get(session, _id(user_id), lock=True)
    _require_version(if_match, row.version)
    operations = PatchOp[ScimUser].model_validate(
        body, scim_ctx=Phase.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
    )
    (resource,) = user_resources(session, [row], base)
    if operations.patch(resource, scim_policy=POLICY):
        users.change(session, ctx, row, resource)
    (resource,) = user_resources(session, [row], base)
    return _one(ScimUser, resource, Phase.RESOURCE_PATCH_RESPONSE, q)


@router.delete("/Users/{user_id}", status_code=204)
def scim_user_delete(
    user_id: str, session: Transaction, ctx: Context, if_match: IfMatch = None
) -> None:
    """Take a person out."""
    row = users.get(session, _id(user_id), lock=True)
    _require_version(if_match, row.version)
    users.remove(session, ctx, row)


@router.get("/Groups")
def scim_group_list(session: Transaction, ctx: Context, base: Base, q: Parameters) -> ScimResponse:
    """List groups, by filter."""
    request, start, count = _page(ScimGroup, q)
    condition = filters.condition_of(request.filter, filters.GROUPS)
    total, rows = repository.list_groups(session, condition, start, count)
    return _list(ScimGroup, total, group_resources(session, rows, base), start, request)


@router.post("/Groups/.search")
def scim_group_search(
    body: Payload, session: Transaction, ctx: Context, base: Base
) -> ScimResponse:
    """List groups, by a filter that is kept out of addresses and their logs."""
    return scim_group_list(session, ctx, base, body)


@router.post("/Groups")
def scim_group_create(
    body: Payload, session: Transaction, ctx: Context, base: Base, q: Parameters
) -> ScimResponse:
    """Write a new group."""
    group = ScimGroup.model_validate(
        body, scim_ctx=Phase.RESOURCE_CREATION_REQUEST, scim_policy=POLICY
    )
    row = groups.create(session, ctx, _organization(ctx), group)
    (resource,) = group_resources(session, [row], base)
    return _one(ScimGroup, resource, Phase.RESOURCE_CREATION_RESPONSE, q, 201)


@router.get("/Groups/{group_id}")
def scim_group_show(
    group_id: str, session: Transaction, ctx: Context, base: Base, q: Parameters
) -> ScimResponse:
    """Show a group."""
    (resource,) = group_resources(session, [groups.get(session, _id(group_id))], base)
    return _one(ScimGroup, resource, Phase.RESOURCE_QUERY_RESPONSE, q)


@router.put("/Groups/{group_id}")
def scim_group_replace(
    group_id: str,
    body: Payload,
    session: Transaction,
    ctx: Context,
    base: Base,
    q: Parameters,
    if_match: IfMatch = None,
) -> ScimResponse:
    """Replace a group."""
    row = groups.get(session, _id(group_id), lock=True)
    _require_version(if_match, row.version)
    group = ScimGroup.model_validate(
        body, scim_ctx=Phase.RESOURCE_REPLACEMENT_REQUEST, scim_policy=POLICY
    )
    (original,) = group_resources(session, [row], base)
    if group.replace(original):
        groups.change(session, ctx, row, group)
    (resource,) = group_resources(session, [row], base)
    return _one(ScimGroup, resource, Phase.RESOURCE_REPLACEMENT_RESPONSE, q)


@router.patch("/Groups/{group_id}")
def scim_group_patch(
    group_id: str,
    body: Payload,
    session: Transaction,
    ctx: Context,
    base: Base,
    q: Parameters,
    if_match: IfMatch = None,
) -> ScimResponse:
    """Change parts of a group: most often its members."""
    row = groups.get(session, _id(group_id), lock=True)
    _require_version(if_match, row.version)
    operations = PatchOp[ScimGroup].model_validate(
        body, scim_ctx=Phase.RESOURCE_PATCH_REQUEST, scim_policy=POLICY
    )
    (resource,) = group_resources(session, [row], base)
    if operations.patch(resource, scim_policy=POLICY):
        groups.change(session, ctx, row, resource)
    (resource,) = group_resources(session, [row], base)
    return _one(ScimGroup, resource, Phase.RESOURCE_PATCH_RESPONSE, q)


@router.delete("/Groups/{group_id}", status_code=204)
def scim_group_delete(
    group_id: str, session: Transaction, ctx: Context, if_match: IfMatch = None
) -> None:
    """Take a group out."""
    row = groups.get(session, _id(group_id), lock=True)
    _require_version(if_match, row.version)
    groups.remove(session, ctx, row)
