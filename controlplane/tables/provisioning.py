"""People as an organization's identity provider pushes them over SCIM."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import OrganizationScoped, organization_table


class ProvisionedUser(OrganizationScoped, Base):
    """One person of the organization's directory; the principal may never have signed in.

    A deleted person stays with `removed_at` set: who had access in the past must remain a question
    with an answer.
    """

    __tablename__ = "provisioned_user"
    __table_args__ = organization_table(
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        Index(
            "uq_provisioned_user_name",
            "organization_id",
            func.lower("user_name"),
            unique=True,
            postgresql_where="removed_at IS NULL",
        ),
        Index(
            "uq_provisioned_user_principal",
            "organization_id",
            "principal_id",
            unique=True,
            postgresql_where="removed_at IS NULL",
        ),
    )

    principal_id: Mapped[UUID]
    user_name: Mapped[str]
    external_id: Mapped[str | None]
    is_active: Mapped[bool | None]
    """None: the provider took its word back, which counts as active."""
    attributes: Mapped[dict[str, Any]]
    """What else the provider said (name, addresses), in SCIM's own shape; given back as it came."""
    version: Mapped[int] = mapped_column(server_default="1")
    """Counts the changes; the entity tag."""
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    changed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    removed_at: Mapped[datetime | None]
