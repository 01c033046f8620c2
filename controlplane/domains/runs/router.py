"""Routes of runs, and their stream of events."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Path, Query
from fastapi.sse import EventSourceResponse, ServerSentEvent
from starlette.concurrency import run_in_threadpool

from controlplane.core import run_engine
from controlplane.core.errors import NotFoundError
from controlplane.core.http import (
    LARGEST_SEQUENCE,
    Context,
    CurrentDatabase,
    CurrentStream,
    StreamRoute,
    Transaction,
    TransactionRoute,
)
from controlplane.domains.runs import service, streams
from controlplane.domains.runs.schemas import (
    ApproveIn,
    CancelIn,
    DenyIn,
    PauseIn,
    PlanOut,
    RetryIn,
    RunOut,
    SkipIn,
)

router = APIRouter(prefix="/v1", tags=["runs"], route_class=TransactionRoute)
stream_router = APIRouter(prefix="/v1", tags=["runs"], route_class=StreamRoute)

RunId = Annotated[UUID, Path(description="The run's id")]
POLL_SECONDS = 0.25


@router.get("/runs/{run_id}", operation_id="run_show")
def run_show(session: Transaction, run_id: RunId) -> RunOut:
    """Show a run with its steps, plan summary and critical path."""
    return service.show_run(session, run_id)


@router.get("/runs/{run_id}/plan", operation_id="run_plan_show")
def run_plan_show(session: Transaction, run_id: RunId) -> PlanOut:
    """Show the plan that is to be approved, or was."""
    return service.show_plan(session, run_id)


@router.post("/runs/{run_id}/approve", operation_id="run_approve")
def run_approve(session: Transaction, ctx: Context, run_id: RunId, body: ApproveIn) -> RunOut:
    """Approve the plan of this digest; the approver is not the requester."""
    service.approve(session, ctx, run_id, body.digest, body.reason)
    return service.show_run(session, run_id)


@router.post("/runs/{run_id}/deny", operation_id="run_deny")
def run_deny(session: Transaction, ctx: Context, run_id: RunId, body: DenyIn) -> RunOut:
    """Refuse the plan: nothing is built, and access is closed."""
    service.deny(session, ctx, run_id, body.reason)
    return service.show_run(session, run_id)


@router.post("/runs/{run_id}/cancel", operation_id="run_cancel", status_code=202)
def run_cancel(
    session: Transaction, ctx: Context, run_id: RunId, body: CancelIn | None = None
) -> RunOut:
    """Ask the run to stop, to undo what it did or keep it by choice, and to close."""
    run_engine.request_cancel(session, ctx, run_id, keep=body is not None and body.keep)
    return service.show_run(session, run_id)


@router.post("/runs/{run_id}/pause", operation_id="run_pause", status_code=202)
def run_pause(session: Transaction, ctx: Context, run_id: RunId, body: PauseIn) -> RunOut:
    """Ask the run to begin no further step; steps that are under way end first."""
    run_engine.request_pause(session, ctx, run_id, body.reason)
    return service.show_run(session, run_id)


@router.post("/runs/{run_id}/resume", operation_id="run_resume", status_code=202)
def run_resume(session: Transaction, ctx: Context, run_id: RunId) -> RunOut:
    """Let a paused run go on."""
    run_engine.resume(session, ctx, run_id)
    return service.show_run(session, run_id)


@router.post("/runs/{run_id}/retry", operation_id="run_retry", status_code=202)
def run_retry(
    session: Transaction, ctx: Context, run_id: RunId, body: RetryIn | None = None
) -> RunOut:
    """Let a parked run go on from where it stands; only the step named is tried again."""
    run_engine.retry(session, ctx, run_id, body.step if body is not None else None)
    return service.show_run(session, run_id)


@router.post("/runs/{run_id}/skip", operation_id="run_skip")
def run_skip(session: Transaction, ctx: Context, run_id: RunId, body: SkipIn) -> RunOut:
    """Decide that a waiting run goes on without a step; not by who asked for the run."""
    service.skip_step(session, ctx, run_id, body.step, body.reason)
    return service.show_run(session, run_id)


async def _seen_run(database: CurrentDatabase, ctx: Context, run_id: RunId) -> UUID:
    """Answer 404 before the stream begins: afterwards there is no status to send any more."""
    await run_in_threadpool(streams.read_page, database, ctx, run_id, 0)
    return run_id


@stream_router.get(
    "/runs/{run_id}/events", operation_id="run_events", response_class=EventSourceResponse
)
async def run_events(
    database: CurrentDatabase,
    stream: CurrentStream,
    run_id: Annotated[UUID, Depends(_seen_run)],
    last_event_id: Annotated[int | None, Header(ge=0, le=LARGEST_SEQUENCE)] = None,
    after: Annotated[
        int, Query(ge=0, le=LARGEST_SEQUENCE, description="Send only events above this number")
    ] = 0,
) -> AsyncIterator[ServerSentEvent]:
    """Stream the run's events as they happen; ends when the run has ended.

    It also ends within seconds when the caller is signed out, disabled or has lost the role: who
    then connects again is told why. An event's id is its sequence number: a client that reconnects
    with `Last-Event-ID` misses nothing and sees nothing twice.
    """
    seen = after if last_event_id is None else last_event_id
    while await stream.renew():
        try:
            page = await run_in_threadpool(
                streams.read_page, database, stream.context, run_id, seen
            )
        except NotFoundError:
            # What is left to the caller does not have this run any more.
            return
        for event in page.events:
            # Whoever reads slowly takes a page for longer than the right to it may be believed.
            if not await stream.renew():
                return
            seen = event.seq
            yield ServerSentEvent(id=str(event.seq), event=event.kind, data=event.to_wire())
        if page.is_over:
            return
        if not page.events:
            await asyncio.sleep(POLL_SECONDS)
