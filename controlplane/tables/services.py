"""Service identities: programs that act in one organization under a name of their own."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKeyConstraint, UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.tenancy import OrganizationScoped, organization_table


class ServiceIdentity(OrganizationScoped, Base):
    """The organization's own record of a principal of kind `service`."""

    __tablename__ = "service_identity"
    __table_args__ = organization_table(
        UniqueConstraint("organization_id", "name"),
        UniqueConstraint("organization_id", "principal_id"),
        ForeignKeyConstraint(["principal_id"], ["principal.id"]),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
    )

    principal_id: Mapped[UUID]
    boundary_id: Mapped[UUID | None]
    """The boundary that it serves and whose administrators look after it; None: all of them."""
    name: Mapped[str]
    purpose: Mapped[str]
    created_by: Mapped[UUID | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    disabled_at: Mapped[datetime | None]
    disabled_by: Mapped[UUID | None]
