"""Append and read the events of a run.

`append` is called with the run's row locked by its own UPDATE: the sequence is assigned under that
lock, so it has no gaps, and readers who resume by sequence can never skip an event that commits
late. Read by the stream of `domains/runs`.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import insert, select, text
from sqlalchemy.orm import Session

from controlplane.core.logging import redact_text
from controlplane.core.run_engine.tables import RunEventRow
from wire.run_event import RunEvent

CHANNEL = "ringfence_run_event"
"""NOTIFY channel that wakes streams; the payload is the run's id."""


def append(
    session: Session,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    run_id: UUID,
    kind: str,
    step: str | None = None,
    state: str | None = None,
    detail: dict[str, Any] | None = None,
) -> int:
    """Add one event and return its sequence number; locks the run until commit."""
    seq = session.execute(
        text(
            "UPDATE run SET last_seq = last_seq + 1 WHERE boundary_id = :b AND id = :id"
            " RETURNING last_seq"
        ),
        {"b": boundary_id, "id": run_id},
    ).scalar_one()
    session.execute(
        insert(RunEventRow).values(
            organization_id=organization_id,
            boundary_id=boundary_id,
            run_id=run_id,
            seq=seq,
            kind=kind,
            step=step,
            state=state,
            detail=without_secrets(detail or {}),
        )
    )
    session.execute(
        text("SELECT pg_notify(:channel, :run)"), {"channel": CHANNEL, "run": str(run_id)}
    )
    return int(seq)


def without_secrets(value: Any) -> Any:
    """Blank what looks like a secret; by shape only, as counts of tokens are not secrets.

    The last wall: steps put no secret in, this catches what an error text carries.
    """
    if isinstance(value, str):
        return redact_text(value)
    if isinstance(value, dict):
        return {str(key): without_secrets(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_secrets(item) for item in value]
    return value


def read_after(session: Session, run_id: UUID, after: int, limit: int = 500) -> list[RunEvent]:
    """Return up to `limit` events with a sequence above `after`, in order."""
    rows = session.execute(
        select(RunEventRow)
        .where(RunEventRow.run_id == run_id, RunEventRow.seq > after)
        .order_by(RunEventRow.seq)
        .limit(limit)
    ).scalars()
    return [
        RunEvent.model_validate(
            {
                "run_id": row.run_id,
                "seq": row.seq,
                "at": row.at,
                "kind": row.kind,
                "step": row.step,
                "state": row.state,
                "detail": row.detail,
            }
        )
        for row in rows
    ]
