"""Reports and their files, our recorded sessions, and the customer's trail as it was handed over.

A report covers a set of boundaries and is visible only to a scope that holds all of them: the
report of a whole organization is not for who may see one boundary. Files are kept in pieces, so
that a long one is written and served in little memory, by another process than the one that wrote
it.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    UniqueConstraint,
    func,
)
from sqlalchemy.dialects.postgresql import UUID as PGUUID
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.ids import new_id
from controlplane.core.tenancy import BoundaryScoped, boundary_table


class ReportState(StrEnum):
    """Where a report stands."""

    QUEUED = "queued"
    READY = "ready"
    """Its files are stored and will not change."""
    FAILED = "failed"
    """It cannot be made; `error` says why."""


class Report(Base):
    """One report that somebody asked for."""

    __tablename__ = "report"
    __table_args__ = (
        PrimaryKeyConstraint("organization_id", "id"),
        ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        CheckConstraint("kind IN ('R1', 'R3')", name="kind"),
        CheckConstraint("state IN ('queued', 'ready', 'failed')", name="state"),
        Index(None, "organization_id", "requested_at"),
        {"info": {"tenancy": "report"}},
    )

    organization_id: Mapped[UUID]
    id: Mapped[UUID] = mapped_column(default=new_id)
    boundary_id: Mapped[UUID | None]
    """None: the whole organization."""
    covers: Mapped[list[UUID]] = mapped_column(ARRAY(PGUUID(as_uuid=True)))
    """Every boundary whose rows may be in it."""
    kind: Mapped[str]
    parameters: Mapped[dict[str, Any]]
    """Moments in ISO 8601, UTC: `at` and `known_at`, or `from` and `to`."""
    state: Mapped[str] = mapped_column(default=ReportState.QUEUED.value)
    requested_by: Mapped[UUID]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
    row_count: Mapped[int | None] = mapped_column(BigInteger)
    findings: Mapped[int | None]
    root: Mapped[str | None]
    error: Mapped[str | None]


class ReportFile(Base):
    """One finished file of a report."""

    __tablename__ = "report_file"
    __table_args__ = (
        PrimaryKeyConstraint("organization_id", "report_id", "format"),
        ForeignKeyConstraint(
            ["organization_id", "report_id"], ["report.organization_id", "report.id"]
        ),
        CheckConstraint("format IN ('json', 'csv', 'pdf', 'manifest')", name="format"),
        {"info": {"tenancy": "report"}},
    )

    organization_id: Mapped[UUID]
    report_id: Mapped[UUID]
    format: Mapped[str]
    covers: Mapped[list[UUID]] = mapped_column(ARRAY(PGUUID(as_uuid=True)))
    digest: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)


class ReportPiece(Base):
    """A piece of a file; pieces of the JSON file begin and end between rows."""

    __tablename__ = "report_piece"
    __table_args__ = (
        PrimaryKeyConstraint("organization_id", "report_id", "format", "position"),
        ForeignKeyConstraint(
            ["organization_id", "report_id", "format"],
            ["report_file.organization_id", "report_file.report_id", "report_file.format"],
        ),
        CheckConstraint("length(data) <= 8388608", name="bounded"),
        {"info": {"tenancy": "report"}},
    )

    organization_id: Mapped[UUID]
    report_id: Mapped[UUID]
    format: Mapped[str]
    position: Mapped[int]
    covers: Mapped[list[UUID]] = mapped_column(ARRAY(PGUUID(as_uuid=True)))
    first_row: Mapped[int | None] = mapped_column(BigInteger)
    """Number of the first row in it; None where the piece holds none."""
    data: Mapped[bytes] = mapped_column(LargeBinary)


class VendorSession(BoundaryScoped, Base):
    """One attempt of ours to assume the boundary's role: written before it, completed after it."""

    __tablename__ = "vendor_session"
    __table_args__ = boundary_table(
        CheckConstraint("purpose IN ('work', 'probe')", name="purpose"),
        CheckConstraint("outcome IN ('unknown', 'opened', 'denied')", name="outcome"),
        Index(None, "boundary_id", "asked_at"),
    )

    purpose: Mapped[str]
    role_arn: Mapped[str]
    session_name: Mapped[str]
    source_identity: Mapped[str]
    external_id_hash: Mapped[str]
    """Empty when none was sent."""
    asked_at: Mapped[datetime]
    outcome: Mapped[str] = mapped_column(default="unknown")
    """`unknown` until STS answered; it stays so when we died meanwhile."""
    error_code: Mapped[str | None]
    aws_request_id: Mapped[str | None]
    """STS's own id of the call, which the customer's trail shows too."""
    expires_at: Mapped[datetime | None]


class TrailFile(BoundaryScoped, Base):
    """One file of the customer's CloudTrail as the customer handed it over."""

    __tablename__ = "trail_file"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "digest"),
        CheckConstraint("size_bytes BETWEEN 1 AND 6000000", name="size"),
        CheckConstraint("events >= 0", name="events"),
    )

    name: Mapped[str]
    digest: Mapped[str]
    size_bytes: Mapped[int] = mapped_column(BigInteger)
    account: Mapped[str]
    region: Mapped[str]
    delivered_at: Mapped[datetime]
    """The moment in the file's name."""
    events: Mapped[int]
    first_event_at: Mapped[datetime | None]
    last_event_at: Mapped[datetime | None]
    uploaded_by: Mapped[UUID]
    uploaded_at: Mapped[datetime] = mapped_column(server_default=func.now())
    data: Mapped[bytes] = mapped_column(LargeBinary)
