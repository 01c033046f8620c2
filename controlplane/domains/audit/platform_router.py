"""Routes of the platform's own chain, for who holds a role at the platform and in no organization.

They show nothing of organizations: the chain is fixed, and its scope opens no tenant's table.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from controlplane.core.http import Context, CurrentDatabase, StreamRoute
from controlplane.domains.audit import router as chains
from controlplane.domains.audit import service
from controlplane.domains.audit.chains import PLATFORM, Chain
from controlplane.domains.audit.repository import EventFilter
from controlplane.domains.audit.router import After, Limit, Text
from controlplane.domains.audit.schemas import (
    AuditChainOut,
    AuditCheckpointsOut,
    AuditEventsOut,
    chain_out,
)

router = APIRouter(prefix="/v1/platform/audit", tags=["audit"], route_class=StreamRoute)
CHAIN = Chain(PLATFORM)


@router.get("", operation_id="platform_audit_chain")
def platform_audit_chain(database: CurrentDatabase) -> AuditChainOut:
    """Show the platform's chain, with how far it is signed and anchored."""
    return chain_out(service.chain_state(database, CHAIN))


@router.get("/events", operation_id="platform_audit_events")
def platform_audit_events(
    database: CurrentDatabase,
    ctx: Context,
    after: After = 0,
    limit: Limit = 200,
    code: Text = None,
    actor: Annotated[Text, Query(description="Subject of who acted")] = None,
    target: Text = None,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> AuditEventsOut:
    """Read the platform's chain, filtered; the reading itself becomes an event of it."""
    only = EventFilter(code, actor, target, since, until)
    return chains.events_out(database, ctx, CHAIN, only, after=after, limit=limit)


@router.get("/checkpoints", operation_id="platform_audit_checkpoints")
def platform_audit_checkpoints(
    database: CurrentDatabase, after: After = 0, limit: Limit = 200
) -> AuditCheckpointsOut:
    """List the signed checkpoints of the platform's chain, by size."""
    return chains.checkpoints_out(database, CHAIN, after=after, limit=limit)


@router.get(
    "/export",
    operation_id="platform_audit_export",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
def platform_audit_export(
    request: Request, database: CurrentDatabase, ctx: Context
) -> StreamingResponse:
    """Export the platform's chain as NDJSON with its checkpoints; that is its last event."""
    return chains.export_out(request, database, ctx, CHAIN)
