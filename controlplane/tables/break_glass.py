"""The sealed administrator for the day when nobody can sign in, and who tried to be it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import CheckConstraint, ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.db import Base
from controlplane.core.ids import new_id


class BreakGlassSeal(Base):
    """One secret in two parts, used once; the newest unreplaced one is the installation's."""

    __tablename__ = "break_glass_seal"
    __table_args__ = (
        ForeignKeyConstraint(["first_custodian"], ["principal.id"]),
        ForeignKeyConstraint(["second_custodian"], ["principal.id"]),
        ForeignKeyConstraint(["token_id"], ["api_token.id"]),
        CheckConstraint("(opened_at IS NULL) = (ends_at IS NULL)", name="opened"),
        CheckConstraint("first_custodian <> second_custodian", name="two_people"),
        CheckConstraint(
            "opened_at IS NOT NULL OR replaced_at IS NOT NULL"
            " OR (first_custodian IS NOT NULL AND second_custodian IS NOT NULL)",
            name="custodians",
        ),
        Index(
            "uq_break_glass_seal_unopened",
            "kind",
            unique=True,
            postgresql_where="opened_at IS NULL AND replaced_at IS NULL",
        ),
        {"info": {"tenancy": "platform"}},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    kind: Mapped[str] = mapped_column(server_default="installation")
    """There is one kind; the unique index over it allows one sealed secret at a time."""
    secret_hash: Mapped[str]
    """Over both parts together; neither has a hash of its own against which it could be tried."""
    first_custodian: Mapped[UUID | None]
    """None only for a seal of before there were two parts, used up or replaced."""
    second_custodian: Mapped[UUID | None]
    sealed_at: Mapped[datetime] = mapped_column(server_default=func.now())
    replaced_at: Mapped[datetime | None]
    """When a later seal took its place, unopened."""
    opened_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    token_id: Mapped[UUID | None]
    ends_at: Mapped[datetime | None]


class BreakGlassAttempt(Base):
    """One wrong secret; counted against guessing."""

    __tablename__ = "break_glass_attempt"
    __table_args__ = (Index(None, "at"), {"info": {"tenancy": "platform"}})

    id: Mapped[UUID] = mapped_column(primary_key=True, default=new_id)
    at: Mapped[datetime] = mapped_column(server_default=func.now())
    address: Mapped[str]
