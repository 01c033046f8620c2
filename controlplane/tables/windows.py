"""Maintenance windows of a boundary, and the overrides that two people agreed on.

Written by `domains/windows`, read by its gate before each step of a run that has an effect.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import BoundaryScoped, boundary_table

KEPT_REQUESTS = timedelta(days=1)
"""A wish that nobody approved within a day is not shown any more and cannot be approved."""


class MaintenanceWindow(BoundaryScoped, Base):
    """A span of every week in which runs may change the boundary; without any, always."""

    __tablename__ = "maintenance_window"
    __table_args__ = boundary_table(
        CheckConstraint("minutes BETWEEN 15 AND 10080", name="minutes"),
    )

    days: Mapped[list[Any]]
    """Days on which it opens: `mon` to `sun`."""
    starts: Mapped[str]
    """Local time of day, `HH:MM`."""
    minutes: Mapped[int]
    zone: Mapped[str]
    """IANA name of the time zone in which `days` and `starts` are meant."""
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class WindowOverride(BoundaryScoped, Base):
    """A person's wish to change the boundary outside its windows; in force once approved."""

    __tablename__ = "window_override"
    __table_args__ = boundary_table(
        # Four eyes in the database too: no code path can write a self-approval.
        CheckConstraint("approved_by IS NULL OR approved_by <> requested_by", name="four_eyes"),
        CheckConstraint("(approved_by IS NULL) = (approved_at IS NULL)", name="approval"),
        CheckConstraint("minutes BETWEEN 15 AND 1440", name="minutes"),
    )

    reason: Mapped[str]
    minutes: Mapped[int]
    """How long it lasts from its approval on."""
    requested_by: Mapped[UUID]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    approved_by: Mapped[UUID | None]
    approved_at: Mapped[datetime | None]
    ends_at: Mapped[datetime | None]
