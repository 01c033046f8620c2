"""Single events of boundaries whose customer lets them out: taken from agents, read by a few.

Called by the agent's route and by `GET /v1/boundaries/{b}/usage/events`. Separate from the
roll-ups because each row is about a person: what the boundary says now decides what is shown, each
reading is an event of the audit, and `reconcilers.usage_events` deletes what is old or was taken
back.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ForbiddenError
from controlplane.domains.usage import repository
from controlplane.domains.usage.schemas import StoredEventOut, UsageEventsOut
from controlplane.tables.agents import Agent
from controlplane.tables.usage import UsageExportRow
from wire.usage import EventPush, Export, place_of

KEEP: Final = timedelta(days=30)
"""Age at which an event is deleted."""


def record_events(session: Session, ctx: OpContext, agent: Agent, push: EventPush) -> int:
    """Store a page and what the boundary lets out; return how many were new.

    Raises: ForbiddenError when an event names another boundary than the agent's.
    """
    for event in push.events:
        if place_of(event)[0] != str(agent.boundary_id):
            raise ForbiddenError("an agent reports on its own boundary only")
    row = record_word(session, ctx, agent, push.export, push.since)
    oldest = now() - KEEP
    kept = [event for event in push.events if event.time >= oldest]
    if not kept:
        return 0
    # The row is locked until the commit, so that positions become visible in their order.
    first = row.last_position + 1
    row.last_position += len(kept)
    return repository.insert_events(session, agent, kept, first)


def record_word(
    session: Session, ctx: OpContext, agent: Agent, export: Export, since: datetime | None
) -> UsageExportRow:
    """Keep what a boundary lets out; return its row, locked until the commit."""
    row = repository.lock_export(session, agent)
    if row.events_since != since:
        audit.append(
            session,
            ctx,
            "usage.export-changed",
            target=f"boundary/{agent.boundary_id}",
            boundary_id=agent.boundary_id,
            detail={"export": export.value, "since": since.isoformat() if since else None},
        )
    row.export = (Export.NONE if export is Export.NONE else Export.AGGREGATE).value
    row.events_since = since
    row.reported_at = now()
    return row


def read_events(
    session: Session, ctx: OpContext, boundary_id: UUID, *, after: int, limit: int
) -> UsageEventsOut:
    """Return a page of a boundary's events, oldest first, and leave a record of the reading.

    A boundary that lets none out has an empty page, whatever is still stored of it.
    """
    row = repository.find_export_row(session, boundary_id)
    since = row.events_since if row else None
    rows = (
        repository.list_events(session, boundary_id, since, after=after, limit=limit + 1)
        if since
        else []
    )
    shown = rows[:limit]
    audit.append(
        session,
        ctx,
        "usage.events-read",
        target=f"boundary/{boundary_id}",
        boundary_id=boundary_id,
        detail={"after": after, "limit": limit, "events": len(shown)},
    )
    return UsageEventsOut(
        export=repository.word_of(row),
        since=since,
        kept_days=KEEP.days,
        events=[StoredEventOut.model_validate(each, from_attributes=True) for each in shown],
        next_after=shown[-1].position if shown else after,
        more=len(rows) > limit,
    )
