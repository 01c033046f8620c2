"""Checkpoints of the audit chains, and the Merkle subtrees they are computed from.

Written by the worker, which alone can sign. The chains themselves are `core.audit`.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, func
from sqlalchemy.orm import Mapped, mapped_column

from controlplane.core.audit import CHAIN_OF_ROW
from controlplane.core.db import Base


def _chain_table(*constraints: Any) -> tuple[Any, ...]:
    """Return `__table_args__` of a table of class chain; its key starts with the chain."""
    return (
        CheckConstraint("boundary_id IS NULL OR organization_id IS NOT NULL", name="layers"),
        CheckConstraint(CHAIN_OF_ROW, name="own_chain"),
        ForeignKeyConstraint(["chain_id"], ["audit_chain.chain_id"]),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        *constraints,
        {"info": {"tenancy": "chain"}},
    )


class AuditSubtree(Base):
    """The root of one complete subtree of a chain's tree, so that no old event is read again.

    Kept from level 8 (256 events) up: one row per 128 events, and a proof or a checkpoint reads
    at most 255 leaves beside them.
    """

    __tablename__ = "audit_subtree"
    __table_args__ = _chain_table()

    chain_id: Mapped[UUID] = mapped_column(primary_key=True)
    level: Mapped[int] = mapped_column(primary_key=True)
    """The subtree has 2**level leaves."""
    position: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    """It covers the events `(position << level) + 1` to `(position + 1) << level`."""
    organization_id: Mapped[UUID | None]
    boundary_id: Mapped[UUID | None]
    hash: Mapped[str]


class AuditCheckpoint(Base):
    """One signed state of a chain; only its anchoring is ever written later."""

    __tablename__ = "audit_checkpoint"
    __table_args__ = _chain_table(
        CheckConstraint("size >= 1", name="size"),
        Index(
            "ix_audit_checkpoint_unanchored",
            "chain_id",
            "size",
            postgresql_where="anchored_at IS NULL",
        ),
    )

    chain_id: Mapped[UUID] = mapped_column(primary_key=True)
    size: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    organization_id: Mapped[UUID | None]
    boundary_id: Mapped[UUID | None]
    root: Mapped[str]
    head_hash: Mapped[str]
    previous_size: Mapped[int | None] = mapped_column(BigInteger)
    signed: Mapped[dict[str, Any]]
    """`wire.audit.SignedCheckpoint`: envelope, public key, consistency proof."""
    made_at: Mapped[datetime] = mapped_column(server_default=func.now())
    anchored_at: Mapped[datetime | None]
    """When the boundary's agent said that it is in the customer's bucket."""
    anchored_as: Mapped[str | None]
    """Where it is, as the agent said."""
