"""Routes of agents. They dial in; nothing of ours dials into a boundary once a grant is gone."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Body, Query, Request
from starlette.concurrency import run_in_threadpool

from controlplane.core.actor import Actor, OpContext
from controlplane.core.db import Database, Scope
from controlplane.core.errors import UnauthenticatedError, UnavailableError
from controlplane.core.http import (
    LARGEST_SEQUENCE,
    Context,
    CurrentDatabase,
    Transaction,
    TransactionRoute,
    request_id,
)
from controlplane.core.messages import parse_message
from controlplane.domains.agents import enrolment, repository, service
from controlplane.domains.agents.schemas import AgentOut, agent_out
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.identity.agent_edge import AgentRoute, AgentStreamRoute, CallingAgent
from controlplane.domains.identity.tokens import token_hash
from wire.agent import AgentStatus, DesiredState, EnrolRequest, EnrolResponse, VerbResult

people_router = APIRouter(prefix="/v1", tags=["agents"], route_class=TransactionRoute)
agent_router = APIRouter(prefix="/agent/v1", tags=["agent"], route_class=AgentRoute)
poll_router = APIRouter(prefix="/agent/v1", tags=["agent"], route_class=AgentStreamRoute)
enrol_router = APIRouter(prefix="/agent/v1", tags=["agent"])
POLL_STEP_SECONDS = 0.5
LONGEST_WAIT_SECONDS = 55
POLL_SECONDS = 25

Raw = Annotated[dict[str, Any], Body()]


@people_router.get("/boundaries/{boundary}/agent", operation_id="agent_show")
def agent_show(boundary: str, session: Transaction, ctx: Context) -> AgentOut:
    """Show the boundary's agent and what it last said."""
    found = get_boundary(session, boundary)
    agent = repository.find_active_agent(session, found.id)
    return agent_out(agent, repository.find_status(session, found.id))


@enrol_router.post("/enrol", operation_id="agent_enrol")
async def agent_enrol(request: Request, raw: Raw) -> dict[str, Any]:
    """Exchange a one-time token for an identity."""
    return await run_in_threadpool(_enrol, request, parse_message(EnrolRequest, raw))


def _enrol(request: Request, message: EnrolRequest) -> dict[str, Any]:
    database: Database = request.app.state.database
    public_key: str | None = request.app.state.settings.public_key()
    if public_key is None:
        raise UnavailableError(
            "the control plane has no public key configured",
            fix="set RINGFENCE_CONTROL_PLANE_PUBLIC_KEY",
        )
    with database.transaction(Scope(None)) as session:
        found = repository.find_boundary_of_token(session, token_hash(message.token))
    if found is None:
        raise UnauthenticatedError(enrolment.REFUSED)
    scope = Scope.boundary(*found)
    actor = Actor(None, "ringfence", "enrolling", "agent", found[0], "an agent that enrols")
    with database.transaction(scope) as session:
        context = OpContext(actor, request_id(request), scope)
        agent = enrolment.enrol(session, context, message)
        boundary = get_boundary(session, str(agent.boundary_id))
        response = EnrolResponse(
            agent_id=agent.id,
            organization_id=agent.organization_id,
            boundary_id=agent.boundary_id,
            boundary_name=boundary.name,
            control_plane_public_key=public_key,
            poll_seconds=POLL_SECONDS,
        )
    return response.to_wire()


@poll_router.get("/desired", operation_id="agent_desired")
async def agent_desired(
    database: CurrentDatabase,
    agent: CallingAgent,
    ctx: Context,
    after: Annotated[
        int, Query(ge=0, le=LARGEST_SEQUENCE, description="Sequence of the last bundle applied")
    ] = 0,
    wait: Annotated[int, Query(ge=0, le=LONGEST_WAIT_SECONDS)] = 0,
) -> dict[str, Any]:
    """Answer with what is new, waiting for it at most `wait` seconds; holds no connection."""
    deadline = time.monotonic() + wait
    while True:
        state = await run_in_threadpool(_desired, database, ctx, agent.boundary_id, after)
        if state.bundle is not None or state.verbs or time.monotonic() >= deadline:
            return state.to_wire()
        await asyncio.sleep(POLL_STEP_SECONDS)


def _desired(database: Database, ctx: OpContext, boundary_id: UUID, after: int) -> DesiredState:
    with database.transaction(ctx.scope) as session:
        return service.desired_state(session, boundary_id, after)


@agent_router.post("/status", operation_id="agent_status", status_code=204)
def agent_status(session: Transaction, agent: CallingAgent, raw: Raw) -> None:
    """Take what runs in the boundary now."""
    service.record_status(session, agent, parse_message(AgentStatus, raw))


@agent_router.post("/verb-results", operation_id="agent_verb_result", status_code=204)
def agent_verb_result(session: Transaction, ctx: Context, agent: CallingAgent, raw: Raw) -> None:
    """Take the answer to a verb."""
    service.record_verb_result(session, ctx, agent.boundary_id, parse_message(VerbResult, raw))
