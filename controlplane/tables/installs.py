"""Installs and their revisions, and the certificates at their end."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import BoundaryScoped, boundary_table, within_boundary


class Install(BoundaryScoped, Base):
    """One running copy of a blueprint version in a boundary; four status axes, never merged."""

    __tablename__ = "install"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "name"),
        CheckConstraint(
            "lifecycle IN ('requested', 'installing', 'installed', 'partial', 'updating',"
            " 'removing', 'removed', 'failed')",
            name="lifecycle",
        ),
        CheckConstraint("health IN ('unknown', 'healthy', 'degraded', 'down')", name="health"),
        CheckConstraint("drift IN ('unknown', 'none', 'found')", name="drift"),
        CheckConstraint("access IN ('unknown', 'closed', 'open', 'closing')", name="access"),
        CheckConstraint("host_boundary_id <> boundary_id", name="no_host_of_itself"),
        ForeignKeyConstraint(
            ["organization_id", "host_boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        Index(
            "ix_install_host",
            "host_boundary_id",
            postgresql_where=text("host_boundary_id IS NOT NULL"),
        ),
    )

    name: Mapped[str]
    lifecycle: Mapped[str] = mapped_column(default="requested")
    health: Mapped[str] = mapped_column(default="unknown")
    drift: Mapped[str] = mapped_column(default="unknown")
    access: Mapped[str] = mapped_column(default="unknown")
    drift_at: Mapped[datetime | None]
    """When the account was last compared with the state."""
    retained: Mapped[list[Any]] = mapped_column(server_default="[]")
    """What a removal left in the account on purpose, as its certificate names it."""
    host_boundary_id: Mapped[UUID | None]
    """The boundary in whose cluster it lives; None: it has a cluster of its own."""
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class InstallRevision(BoundaryScoped, Base):
    """What one run is to bring the install to: blueprint version and inputs, under a grant."""

    __tablename__ = "install_revision"
    __table_args__ = boundary_table(
        within_boundary("install_id", "install"),
        within_boundary("grant_id", "access_grant"),
        ForeignKeyConstraint(["blueprint_version_id"], ["blueprint_version.id"]),
        UniqueConstraint("boundary_id", "install_id", "number"),
    )

    install_id: Mapped[UUID]
    grant_id: Mapped[UUID]
    blueprint_version_id: Mapped[UUID]
    number: Mapped[int]
    inputs: Mapped[dict[str, Any]]
    inputs_digest: Mapped[str]
    created_by: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())


class Certificate(BoundaryScoped, Base):
    """A signed install certificate; `countersigned_at` is set with the agent's signature."""

    __tablename__ = "certificate"
    __table_args__ = boundary_table(
        within_boundary("install_id", "install"),
        UniqueConstraint("boundary_id", "run_id"),
    )

    install_id: Mapped[UUID]
    run_id: Mapped[UUID]
    envelope: Mapped[dict[str, Any]]
    issued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    countersigned_at: Mapped[datetime | None]
