"""Routes of usage: the agent's push, and what people read."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body, Query

from controlplane.core.http import Context, Transaction, TransactionRoute
from controlplane.core.messages import parse_message
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.identity.agent_edge import AgentRoute, CallingAgent
from controlplane.domains.usage import service
from controlplane.domains.usage.schemas import UsageOut, UsageRow
from wire.usage import RollupPush

router = APIRouter(prefix="/v1", tags=["usage"], route_class=TransactionRoute)
agent_router = APIRouter(prefix="/agent/v1", tags=["agent"], route_class=AgentRoute)

Raw = Annotated[dict[str, Any], Body()]


@agent_router.post("/usage", operation_id="agent_usage", status_code=204)
def agent_usage(session: Transaction, agent: CallingAgent, raw: Raw) -> None:
    """Take roll-ups; the answer comes after the commit, so the agent may forget them."""
    service.record_rollups(session, agent, parse_message(RollupPush, raw))


@router.get("/boundaries/{boundary}/usage", operation_id="usage_list")
def usage_list(
    boundary: str,
    session: Transaction,
    ctx: Context,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> UsageOut:
    """List a boundary's usage by hour: aggregates, with how fresh they are."""
    found = get_boundary(session, boundary)
    rows = service.list_rollups(session, found.id, limit)
    return UsageOut(
        items=[
            UsageRow(
                hour=row.hour_start,
                group_id=row.group_name,
                model_version=row.model_version,
                adapter_id=row.adapter or None,
                feature=row.feature,
                requests=row.requests,
                input_tokens=row.input_tokens,
                output_tokens=row.output_tokens,
                as_of=row.rollup["as_of"],
                is_final=row.rollup["is_final"],
            )
            for row in rows
        ]
    )
