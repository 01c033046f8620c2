"""Usage as boundaries push it: hours of requests, days of changes and people, and single events.

A bucket (one hour or one day) is replaced as a whole; its rows carry its sequence. Events come only
from boundaries whose customer lets them out, and stay for 30 days.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import BoundaryScoped, boundary_table

_CELL = ("group_name", "model_version", "adapter", "feature", "language", "ide", "synthetic")


class UsageRollupRow(BoundaryScoped, Base):
    """Requests of one hour of one cell; the highest sequence wins."""

    __tablename__ = "usage_rollup"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "hour_start", *_CELL, name="uq_usage_rollup_key"),
    )

    hour_start: Mapped[datetime]
    group_name: Mapped[str]
    model_version: Mapped[str]
    adapter: Mapped[str]
    """Empty for the base model."""
    feature: Mapped[str]
    language: Mapped[str] = mapped_column(server_default="unknown")
    ide: Mapped[str] = mapped_column(server_default="unknown")
    synthetic: Mapped[bool] = mapped_column(server_default=text("false"))
    sequence: Mapped[int] = mapped_column(BigInteger)
    requests: Mapped[int] = mapped_column(BigInteger)
    requests_expected: Mapped[int] = mapped_column(BigInteger, server_default="0")
    requests_decided: Mapped[int] = mapped_column(BigInteger, server_default="0")
    input_tokens: Mapped[int] = mapped_column(BigInteger)
    output_tokens: Mapped[int] = mapped_column(BigInteger)
    rollup: Mapped[dict[str, Any]]
    """The row as it came, with histograms and errors, and `as_of` and `is_final` of its hour."""
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class UsageBucketRow(BoundaryScoped, Base):
    """One hour or day that a boundary has pushed, and how fresh it is."""

    __tablename__ = "usage_bucket"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "grain", "starts_at"),
        CheckConstraint("grain IN ('hour', 'day')", name="grain"),
    )

    grain: Mapped[str]
    starts_at: Mapped[datetime]
    sequence: Mapped[int] = mapped_column(BigInteger)
    as_of: Mapped[datetime]
    is_final: Mapped[bool]
    shown_ms: Mapped[int | None]
    """Of a day: how long a change had to be visible to count as shown."""
    events_rejected: Mapped[int] = mapped_column(BigInteger)
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class UsageChangeRow(BoundaryScoped, Base):
    """Changes of one day of one cell: the measures of `wire.usage.ChangeRow`."""

    __tablename__ = "usage_change"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "day", *_CELL, name="uq_usage_change_key"),
    )

    day: Mapped[date]
    group_name: Mapped[str]
    model_version: Mapped[str]
    adapter: Mapped[str]
    feature: Mapped[str]
    language: Mapped[str]
    ide: Mapped[str]
    synthetic: Mapped[bool]
    changes_shown: Mapped[int] = mapped_column(BigInteger)
    changes_decided: Mapped[int] = mapped_column(BigInteger)
    changes_offered: Mapped[int] = mapped_column(BigInteger)
    changes_accepted: Mapped[int] = mapped_column(BigInteger)
    lines_suggested: Mapped[int] = mapped_column(BigInteger)
    lines_accepted: Mapped[int] = mapped_column(BigInteger)
    changes_reviewed: Mapped[int] = mapped_column(BigInteger)
    not_applied_rejected: Mapped[int] = mapped_column(BigInteger)
    not_applied_dismissed: Mapped[int] = mapped_column(BigInteger)
    not_applied_lapsed: Mapped[int] = mapped_column(BigInteger)
    lines_applied_user: Mapped[int] = mapped_column(BigInteger)
    lines_applied_auto_approved: Mapped[int] = mapped_column(BigInteger)
    lines_applied_autonomous: Mapped[int] = mapped_column(BigInteger)
    lines_undone: Mapped[int] = mapped_column(BigInteger)


class UsagePeopleRow(BoundaryScoped, Base):
    """Distinct people of a window that ends with a day; never to be added up over days."""

    __tablename__ = "usage_people"
    __table_args__ = boundary_table(
        UniqueConstraint(
            "boundary_id",
            "day",
            "group_name",
            "window_days",
            "synthetic",
            name="uq_usage_people_key",
        ),
    )

    day: Mapped[date]
    group_name: Mapped[str]
    """Empty for the whole boundary."""
    window_days: Mapped[int]
    synthetic: Mapped[bool]
    active: Mapped[int] = mapped_column(BigInteger)
    with_requests: Mapped[int | None] = mapped_column(BigInteger)
    with_events: Mapped[int | None] = mapped_column(BigInteger)
    """Null when withheld: one to four people."""


class UsageExportRow(BoundaryScoped, Base):
    """What a boundary last said it lets out."""

    __tablename__ = "usage_export"
    __table_args__ = boundary_table(
        Index("uq_usage_export_boundary", "boundary_id", unique=True),
        CheckConstraint("export IN ('none', 'aggregate')", name="export"),
    )

    export: Mapped[str]
    """Whether counts leave."""
    events_since: Mapped[datetime | None]
    """From when on single events leave beside them; null when none do."""
    last_position: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Position of the newest event; drawn under this row's lock."""
    reported_at: Mapped[datetime]


class UsageEventRow(BoundaryScoped, Base):
    """One event as it left its boundary, with a pseudonym in place of the person.

    The subject is part of the key, as it is in the boundary: nobody can take another one's id.
    """

    __tablename__ = "usage_event"
    __table_args__ = (
        PrimaryKeyConstraint("boundary_id", "id", "subject"),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        UniqueConstraint("boundary_id", "position"),
        Index(None, "occurred_at"),
        {"info": {"tenancy": "boundary"}},
    )

    subject: Mapped[str]
    position: Mapped[int] = mapped_column(BigInteger)
    """Place in the order of arrival; grows over the boundary, with gaps."""
    occurred_at: Mapped[datetime]
    event: Mapped[dict[str, Any]]
    """The event as its schema has it."""
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())
