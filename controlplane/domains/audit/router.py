"""Routes of the audit chains: reading and exporting for people, checkpoints for the agent."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Depends, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from controlplane.core.actor import OpContext
from controlplane.core.db import Database
from controlplane.core.http import (
    Context,
    CurrentDatabase,
    StreamRoute,
    Transaction,
    organization_query,
)
from controlplane.core.messages import parse_message
from controlplane.domains.audit import export, repository, service
from controlplane.domains.audit.chains import Chain
from controlplane.domains.audit.repository import EventFilter
from controlplane.domains.audit.schemas import (
    AuditChainsOut,
    AuditCheckpointOut,
    AuditCheckpointsOut,
    AuditEventOut,
    AuditEventsOut,
    chain_out,
)
from controlplane.domains.identity.agent_edge import AgentRoute, CallingAgent
from wire.audit import CheckpointAnchored

# Each chain has a scope of its own, which the caller's roles decide: these routes open their own
# transactions under it.
router = APIRouter(prefix="/v1/audit", tags=["audit"], route_class=StreamRoute)
agent_router = APIRouter(prefix="/agent/v1", tags=["agent"], route_class=AgentRoute)

ChainName = Annotated[
    str,
    Query(
        description="`platform`, `organization/<name>` or `boundary/<name>`",
        pattern=r"^(platform|(organization|boundary)/[A-Za-z0-9-]{1,100})$",
    ),
]
After = Annotated[int, Query(ge=0, le=2**63 - 1)]
Limit = Annotated[int, Query(ge=1, le=1000)]
Text = Annotated[str | None, Query(max_length=300, pattern=r"^[^\x00]*$")]


@router.get("/chains", operation_id="audit_chains")
def audit_chains(database: CurrentDatabase, ctx: Context) -> AuditChainsOut:
    """List the chains that the caller may read, with how far each is signed and anchored."""
    chains = service.readable_chains(database, ctx)
    return AuditChainsOut(chains=[chain_out(service.chain_state(database, c)) for c in chains])


@router.get("/events", operation_id="audit_events")
def audit_events(
    database: CurrentDatabase,
    ctx: Context,
    chain: ChainName,
    after: After = 0,
    limit: Limit = 200,
    code: Text = None,
    actor: Annotated[Text, Query(description="Subject of who acted")] = None,
    target: Text = None,
    since: Annotated[AwareDatetime | None, Query(alias="from")] = None,
    until: Annotated[AwareDatetime | None, Query(alias="to")] = None,
) -> AuditEventsOut:
    """Read a chain, filtered; the reading itself becomes an event of it."""
    found = service.get_chain(database, ctx, chain)
    only = EventFilter(code, actor, target, since, until)
    return events_out(database, ctx, found, only, after=after, limit=limit)


@router.get("/checkpoints", operation_id="audit_checkpoints")
def audit_checkpoints(
    database: CurrentDatabase,
    ctx: Context,
    chain: ChainName,
    after: After = 0,
    limit: Limit = 200,
) -> AuditCheckpointsOut:
    """List a chain's signed checkpoints, by size."""
    found = service.get_chain(database, ctx, chain)
    return checkpoints_out(database, found, after=after, limit=limit)


@router.get(
    "/export",
    operation_id="audit_export",
    dependencies=[Depends(organization_query)],
    response_class=StreamingResponse,
    responses={200: {"content": {"application/x-ndjson": {}}}},
)
def audit_export(
    request: Request, database: CurrentDatabase, ctx: Context, chain: ChainName
) -> StreamingResponse:
    """Export a whole chain as NDJSON with its checkpoints; the export is the chain's last event."""
    found = service.get_chain(database, ctx, chain)
    return export_out(request, database, ctx, found)


def events_out(
    database: Database, ctx: OpContext, chain: Chain, only: EventFilter, *, after: int, limit: int
) -> AuditEventsOut:
    """Return a page of a chain that the caller may read."""
    events = service.read_events(database, ctx, chain, only, after=after, limit=limit)
    return AuditEventsOut(
        chain=chain.name,
        chain_id=str(chain.chain_id),
        events=[AuditEventOut.model_validate(e, from_attributes=True) for e in events],
        next_after=events[-1].seq if len(events) == limit else None,
    )


def checkpoints_out(
    database: Database, chain: Chain, *, after: int, limit: int
) -> AuditCheckpointsOut:
    """Return a page of the checkpoints of a chain that the caller may read."""
    rows = service.list_checkpoints(database, chain, after=after, limit=limit)
    return AuditCheckpointsOut(
        chain=chain.name,
        chain_id=str(chain.chain_id),
        checkpoints=[AuditCheckpointOut.model_validate(r, from_attributes=True) for r in rows],
        next_after=rows[-1].size if len(rows) == limit else None,
    )


def export_out(
    request: Request, database: Database, ctx: OpContext, chain: Chain
) -> StreamingResponse:
    """Return the export of a chain that the caller may read."""
    begun = export.begin(database, ctx, chain, request.app.state.settings.public_key())
    name = chain.name.replace("/", "-")
    return StreamingResponse(
        export.lines(database, begun),
        media_type="application/x-ndjson",
        headers={"Content-Disposition": f'attachment; filename="audit-{name}.ndjson"'},
    )


@agent_router.get("/checkpoints", operation_id="agent_checkpoints")
def agent_checkpoints(session: Transaction, agent: CallingAgent) -> dict[str, Any]:
    """Give the boundary's checkpoints that are not in the customer's bucket yet."""
    return service.unanchored(session, _own_chain(session, agent)).to_wire()


@agent_router.post("/checkpoints", operation_id="agent_checkpoint_anchored", status_code=204)
def agent_checkpoint_anchored(
    session: Transaction, agent: CallingAgent, raw: Annotated[dict[str, Any], Body()]
) -> None:
    """Take the report that a checkpoint is in the customer's bucket."""
    report = parse_message(CheckpointAnchored, raw)
    service.record_anchored(session, _own_chain(session, agent), report)


def _own_chain(session: Transaction, agent: CallingAgent) -> Chain:
    return repository.named(session, Chain("", agent.organization_id, agent.boundary_id))
