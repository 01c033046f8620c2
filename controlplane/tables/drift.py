"""What was found changed in a customer's account outside of our runs, and what was accepted."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import BoundaryScoped, boundary_table, within_boundary


class DriftFinding(BoundaryScoped, Base):
    """One resource that is not as the engine's state knows it; open until a scan sees it right."""

    __tablename__ = "drift_finding"
    __table_args__ = boundary_table(
        within_boundary("install_id", "install"),
        within_boundary("run_id", "run"),
        within_boundary("remediated_by", "run"),
        CheckConstraint("remediated_by IS NULL OR resolved_at IS NOT NULL", name="remediation"),
        CheckConstraint("change IN ('changed', 'deleted')", name="change"),
        # Four eyes in the database too: no code path can write a self-approval.
        CheckConstraint("accepted_by IS NULL OR accepted_by <> proposed_by", name="four_eyes"),
        CheckConstraint("accepted_by IS NULL OR accepted_until IS NOT NULL", name="acceptance"),
        Index(
            "uq_drift_finding_open",
            "boundary_id",
            "install_id",
            "digest",
            unique=True,
            postgresql_where="resolved_at IS NULL",
        ),
    )

    install_id: Mapped[UUID]
    run_id: Mapped[UUID]
    """The scan that saw it first."""
    digest: Mapped[str]
    """Over resource and change: another change of the same resource is another finding."""
    stack: Mapped[str]
    urn: Mapped[str]
    type: Mapped[str]
    name: Mapped[str]
    cloud_id: Mapped[str]
    change: Mapped[str]
    properties: Mapped[list[Any]]
    """`{path, was, is}` per property; a secret is never among the values."""
    found_at: Mapped[datetime] = mapped_column(server_default=func.now())
    resolved_at: Mapped[datetime | None]
    remediated_by: Mapped[UUID | None]
    """The run that set it right; None when somebody did so outside of our runs."""

    proposed_by: Mapped[UUID | None]
    proposed_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    """Why it may stay, in the words of the person who proposes that."""
    days: Mapped[int | None]
    accepted_by: Mapped[UUID | None]
    accepted_until: Mapped[datetime | None]
