"""Agents: enrolment, status, signed bundles and narrowing verbs."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, Index, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import BoundaryScoped, boundary_table, within_boundary


class EnrolmentToken(BoundaryScoped, Base):
    """A one-time token, kept as a hash; the first use ends it."""

    __tablename__ = "enrolment_token"
    __table_args__ = boundary_table(
        within_boundary("install_id", "install"),
        UniqueConstraint("boundary_id", "token_hash"),
        Index(None, "token_hash"),
    )

    install_id: Mapped[UUID]
    token_hash: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    expires_at: Mapped[datetime]
    used_at: Mapped[datetime | None]
    revoked_at: Mapped[datetime | None]


class Agent(BoundaryScoped, Base):
    """The one part inside a boundary that talks outward, known by its own key."""

    __tablename__ = "agent"
    __table_args__ = boundary_table(
        within_boundary("install_id", "install"),
        within_boundary("enrolment_token_id", "enrolment_token"),
        UniqueConstraint("boundary_id", "public_key"),
        Index(
            "uq_agent_one_active",
            "boundary_id",
            unique=True,
            postgresql_where="revoked_at IS NULL",
        ),
    )

    install_id: Mapped[UUID]
    enrolment_token_id: Mapped[UUID]
    public_key: Mapped[str]
    fingerprint: Mapped[str]
    agent_version: Mapped[str]
    enrolled_at: Mapped[datetime] = mapped_column(server_default=func.now())
    last_seen_at: Mapped[datetime] = mapped_column(server_default=func.now())
    revoked_at: Mapped[datetime | None]


class AgentStatusRow(BoundaryScoped, Base):
    """The newest status of an agent; `status` is `wire.agent.AgentStatus`."""

    __tablename__ = "agent_status"
    __table_args__ = boundary_table(
        within_boundary("agent_id", "agent"),
        UniqueConstraint("boundary_id", "agent_id"),
    )

    agent_id: Mapped[UUID]
    applied_sequence: Mapped[int] = mapped_column(BigInteger)
    status: Mapped[dict[str, Any]]
    received_at: Mapped[datetime] = mapped_column(server_default=func.now())


class BundleRow(BoundaryScoped, Base):
    """One published bundle: envelope with both signatures."""

    __tablename__ = "bundle"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id", "sequence"),
        CheckConstraint("sequence >= 1", name="sequence"),
    )

    sequence: Mapped[int] = mapped_column(BigInteger)
    digest: Mapped[str]
    """SHA-256 of the signed payload."""
    envelope: Mapped[dict[str, Any]]
    published_at: Mapped[datetime] = mapped_column(server_default=func.now())


class VerbRow(BoundaryScoped, Base):
    """One narrowing verb and the agent's answer; `result` is `wire.agent.VerbResult`."""

    __tablename__ = "verb"
    __table_args__ = boundary_table(
        CheckConstraint("kind IN ('close', 'countersign')", name="kind"),
    )

    kind: Mapped[str]
    run_id: Mapped[UUID | None]
    envelope: Mapped[dict[str, Any]]
    issued_at: Mapped[datetime] = mapped_column(server_default=func.now())
    result: Mapped[dict[str, Any] | None]
    answered_at: Mapped[datetime | None]
