"""Queries on the audit chains."""

from __future__ import annotations

from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.audit import AuditEvent


def list_events(session: Session, chain_id: UUID, *, after: int, limit: int) -> list[AuditEvent]:
    """Return events of a chain with a sequence above `after`, in order."""
    statement = (
        select(AuditEvent)
        .where(AuditEvent.chain_id == chain_id, AuditEvent.seq > after)
        .order_by(AuditEvent.seq)
        .limit(limit)
    )
    return list(session.scalars(statement))
