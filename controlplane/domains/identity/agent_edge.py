"""The edge for agents: a request is known by its signature, and sees its boundary only.

Used by the routers of agents and usage. The signature covers method, path with query and body, so
the body is read before anything else is believed.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Request, Response
from fastapi.routing import APIRoute
from sqlalchemy import select, text
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from controlplane.core.actor import Actor, OpContext
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.errors import UnauthenticatedError
from controlplane.core.http import request_id
from controlplane.tables.agents import Agent
from proof.keys import decode_public
from proof.request_signing import HEADER, RequestSignatureError, parse_header, verify_request

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
LARGEST_BODY = 8_000_000


class AgentStreamRoute(APIRoute):
    """Verify the signature; for long polls, which open their own short transactions."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            await _authenticate(request)
            return await handler(request)

        return handle


class AgentRoute(APIRoute):
    """Verify the signature, open the boundary's transaction, run, commit, answer."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            context = await _authenticate(request)
            database: Database = request.app.state.database
            session = await run_in_threadpool(database.begin, context.scope)
            request.state.session = session
            try:
                response = await handler(request)
                await run_in_threadpool(session.commit)
            except BaseException:  # edge: rolled back and raised again
                await run_in_threadpool(session.rollback)
                raise
            finally:
                await run_in_threadpool(session.close)
            return response

        return handle


async def _authenticate(request: Request) -> OpContext:
    body = await request.body()
    if len(body) > LARGEST_BODY:
        raise UnauthenticatedError("the body is larger than 8 MB")
    context, agent = await run_in_threadpool(_identify, request, body)
    request.state.context = context
    request.state.agent = agent
    return context


def _identify(request: Request, body: bytes) -> tuple[OpContext, Agent]:
    try:
        header = parse_header(request.headers.get(HEADER, ""))
    except RequestSignatureError as error:
        raise UnauthenticatedError(str(error)) from error
    database: Database = request.app.state.database
    with database.transaction(Scope(None)) as session:
        found = _find_agent(session, header.agent_id)
    if found is None:
        raise UnauthenticatedError("this agent is not known, or was replaced")
    organization_id, boundary_id, public_key = found
    query = f"?{request.url.query}" if request.url.query else ""
    target = f"{request.url.path}{query}"
    try:
        verify_request(decode_public(public_key), header, request.method, target, body, now())
    except RequestSignatureError as error:
        raise UnauthenticatedError(str(error)) from error
    scope = Scope.boundary(organization_id, boundary_id)
    with database.transaction(scope) as session:
        agent = session.scalars(select(Agent).where(Agent.id == header.agent_id)).one()
    actor = Actor(None, "ringfence", str(agent.id), "agent", organization_id, "agent")
    return OpContext(actor, request_id(request), scope), agent


def _find_agent(session: Session, agent_id: UUID) -> tuple[UUID, UUID, str] | None:
    """Return (organization, boundary, public key) of a live agent; works without a tenant scope."""
    row = session.execute(
        text("SELECT organization_id, boundary_id, public_key FROM boundary_of_agent(:id)"),
        {"id": agent_id},
    ).one_or_none()
    return (row[0], row[1], row[2]) if row else None


async def current_agent(request: Request) -> Agent:
    """Return the agent that signed the request."""
    agent: Agent = request.state.agent
    return agent


CallingAgent = Annotated[Agent, Depends(current_agent)]
