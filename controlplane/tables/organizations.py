"""The organization and its cloud accounts, the boundary, and how a boundary's target is reached."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from sqlalchemy import (
    CheckConstraint,
    ForeignKeyConstraint,
    PrimaryKeyConstraint,
    UniqueConstraint,
    func,
)
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.ids import new_id
from controlplane.core.tenancy import (
    BoundaryScoped,
    OrganizationScoped,
    boundary_table,
    organization_table,
    within_boundary,
)


class Organization(Base):
    """The customer: root of tenancy."""

    __tablename__ = "organization"
    __table_args__ = (
        UniqueConstraint("name"),
        {"info": {"tenancy": "organization-root"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    name: Mapped[str]
    display_name: Mapped[str]
    document: Mapped[dict[str, Any]]
    """The last document that was applied, as it was sent."""
    document_digest: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class CloudAccount(OrganizationScoped, Base):
    """A cloud account of the organization that boundaries may be put into."""

    __tablename__ = "cloud_account"
    __table_args__ = organization_table(UniqueConstraint("organization_id", "account"))

    name: Mapped[str]
    account: Mapped[str]
    """Twelve digits."""
    partition: Mapped[str]


class Boundary(Base):
    """A ring that data, weights and traffic may not leave."""

    __tablename__ = "boundary"
    __table_args__ = (
        PrimaryKeyConstraint("organization_id", "id"),
        ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        UniqueConstraint("organization_id", "name"),
        {"info": {"tenancy": "boundary-root"}},
    )

    organization_id: Mapped[UUID]
    id: Mapped[UUID] = mapped_column(default=new_id)
    name: Mapped[str]
    display_name: Mapped[str]
    target: Mapped[dict[str, Any]]
    """Where the stack lands: kind, account, region, partition."""
    blueprint: Mapped[str]
    blueprint_version: Mapped[str]
    inputs: Mapped[dict[str, Any]]
    """Inputs of the blueprint as the organization's document gives them."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now())


class ConnectionState(StrEnum):
    """What the last probe of a connection showed."""

    UNVERIFIED = "unverified"
    """Before the first probe."""
    CLOSED = "closed"
    """A probe was denied in every form, as it must while no grant is open."""
    OPEN = "open"
    """A probe with our external id, and only that one, was let in."""
    UNSAFE = "unsafe"
    """A probe was let in that had to be denied: the trust policy accepts too much."""


class CloudConnection(BoundaryScoped, Base):
    """How a boundary's account is reached; the external id is ours and never chosen by others."""

    __tablename__ = "cloud_connection"
    __table_args__ = boundary_table(
        UniqueConstraint("boundary_id"),
        UniqueConstraint("boundary_id", "external_id"),
        CheckConstraint("length(external_id) >= 26", name="external_id_128_bits"),
    )

    external_id: Mapped[str]
    account: Mapped[str]
    region: Mapped[str]
    partition: Mapped[str]
    role_base_name: Mapped[str]
    """`ringfence-<boundary>`; the role of grant n is this plus `-g<n>`."""
    state: Mapped[str] = mapped_column(default=ConnectionState.UNVERIFIED.value)
    state_at: Mapped[datetime] = mapped_column(server_default=func.now())
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    def role_arn(self, grant_number: int) -> str:
        """Return the ARN of the role that grant `grant_number` opens."""
        return (
            f"arn:{self.partition}:iam::{self.account}:role/{self.role_base_name}-g{grant_number}"
        )


class VerificationState(StrEnum):
    """Where a probe of a connection stands."""

    QUEUED = "queued"
    RUNNING = "running"
    PASSED = "passed"
    FAILED = "failed"


class ConnectionVerification(BoundaryScoped, Base):
    """One probe: the same AssumeRole with ours, no, a wrong and a foreign external id."""

    __tablename__ = "connection_verification"
    __table_args__ = boundary_table(
        within_boundary("connection_id", "cloud_connection"),
        within_boundary("grant_id", "access_grant"),
        CheckConstraint("expect IN ('closed', 'open')", name="expect"),
        CheckConstraint("state IN ('queued', 'running', 'passed', 'failed')", name="state"),
    )

    connection_id: Mapped[UUID]
    grant_id: Mapped[UUID | None]
    expect: Mapped[str]
    state: Mapped[str] = mapped_column(default=VerificationState.QUEUED.value)
    attempts: Mapped[list[Any]] = mapped_column(default=list)
    """`{external_id: ours|none|wrong|foreign, allowed, error_code}` per attempt."""
    requested_by: Mapped[UUID | None]
    requested_at: Mapped[datetime] = mapped_column(server_default=func.now())
    finished_at: Mapped[datetime | None]
