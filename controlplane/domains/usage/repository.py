"""Queries of usage: counts of a window, added up in the database, and single events.

Called by `service`, `summary` and `events`. Rows are those of the caller's boundaries only
(row-level security); every query names its boundary all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Row,
    Text,
    and_,
    bindparam,
    cast,
    column,
    func,
    literal,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.ids import new_id
from controlplane.domains.usage.schemas import By
from controlplane.tables.agents import Agent
from controlplane.tables.usage import (
    UsageBucketRow,
    UsageChangeRow,
    UsageEventRow,
    UsageExportRow,
    UsagePeopleRow,
    UsageRollupRow,
)
from wire.usage import BUCKETS, Export, RecordedChange, UsageEvent

REQUEST_SUMS = (
    *("requests", "requests_expected", "requests_decided", "input_tokens", "output_tokens"),
)
CHANGE_SUMS = (
    *("changes_shown", "changes_decided", "changes_offered", "changes_accepted"),
    *("lines_suggested", "lines_accepted", "changes_reviewed", "not_applied_rejected"),
    *("not_applied_dismissed", "not_applied_lapsed", "lines_applied_user"),
    *("lines_applied_auto_approved", "lines_applied_autonomous", "lines_undone"),
)


@dataclass(frozen=True)
class Window:
    """Whole days, UTC, both ends included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def starts_at(self) -> datetime:
        return datetime.combine(self.first, time(), UTC)

    @property
    def ends_at(self) -> datetime:
        return datetime.combine(self.last + timedelta(days=1), time(), UTC)


def _split(by: By, table: type[UsageRollupRow] | type[UsageChangeRow]) -> ColumnElement[str]:
    """Return the expression whose values are the rows of a split."""
    if by is By.NONE:
        return literal("")
    if by is By.DAY and issubclass(table, UsageRollupRow):
        return func.to_char(func.timezone("UTC", table.hour_start), "YYYY-MM-DD")
    if by is By.DAY and issubclass(table, UsageChangeRow):
        return func.to_char(table.day, "YYYY-MM-DD")
    name = "group_name" if by is By.GROUP else by.value
    column: ColumnElement[str] = table.__table__.c[name]
    return column


def _of_hours(boundary_id: UUID, window: Window) -> ColumnElement[bool]:
    return and_(
        UsageRollupRow.boundary_id == boundary_id,
        UsageRollupRow.hour_start >= window.starts_at,
        UsageRollupRow.hour_start < window.ends_at,
    )


def _of_days(boundary_id: UUID, window: Window) -> ColumnElement[bool]:
    return and_(
        UsageChangeRow.boundary_id == boundary_id,
        UsageChangeRow.day.between(window.first, window.last),
    )


def _bucket_sums(name: str) -> list[ColumnElement[Any]]:
    """Return one sum per place of a histogram: merged, so that percentiles may be read."""
    document = UsageRollupRow.rollup
    return [
        func.sum(cast(document[name][i].astext, BigInteger)).label(f"{name}_{i}")
        for i in range(BUCKETS)
    ]


def sum_requests(session: Session, boundary_id: UUID, window: Window, by: By) -> list[Row[Any]]:
    """Return the counts of requests per value of the split: `split`, sums, histograms."""
    table = UsageRollupRow
    each = func.jsonb_each_text(table.rollup["errors"]).table_valued("key", "value")
    failed = (
        select(func.coalesce(func.sum(cast(each.c.value, BigInteger)), 0))
        .select_from(each)
        .correlate(table)
        .scalar_subquery()
    )
    split = _split(by, table).label("split")
    return list(
        session.execute(
            select(
                split,
                func.bool_or(table.synthetic).label("synthetic"),
                func.sum(failed).label("failed"),
                *(func.sum(getattr(table, name)).label(name) for name in REQUEST_SUMS),
                *_bucket_sums("ttft_buckets"),
                *_bucket_sums("duration_buckets"),
                func.max(cast(table.rollup["as_of"].astext, Text)).label("as_of"),
                func.bool_and(table.rollup["is_final"].astext == "true").label("is_final"),
            )
            .where(_of_hours(boundary_id, window))
            .group_by(split)
        )
    )


def sum_changes(session: Session, boundary_id: UUID, window: Window, by: By) -> list[Row[Any]]:
    """Return the counts of changes per value of the split."""
    table = UsageChangeRow
    split = _split(by, table).label("split")
    return list(
        session.execute(
            select(
                split,
                func.bool_or(table.synthetic).label("synthetic"),
                *(func.sum(getattr(table, name)).label(name) for name in CHANGE_SUMS),
            )
            .where(_of_days(boundary_id, window))
            .group_by(split)
        )
    )


def list_people(
    session: Session, boundary_id: UUID, window: Window, window_days: int
) -> list[UsagePeopleRow]:
    """Return distinct people of windows that end inside `window`."""
    return list(
        session.scalars(
            select(UsagePeopleRow).where(
                UsagePeopleRow.boundary_id == boundary_id,
                UsagePeopleRow.day.between(window.first, window.last),
                UsagePeopleRow.window_days == window_days,
            )
        )
    )


def list_buckets(session: Session, boundary_id: UUID, window: Window) -> list[UsageBucketRow]:
    """Return how fresh the hours and days of a window are."""
    return list(
        session.scalars(
            select(UsageBucketRow).where(
                UsageBucketRow.boundary_id == boundary_id,
                UsageBucketRow.starts_at >= window.starts_at,
                UsageBucketRow.starts_at < window.ends_at,
            )
        )
    )


def find_export_row(session: Session, boundary_id: UUID) -> UsageExportRow | None:
    """Return what the boundary last said it lets out, or None."""
    return session.scalar(select(UsageExportRow).where(UsageExportRow.boundary_id == boundary_id))


def word_of(row: UsageExportRow | None) -> str:
    """Return a boundary's word as its customer wrote it."""
    if row is None:
        return "unknown"
    return row.export if row.events_since is None else Export.EVENTS.value


def lock_export(session: Session, agent: Agent) -> UsageExportRow:
    """Return the row of a boundary's word for an update, made when it is not there."""
    session.execute(
        pg_insert(UsageExportRow)
        .values(
            id=new_id(),
            organization_id=agent.organization_id,
            boundary_id=agent.boundary_id,
            export=Export.NONE.value,
            reported_at=now(),
        )
        .on_conflict_do_nothing(index_elements=["boundary_id"])
    )
    return session.scalars(
        select(UsageExportRow)
        .where(UsageExportRow.boundary_id == agent.boundary_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one()


def insert_events(
    session: Session, agent: Agent, events: Sequence[UsageEvent | RecordedChange], first: int
) -> int:
    """Store events that are not there yet, from position `first` on; return how many were new.

    One statement for a whole page: the rows travel as one JSON value.
    """
    rows = [
        {
            "id": str(event.id),
            "subject": event.subject,
            "position": position,
            "occurred_at": event.time.isoformat(),
            "event": event.model_dump(mode="json"),
        }
        for position, event in enumerate(events, first)
    ]
    given = func.jsonb_to_recordset(bindparam("rows", rows, type_=JSONB)).table_valued(
        column("id", UsageEventRow.id.type),
        column("subject", Text),
        column("position", BigInteger),
        column("occurred_at", UsageEventRow.occurred_at.type),
        column("event", JSONB),
    )
    given = given.render_derived(name="given", with_types=True)
    names = ("id", "subject", "position", "occurred_at", "event")
    statement = pg_insert(UsageEventRow).from_select(
        ["organization_id", "boundary_id", *names],
        select(
            literal(agent.organization_id), literal(agent.boundary_id), *(given.c[n] for n in names)
        ),
        include_defaults=False,
    )
    stored = session.execute(statement.on_conflict_do_nothing().returning(UsageEventRow.position))
    return len(stored.all())


def list_events(
    session: Session, boundary_id: UUID, since: datetime, *, after: int, limit: int
) -> list[UsageEventRow]:
    """Return events with a position above `after` that happened since, in the order of arrival."""
    return list(
        session.scalars(
            select(UsageEventRow)
            .where(
                UsageEventRow.boundary_id == boundary_id,
                UsageEventRow.position > after,
                UsageEventRow.occurred_at >= since,
            )
            .order_by(UsageEventRow.position)
            .limit(limit)
        )
    )


def list_hours(session: Session, boundary_id: UUID, window: Window) -> list[UsageRollupRow]:
    """Return the rows of a window's hours, oldest first."""
    order = ("hour_start", "group_name", "model_version", "adapter", "feature", "language", "ide")
    return list(
        session.scalars(
            select(UsageRollupRow)
            .where(_of_hours(boundary_id, window))
            .order_by(*(getattr(UsageRollupRow, name) for name in order))
        )
    )


def list_days(session: Session, boundary_id: UUID, window: Window) -> list[UsageChangeRow]:
    """Return the rows of a window's days, oldest first."""
    order = ("day", "group_name", "model_version", "adapter", "feature", "language", "ide")
    return list(
        session.scalars(
            select(UsageChangeRow)
            .where(_of_days(boundary_id, window))
            .order_by(*(getattr(UsageChangeRow, name) for name in order))
        )
    )


def cell_of(row: UsageRollupRow | UsageChangeRow) -> Mapping[str, Any]:
    """Return a row's dimensions under the names of the API."""
    return {
        "group_id": row.group_name,
        "model_version": row.model_version,
        "adapter_id": row.adapter or None,
        "feature": row.feature,
        "language": row.language,
        "ide": row.ide,
        "synthetic": row.synthetic,
    }
