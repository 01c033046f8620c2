"""Take roll-ups from agents and read them; a row about a person is no part of one.

Called by the agent's route and by `GET /v1/boundaries/{b}/usage`. A bucket is a snapshot: the
highest sequence wins and replaces the whole hour or day, so that a repeated or reordered push
changes nothing and a cell that is gone inside the boundary is gone here.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, time
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import delete, insert, select
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ForbiddenError
from controlplane.core.ids import new_id
from controlplane.domains.usage import events
from controlplane.tables.agents import Agent
from controlplane.tables.usage import (
    UsageBucketRow,
    UsageChangeRow,
    UsageExportRow,
    UsagePeopleRow,
    UsageRollupRow,
)
from wire.usage import Cell, DayBucket, Export, HourBucket, RequestRow, RollupPush


def record_rollups(session: Session, ctx: OpContext, agent: Agent, push: RollupPush) -> int:
    """Store the buckets of a push and what the boundary lets out; return how many were given.

    Raises: ForbiddenError when a bucket names another boundary than the agent's.
    """
    for bucket in (*push.hours, *push.days):
        if str(bucket.boundary_id) != str(agent.boundary_id):
            raise ForbiddenError("an agent reports on its own boundary only")
    if push.export is Export.NONE:
        # Nothing leaves: also no events, whichever of the two messages says so first.
        events.record_word(session, ctx, agent, Export.NONE, None)
    else:
        _record_export(session, agent, push.export.value)
    for hour in push.hours:
        if hour.whole:
            _replace_hour(session, agent, hour)
        else:
            _put_cells(session, agent, hour)
    for day in push.days:
        _replace_day(session, agent, day)
    return len(push.hours) + len(push.days)


def _owner(agent: Agent) -> dict[str, UUID]:
    return {"organization_id": agent.organization_id, "boundary_id": agent.boundary_id}


def _record_export(session: Session, agent: Agent, export: str) -> None:
    values = {"export": export, "reported_at": now()}
    session.execute(
        pg_insert(UsageExportRow)
        .values(id=new_id(), **_owner(agent), **values)
        .on_conflict_do_update(index_elements=["boundary_id"], set_=values)
    )


def _is_newer(
    session: Session,
    agent: Agent,
    grain: Literal["hour", "day"],
    starts_at: datetime,
    bucket: HourBucket | DayBucket,
) -> bool:
    """Write the bucket's own row; return False when a newer snapshot is here already."""
    values: dict[str, Any] = {
        "sequence": bucket.sequence,
        "as_of": bucket.as_of,
        "is_final": bucket.is_final,
        "shown_ms": bucket.shown_ms if isinstance(bucket, DayBucket) else None,
        "events_rejected": bucket.events_rejected if isinstance(bucket, DayBucket) else 0,
        "received_at": now(),
    }
    statement = pg_insert(UsageBucketRow).values(
        id=new_id(), **_owner(agent), grain=grain, starts_at=starts_at, **values
    )
    written = session.scalar(
        statement.on_conflict_do_update(
            index_elements=["boundary_id", "grain", "starts_at"],
            set_=values,
            where=UsageBucketRow.sequence < bucket.sequence,
        ).returning(UsageBucketRow.id)
    )
    return written is not None


def _cell(row: Cell) -> dict[str, Any]:
    return {
        "group_name": row.group_id,
        "model_version": row.model_version,
        "adapter": row.adapter_id or "",
        "feature": str(row.feature),
        "language": str(row.language),
        "ide": str(row.ide),
        "synthetic": row.synthetic,
    }


def _request_values(row: RequestRow, hour: HourBucket) -> dict[str, Any]:
    freshness = hour.model_dump(mode="json", include={"as_of", "is_final"})
    return {
        "sequence": hour.sequence,
        "requests": row.requests,
        "requests_expected": row.requests_expected,
        "requests_decided": row.requests_decided,
        "input_tokens": row.input_tokens,
        "output_tokens": row.output_tokens,
        "rollup": {**row.model_dump(mode="json"), **freshness},
        "received_at": now(),
    }


def _replace_hour(session: Session, agent: Agent, hour: HourBucket) -> None:
    if not _is_newer(session, agent, "hour", hour.hour_start, hour):
        return
    session.execute(
        delete(UsageRollupRow).where(
            UsageRollupRow.boundary_id == agent.boundary_id,
            UsageRollupRow.hour_start == hour.hour_start,
        )
    )
    rows = [
        {
            **_owner(agent),
            "hour_start": hour.hour_start,
            **_cell(row),
            **_request_values(row, hour),
        }
        for row in hour.rows
    ]
    if rows:
        session.execute(insert(UsageRollupRow), rows)


def _put_cells(session: Session, agent: Agent, hour: HourBucket) -> None:
    """Take cells of version 1, each on its own; a whole hour that came later stays."""
    whole = session.scalar(
        select(UsageBucketRow.sequence).where(
            UsageBucketRow.boundary_id == agent.boundary_id,
            UsageBucketRow.grain == "hour",
            UsageBucketRow.starts_at == hour.hour_start,
        )
    )
    if whole is not None and whole >= hour.sequence:
        return
    for row in hour.rows:
        values = _request_values(row, hour)
        session.execute(
            pg_insert(UsageRollupRow)
            .values(
                id=new_id(), **_owner(agent), hour_start=hour.hour_start, **_cell(row), **values
            )
            .on_conflict_do_update(
                constraint="uq_usage_rollup_key",
                set_=values,
                where=UsageRollupRow.sequence < hour.sequence,
            )
        )


def _replace_day(session: Session, agent: Agent, bucket: DayBucket) -> None:
    starts_at = datetime.combine(bucket.day, time(), UTC)
    if not _is_newer(session, agent, "day", starts_at, bucket):
        return
    for table in (UsageChangeRow, UsagePeopleRow):
        session.execute(
            delete(table).where(table.boundary_id == agent.boundary_id, table.day == bucket.day)
        )
    shared = {**_owner(agent), "day": bucket.day}
    measures = {"adapter_id", "group_id", "model_version", "feature", "language", "ide"}
    changes = [
        {**shared, **_cell(row), **row.model_dump(exclude=measures | {"synthetic"})}
        for row in bucket.rows
    ]
    people = [
        {**shared, "group_name": row.group_id or "", **row.model_dump(exclude={"group_id"})}
        for row in bucket.people
    ]
    if changes:
        session.execute(insert(UsageChangeRow), changes)
    if people:
        session.execute(insert(UsagePeopleRow), people)


def list_rollups(session: Session, boundary_id: UUID, limit: int) -> Sequence[UsageRollupRow]:
    """Return a boundary's hours of requests, newest first."""
    order = ("group_name", "model_version", "adapter", "feature", "language", "ide")
    return list(
        session.scalars(
            select(UsageRollupRow)
            .where(UsageRollupRow.boundary_id == boundary_id)
            .order_by(
                UsageRollupRow.hour_start.desc(),
                *(getattr(UsageRollupRow, name) for name in order),
            )
            .limit(limit)
        )
    )
