"""The engine's tables: run, step, run_event and the plan a person approves.

Written only by this package. Row-level security, the fence triggers and the functions that claim
across tenants are in the migration; `fence.py` says how they work together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    PrimaryKeyConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import BoundaryScoped, boundary_table, within_boundary


class Run(BoundaryScoped, Base):
    """One attempt at an operation on an install."""

    __tablename__ = "run"
    __table_args__ = boundary_table(
        within_boundary("install_id", "install"),
        CheckConstraint(
            "state IN ('queued', 'planning', 'awaiting-approval', 'waiting-for-grant', 'running',"
            " 'paused', 'needs-attention', 'succeeded', 'failed', 'unwinding', 'unwound', 'stuck',"
            " 'closing', 'cancelled')",
            name="state",
        ),
        # Four eyes in the database too: no code path can write a self-approval.
        CheckConstraint("approved_by IS NULL OR approved_by <> requested_by", name="four_eyes"),
        CheckConstraint("lane IN ('read', 'write')", name="lane"),
        Index(
            "ix_run_claimable",
            text("lane DESC"),
            "next_run_at",
            postgresql_where=text(
                "state IN ('queued', 'planning', 'running', 'unwinding', 'closing')"
            ),
        ),
        Index(
            "ix_run_resume_at",
            "resume_at",
            postgresql_where=text("state = 'paused' AND resume_at IS NOT NULL"),
        ),
        # Two writers on one install would be two owners of its resources.
        Index(
            "uq_run_writing",
            "boundary_id",
            "install_id",
            unique=True,
            postgresql_where=text(
                "lane = 'write' AND install_id IS NOT NULL"
                " AND NOT state IN ('succeeded', 'failed', 'unwound', 'cancelled')"
            ),
        ),
    )

    install_id: Mapped[UUID | None]
    kind: Mapped[str]
    """Which saga: a key of the worker's registry, e.g. `install.provision`."""
    lane: Mapped[str] = mapped_column(server_default="write")
    """`read` for runs that change nothing: they never delay a writing one."""
    state: Mapped[str]
    params: Mapped[dict[str, Any]]
    requested_by: Mapped[UUID]
    actor: Mapped[dict[str, Any]]
    """The requester as the steps' context shows it: issuer, subject, display, kind."""
    request_id: Mapped[str]

    fence: Mapped[int] = mapped_column(BigInteger, server_default="0")
    lease_until: Mapped[datetime | None]
    """When another worker may take the run over; NULL when nobody holds it."""
    claimed_by: Mapped[str | None]
    claims: Mapped[int] = mapped_column(server_default="0")
    next_run_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seq: Mapped[int] = mapped_column(BigInteger, server_default="0")

    outcome: Mapped[str | None]
    """Why the run turned around: failed, cancelled, denied, kept; NULL while it goes forward."""
    at_fault: Mapped[str | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]
    parked_reason: Mapped[str | None]
    parked_at: Mapped[datetime | None]
    resume_at: Mapped[datetime | None]
    """When a paused run goes on by itself; NULL when it waits for a person."""
    pause_requested_at: Mapped[datetime | None]
    pause_reason: Mapped[str | None]
    cancel_requested_at: Mapped[datetime | None]
    cancel_keeps: Mapped[bool] = mapped_column(server_default="false")
    """A cancelled run leaves what exists as it is, instead of undoing it."""

    plan: Mapped[dict[str, Any] | None]
    plan_digest: Mapped[str | None]
    approved_digest: Mapped[str | None]
    approved_by: Mapped[UUID | None]
    approved_at: Mapped[datetime | None]

    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]


class StepRow(Base):
    """One step of a run, as it stands."""

    __tablename__ = "step"
    __table_args__ = (
        PrimaryKeyConstraint("boundary_id", "run_id", "key"),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        within_boundary("run_id", "run"),
        CheckConstraint(
            "state IN ('pending', 'running', 'succeeded', 'failed', 'skipped', 'not-attempted',"
            " 'unwinding', 'unwound')",
            name="state",
        ),
        {"info": {"tenancy": "boundary"}},
    )

    organization_id: Mapped[UUID]
    boundary_id: Mapped[UUID]
    run_id: Mapped[UUID]
    key: Mapped[str]
    position: Mapped[int]
    title: Mapped[str]
    phase: Mapped[str]
    after: Mapped[list[Any]]
    skippable: Mapped[bool] = mapped_column(server_default="false")
    state: Mapped[str] = mapped_column(server_default="pending")
    attempt: Mapped[int] = mapped_column(server_default="0")
    """How often it was started, also by workers that died."""
    failures: Mapped[int] = mapped_column(server_default="0")
    """Errors in the present direction, forward or undo."""
    input_hash: Mapped[str | None]
    budget_seconds: Mapped[float]
    estimate_seconds: Mapped[float]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    output: Mapped[dict[str, Any] | None]
    error_code: Mapped[str | None]
    error_message: Mapped[str | None]


class RunEventRow(Base):
    """One event; `(run_id, seq)` is its id in streams, gap-free from 1."""

    __tablename__ = "run_event"
    __table_args__ = (
        PrimaryKeyConstraint("boundary_id", "run_id", "seq"),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        within_boundary("run_id", "run"),
        {"info": {"tenancy": "boundary"}},
    )

    organization_id: Mapped[UUID]
    boundary_id: Mapped[UUID]
    run_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger)
    at: Mapped[datetime] = mapped_column(server_default=func.clock_timestamp())
    kind: Mapped[str]
    step: Mapped[str | None]
    state: Mapped[str | None]
    detail: Mapped[dict[str, Any]]
