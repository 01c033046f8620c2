"""Append to the audit chains, in the transaction of the change: no record, no change.

Called by every service that changes something. A chain is one boundary, one organization, or the
platform; its sequence has no gaps and each event's hash covers the one before. Reading and
checkpoints are `domains/audit`; what a hash covers is `proof.audit_chain`.
Source: access.md 6, decision 17, ADR 0019.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, CheckConstraint, ForeignKeyConstraint, Index, text
from sqlalchemy.orm import Mapped, Session, mapped_column

from controlplane.core.actor import OpContext
from controlplane.core.audit_codes import CODES
from controlplane.core.db import Base
from proof.audit_chain import hash_template

PLATFORM_CHAIN = UUID(int=0)
CHAIN_OF_ROW = f"chain_id = coalesce(boundary_id, organization_id, '{PLATFORM_CHAIN}'::uuid)"
"""A check of both tables: a foreign-key check sees every chain, so that the key alone would let a
tenant's row take a place in another's sequence."""
MAX_EXACT = 2**53 - 1
"""The largest number that JSON readers agree on (RFC 8785, RFC 7493)."""


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

    One statement: the function `audit_append` of the migrations locks the chain's head until the
    transaction's end, takes the server's time under that lock, hashes, inserts and moves the head.
    So append last in a transaction. Shapes and errors: as in `prepare`.
    Returns the sequence number.
    """
    event = prepare(
        ctx,
        code,
        target=target,
        boundary_id=boundary_id,
        organization_id=organization_id,
        detail=detail,
    )
    as_text = {key: json.dumps(event[key]) for key in ("actor", "detail")}
    seq: int = session.execute(_APPEND, {**event, **as_text}).scalar_one()
    return seq


def prepare(
    ctx: OpContext,
    code: str,
    *,
    target: str,
    boundary_id: UUID | None = None,
    organization_id: UUID | None = None,
    detail: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return what the function `audit_append` takes, for a statement that appends with more.

    Shapes: `detail` holds JSON values only, and never a secret.
    Raises: KeyError for a code that `audit_codes` does not document; ValueError for a detail that
    would not be read back as it was hashed.
    """
    if code not in CODES:
        raise KeyError(f"audit code {code!r} is not documented in core/audit_codes.py")
    organization = organization_id or ctx.scope.organization_id
    event: dict[str, Any] = {
        "chain_id": str(boundary_id or organization or PLATFORM_CHAIN),
        "organization_id": str(organization) if organization else None,
        "boundary_id": str(boundary_id) if boundary_id else None,
        "code": code,
        "actor": actor_record(ctx),
        "request_id": ctx.request_id,
        "target": target,
        "detail": detail or {},
    }
    _check_storable(event)
    parts = hash_template(event)
    return {**event, **{f"part{number}": part for number, part in enumerate(parts, start=1)}}


_APPEND = text(
    "SELECT audit_append(CAST(:chain_id AS uuid), CAST(:organization_id AS uuid),"
    " CAST(:boundary_id AS uuid), :code, CAST(:actor AS jsonb), :request_id, :target,"
    " CAST(:detail AS jsonb), :part1, :part2, :part3, :part4)"
)


def actor_record(ctx: OpContext) -> dict[str, Any]:
    """Return who acted, as an event carries it."""
    actor = ctx.actor
    return {
        "principal_id": str(actor.principal_id) if actor.principal_id else None,
        "issuer": actor.issuer,
        "subject": actor.subject,
        "kind": actor.kind,
    }


def record(event: AuditEvent) -> dict[str, Any]:
    """Return an event as it is hashed and exported (`wire.audit.AuditRecord`)."""
    return {
        "seq": event.seq,
        "chain_id": str(event.chain_id),
        "organization_id": str(event.organization_id) if event.organization_id else None,
        "boundary_id": str(event.boundary_id) if event.boundary_id else None,
        "at": event.at.astimezone(UTC).isoformat(timespec="microseconds"),
        "code": event.code,
        "actor": event.actor,
        "request_id": event.request_id,
        "target": event.target,
        "detail": event.detail,
        "prev_hash": event.prev_hash,
        "hash": event.hash,
    }


def _check_storable(value: Any) -> None:
    """Refuse what JSONB gives back in another form than it was hashed in. Raises: ValueError."""
    if isinstance(value, str):
        if "\x00" in value:
            raise ValueError("audit detail: a text holds a zero byte, which PostgreSQL cannot keep")
    elif isinstance(value, dict):
        for key, item in value.items():
            _check_storable(key)
            _check_storable(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _check_storable(item)
    elif isinstance(value, float) and abs(value) > MAX_EXACT:
        raise ValueError(f"audit detail: {value!r} is beyond what JSON numbers keep exactly")
