"""Routes of usage: the agent's push, and what people read."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Body, Depends, Query, Response

from controlplane.core.http import (
    LARGEST_SEQUENCE,
    Context,
    Transaction,
    TransactionRoute,
    organization_query,
)
from controlplane.core.messages import parse_message
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.identity.agent_edge import AgentRoute, CallingAgent
from controlplane.domains.usage import events, files, service, summary
from controlplane.domains.usage.repository import cell_of
from controlplane.domains.usage.schemas import (
    By,
    UsageEventsOut,
    UsageOut,
    UsageRow,
    UsageSummaryOut,
)
from wire.usage import EventPush, RollupPush

router = APIRouter(prefix="/v1", tags=["usage"], route_class=TransactionRoute)
agent_router = APIRouter(prefix="/agent/v1", tags=["agent"], route_class=AgentRoute)

Raw = Annotated[dict[str, Any], Body()]
First = Annotated[date | None, Query(alias="from", description="first day, UTC")]
Last = Annotated[date | None, Query(alias="to", description="last day, UTC, included")]


@agent_router.post("/usage", operation_id="agent_usage", status_code=204)
def agent_usage(session: Transaction, ctx: Context, agent: CallingAgent, raw: Raw) -> None:
    """Take roll-ups; the answer comes after the commit, so the agent may forget them."""
    service.record_rollups(session, ctx, agent, parse_message(RollupPush, raw))


@agent_router.post("/usage-events", operation_id="agent_usage_events", status_code=204)
def agent_usage_events(session: Transaction, ctx: Context, agent: CallingAgent, raw: Raw) -> None:
    """Take a page of events; the answer comes after the commit, so the agent may acknowledge it."""
    events.record_events(session, ctx, agent, parse_message(EventPush, raw))


@router.get("/boundaries/{boundary}/usage", operation_id="usage_list")
def usage_list(
    boundary: str,
    session: Transaction,
    ctx: Context,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> UsageOut:
    """List a boundary's requests by hour: aggregates, with how fresh they are."""
    found = get_boundary(session, boundary)
    rows = service.list_rollups(session, found.id, limit)
    return UsageOut(
        items=[
            UsageRow(
                hour=row.hour_start,
                **cell_of(row),
                requests=row.requests,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                as_of=row.rollup["as_of"],
                is_final=row.rollup["is_final"],
            )
            for row in rows
        ]
    )


@router.get("/boundaries/{boundary}/usage/summary", operation_id="usage_summary")
def usage_summary(
    boundary: str,
    session: Transaction,
    ctx: Context,
    first: First = None,
    last: Last = None,
    by: By = By.NONE,
) -> UsageSummaryOut:
    """Sum up a boundary's use over a window of days (the last 28 unless given)."""
    found = get_boundary(session, boundary)
    return summary.summarize(session, found.id, summary.make_window(first, last), by)


@router.get(
    "/boundaries/{boundary}/usage/export",
    operation_id="usage_export",
    dependencies=[Depends(organization_query)],
    response_class=Response,
    responses={200: {"content": {"text/csv": {}, "application/x-ndjson": {}}}},
)
def usage_export(
    boundary: str,
    session: Transaction,
    ctx: Context,
    first: First = None,
    last: Last = None,
    format: Literal["csv", "ndjson"] = "csv",
) -> Response:
    """Download what a boundary let out in a window, cell by cell."""
    found = get_boundary(session, boundary)
    window = summary.make_window(first, last)
    name = f"usage-{found.name}-{window.first}-{window.last}.{format}"
    disposition = {"Content-Disposition": f'attachment; filename="{name}"'}
    if format == "csv":
        text, media = files.as_csv(session, found.id, window), "text/csv; charset=utf-8"
    else:
        text, media = files.as_ndjson(session, found.id, window), "application/x-ndjson"
    return Response(text, media_type=media, headers=disposition)


@router.get("/boundaries/{boundary}/usage/events", operation_id="usage_events")
def usage_events(
    boundary: str,
    session: Transaction,
    ctx: Context,
    after: Annotated[
        int, Query(ge=0, le=LARGEST_SEQUENCE, description="`next_after` of the page before")
    ] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> UsageEventsOut:
    """Read single events, with pseudonyms, where the customer lets them out; it is recorded."""
    found = get_boundary(session, boundary)
    return events.read_events(session, ctx, found.id, after=after, limit=limit)
