"""Audit chains, events and checkpoints as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from controlplane.domains.audit.service import ChainState
from controlplane.tables.checkpoints import AuditCheckpoint


class AuditEventOut(BaseModel):
    """One event of a chain."""

    seq: int
    at: datetime
    code: str
    actor: dict[str, Any]
    request_id: str
    target: str
    detail: dict[str, Any]
    prev_hash: str
    hash: str


class AuditPageOut(BaseModel):
    """A page of a chain; ask again with `after=next_after` until it is null."""

    chain_id: str
    events: list[AuditEventOut]
    next_after: int | None


class AuditEventsOut(AuditPageOut):
    """A page of a chain that was asked for by name."""

    chain: str


class AuditCheckpointOut(BaseModel):
    """One signed state of a chain; `signed` is what an offline verifier needs."""

    size: int
    root: str
    head_hash: str
    made_at: datetime
    anchored_at: datetime | None
    anchored_as: str | None
    signed: dict[str, Any]


class AuditCheckpointsOut(BaseModel):
    """A page of checkpoints; ask again with `after=next_after` until it is null."""

    chain: str
    chain_id: str
    checkpoints: list[AuditCheckpointOut]
    next_after: int | None


class CheckpointSummaryOut(BaseModel):
    """How far a chain is signed or anchored."""

    size: int
    root: str
    at: datetime


class AuditChainOut(BaseModel):
    """One chain that the caller may read."""

    name: str
    chain_id: str
    size: int
    head_hash: str | None
    checkpoint: CheckpointSummaryOut | None
    """The newest signed state; null before the first."""
    anchored: CheckpointSummaryOut | None
    """The newest state that is in the customer's bucket, and since when."""


class AuditChainsOut(BaseModel):
    """The chains that the caller may read."""

    chains: list[AuditChainOut]


def chain_out(state: ChainState) -> AuditChainOut:
    """Return a chain's state as the API shows it."""
    signed, anchored = state.checkpoint, state.anchored
    return AuditChainOut(
        name=state.chain.name,
        chain_id=str(state.chain.chain_id),
        size=state.size,
        head_hash=state.head_hash,
        checkpoint=_summary(signed, signed.made_at) if signed else None,
        anchored=_summary(anchored, anchored.anchored_at or anchored.made_at) if anchored else None,
    )


def _summary(row: AuditCheckpoint, at: datetime) -> CheckpointSummaryOut:
    return CheckpointSummaryOut(size=row.size, root=row.root, at=at)
