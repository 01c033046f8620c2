"""Queries on the audit chains and their checkpoints, all within the scope of one chain."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.core.audit import AuditChain, AuditEvent
from controlplane.core.errors import NotFoundError
from controlplane.domains.audit.chains import PLATFORM, Chain, boundary_chain, organization_chain
from controlplane.tables.checkpoints import AuditCheckpoint
from controlplane.tables.organizations import Boundary, Organization


@dataclass(frozen=True)
class EventFilter:
    """Which events of a chain are meant; None takes all."""

    code: str | None = None
    actor: str | None = None
    """Subject of who acted."""
    target: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def parameters(self) -> dict[str, Any]:
        """Return what was asked for, for the record of the reading."""
        given = {k: v for k, v in vars(self).items() if v is not None}
        return {k: v.isoformat() if isinstance(v, datetime) else v for k, v in given.items()}


ALL = EventFilter()


def list_events(
    session: Session, chain_id: UUID, *, after: int, limit: int, only: EventFilter = ALL
) -> list[AuditEvent]:
    """Return events of a chain with a sequence above `after`, in order."""
    statement = select(AuditEvent).where(AuditEvent.chain_id == chain_id, AuditEvent.seq > after)
    if only.code is not None:
        statement = statement.where(AuditEvent.code == only.code)
    if only.actor is not None:
        statement = statement.where(AuditEvent.actor["subject"].astext == only.actor)
    if only.target is not None:
        statement = statement.where(AuditEvent.target == only.target)
    if only.since is not None:
        statement = statement.where(AuditEvent.at >= only.since)
    if only.until is not None:
        statement = statement.where(AuditEvent.at < only.until)
    return list(session.scalars(statement.order_by(AuditEvent.seq).limit(limit)))


def find_head(session: Session, chain_id: UUID) -> tuple[int, str] | None:
    """Return (size, head hash) of a chain, None before its first event."""
    row = session.execute(
        select(AuditChain.head_seq, AuditChain.head_hash).where(AuditChain.chain_id == chain_id)
    ).one_or_none()
    return (row.head_seq, row.head_hash) if row else None


def find_newest_checkpoint(
    session: Session, chain_id: UUID, *, anchored: bool = False
) -> AuditCheckpoint | None:
    """Return the newest checkpoint of a chain, or the newest anchored one."""
    statement = select(AuditCheckpoint).where(AuditCheckpoint.chain_id == chain_id)
    if anchored:
        statement = statement.where(AuditCheckpoint.anchored_at.is_not(None))
    return session.scalars(statement.order_by(AuditCheckpoint.size.desc()).limit(1)).one_or_none()


def list_checkpoints(
    session: Session, chain_id: UUID, *, after: int, limit: int, up_to: int | None = None
) -> list[AuditCheckpoint]:
    """Return checkpoints of a chain with a size above `after`, in order."""
    statement = select(AuditCheckpoint).where(
        AuditCheckpoint.chain_id == chain_id, AuditCheckpoint.size > after
    )
    if up_to is not None:
        statement = statement.where(AuditCheckpoint.size <= up_to)
    return list(session.scalars(statement.order_by(AuditCheckpoint.size).limit(limit)))


def list_unanchored(session: Session, chain_id: UUID, limit: int) -> list[AuditCheckpoint]:
    """Return the checkpoints that are not in the customer's bucket yet, in order."""
    return list(
        session.scalars(
            select(AuditCheckpoint)
            .where(AuditCheckpoint.chain_id == chain_id, AuditCheckpoint.anchored_at.is_(None))
            .order_by(AuditCheckpoint.size)
            .limit(limit)
        )
    )


def list_signers(session: Session, chain_id: UUID) -> list[str]:
    """Return the public keys that signed checkpoints of a chain."""
    key = AuditCheckpoint.signed["public_key"].astext
    return sorted(
        session.scalars(select(key).where(AuditCheckpoint.chain_id == chain_id).distinct())
    )


def count_checkpoints(session: Session, chain_id: UUID, up_to: int) -> int:
    """Return how many checkpoints cover no more than `up_to` events."""
    return (
        session.scalar(
            select(func.count()).where(
                AuditCheckpoint.chain_id == chain_id, AuditCheckpoint.size <= up_to
            )
        )
        or 0
    )


def named(session: Session, chain: Chain) -> Chain:
    """Return a chain with its name. Raises: NotFoundError when there is no such place."""
    if chain.organization_id is None:
        return Chain(PLATFORM)
    if chain.boundary_id is None:
        name = organization_name(session, chain.organization_id)
        return organization_chain(name, chain.organization_id)
    found = boundaries_of(session, chain.organization_id, [chain.boundary_id])
    if not found:
        raise NotFoundError("there is no such audit chain")
    return boundary_chain(found[0][1], chain.organization_id, chain.boundary_id)


def organization_name(session: Session, organization_id: UUID) -> str:
    """Return an organization's name. Raises: NotFoundError."""
    found = session.scalar(select(Organization.name).where(Organization.id == organization_id))
    if found is None:
        raise NotFoundError("there is no such organization")
    return found


def boundaries_of(
    session: Session, organization_id: UUID, ids: Collection[UUID]
) -> list[tuple[UUID, str]]:
    """Return (id, name) of boundaries, by name."""
    rows = session.execute(
        select(Boundary.id, Boundary.name)
        .where(Boundary.organization_id == organization_id, Boundary.id.in_(ids))
        .order_by(Boundary.name)
    )
    return [(row.id, row.name) for row in rows]
