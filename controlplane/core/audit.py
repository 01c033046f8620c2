"""Append to the audit chains, in the transaction of the change: no record, no change.

Called by every service that changes something. A chain is one boundary, one organization, or the
platform; its sequence has no gaps and each event's hash covers the one before. Reading is
`domains/audit`; checkpoints and Merkle tree come on top of the same rows.
Source: access.md 6, decision 17.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as pg_insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from controlplane.core.actor import OpContext
from controlplane.core.audit_codes import CODES
from controlplane.core.db import Base
from proof.canonical import digest

PLATFORM_CHAIN = UUID(int=0)
CHAIN_OF_ROW = f"chain_id = coalesce(boundary_id, organization_id, '{PLATFORM_CHAIN}'::uuid)"
"""A check of both tables: a foreign-key check sees every chain, so that the key alone would let a
tenant's row take a place in another's sequence."""
GENESIS = "sha256:" + "0" * 64


class AuditChain(Base):
    """The head of one chain; its row lock orders the writers of that chain."""

    __tablename__ = "audit_chain"
    __table_args__ = (
        CheckConstraint("boundary_id IS NULL OR organization_id IS NOT NULL", name="layers"),
        CheckConstraint(CHAIN_OF_ROW, name="own_chain"),
        ForeignKeyConstraint(["organization_id"], ["organization.id"]),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        {"info": {"tenancy": "chain"}},
    )

    chain_id: Mapped[UUID] = mapped_column(primary_key=True)
    """The boundary's id, else the organization's, else zero."""
    organization_id: Mapped[UUID | None]
    boundary_id: Mapped[UUID | None]
    head_seq: Mapped[int] = mapped_column(BigInteger)
    head_hash: Mapped[str]


class AuditEvent(Base):
    """One event; never updated and never deleted (the processes' roles lack the right)."""

    __tablename__ = "audit_event"
    __table_args__ = (
        CheckConstraint("boundary_id IS NULL OR organization_id IS NOT NULL", name="layers"),
        CheckConstraint(CHAIN_OF_ROW, name="own_chain"),
        ForeignKeyConstraint(["chain_id"], ["audit_chain.chain_id"]),
        ForeignKeyConstraint(
            ["organization_id", "boundary_id"], ["boundary.organization_id", "boundary.id"]
        ),
        Index(None, "chain_id", "at"),
        {"info": {"tenancy": "chain"}},
    )

    chain_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    organization_id: Mapped[UUID | None]
    boundary_id: Mapped[UUID | None]
    at: Mapped[datetime]
    code: Mapped[str]
    actor: Mapped[dict[str, Any]]
    request_id: Mapped[str]
    target: Mapped[str]
    """What was acted on, as `kind/id`."""
    detail: Mapped[dict[str, Any]]
    prev_hash: Mapped[str]
    hash: Mapped[str]


def append(
    session: Session,
    ctx: OpContext,
    code: str,
    *,
    target: str,
    boundary_id: UUID | None = None,
    organization_id: UUID | None = None,
    detail: dict[str, Any] | None = None,
) -> int:
    """Add one event to the chain of the boundary, else the organization, else the platform.

    Shapes: `detail` holds JSON values only, and never a secret. Returns the sequence number.
    Raises: KeyError for a code that `audit_codes` does not document.
    """
    if code not in CODES:
        raise KeyError(f"audit code {code!r} is not documented in core/audit_codes.py")
    organization = organization_id or ctx.scope.organization_id
    chain_id = boundary_id or organization or PLATFORM_CHAIN
    head_seq, head_hash, at = _lock_head(session, chain_id, organization, boundary_id)
    seq = head_seq + 1
    values: dict[str, Any] = {
        "chain_id": chain_id,
        "seq": seq,
        "organization_id": organization,
        "boundary_id": boundary_id,
        "at": at,
        "code": code,
        "actor": actor_record(ctx),
        "request_id": ctx.request_id,
        "target": target,
        "detail": detail or {},
        "prev_hash": head_hash,
    }
    values["hash"] = event_hash(values)
    session.execute(insert(AuditEvent).values(values))
    session.execute(
        update(AuditChain)
        .where(AuditChain.chain_id == chain_id)
        .values(head_seq=seq, head_hash=values["hash"])
        .execution_options(synchronize_session=False)
    )
    return seq


def actor_record(ctx: OpContext) -> dict[str, Any]:
    """Return who acted, as an event carries it."""
    actor = ctx.actor
    return {
        "principal_id": str(actor.principal_id) if actor.principal_id else None,
        "issuer": actor.issuer,
        "subject": actor.subject,
        "kind": actor.kind,
    }


def event_hash(values: dict[str, Any]) -> str:
    """Return the hash of an event over everything in it, the earlier hash included."""
    document = {
        key: _plain(value) for key, value in values.items() if key not in ("hash", "chain_id")
    }
    return digest({"chain": str(values["chain_id"]), **document})


def first_bad_sequence(events: list[dict[str, Any]]) -> int | None:
    """Return the first sequence number at which a chain from its start does not hold, or None.

    Shapes: `events` are the columns of `AuditEvent`, in order of `seq`, complete from 1.
    """
    previous = GENESIS
    for expected, event in enumerate(events, start=1):
        if event["seq"] != expected:
            return expected
        if event["prev_hash"] != previous or event_hash(event) != event["hash"]:
            return expected
        previous = event["hash"]
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    return value


def _lock_head(
    session: Session, chain_id: UUID, organization_id: UUID | None, boundary_id: UUID | None
) -> tuple[int, str, datetime]:
    """Lock the chain's head until commit; the time is the server's, taken under the lock."""
    session.execute(
        pg_insert(AuditChain)
        .values(
            chain_id=chain_id,
            organization_id=organization_id,
            boundary_id=boundary_id,
            head_seq=0,
            head_hash=GENESIS,
        )
        .on_conflict_do_nothing()
    )
    session.execute(
        select(AuditChain.chain_id).where(AuditChain.chain_id == chain_id).with_for_update()
    )
    row = session.execute(
        select(AuditChain.head_seq, AuditChain.head_hash, func.clock_timestamp()).where(
            AuditChain.chain_id == chain_id
        )
    ).one()
    return row[0], row[1], row[2]
