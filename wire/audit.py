"""The audit chain as it leaves the control plane: checkpoints, anchors, and the export's lines.

Written by the control plane, kept by the customer (in the boundary's bucket by the agent, or in a
file), checked by `proof.audit_log`. An export is NDJSON: one header, events, checkpoints, trailer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from wire.envelope import Envelope
from wire.version import Document, Message, Record

CHECKPOINT_TYPE = "application/vnd.ringfence.audit-checkpoint+json"
_DIGEST = r"^sha256:[0-9a-f]{64}$"


class CheckpointRef(Document):
    """An earlier state of the same chain."""

    size: int = Field(ge=1)
    root: str = Field(pattern=_DIGEST)


class Checkpoint(Record):
    """The state of one chain at one moment, signed by the control-plane key."""

    SCHEMA: ClassVar[str] = "ringfence.audit-checkpoint"

    chain: str = Field(max_length=200)
    """`platform`, `organization/<name>` or `boundary/<name>`."""
    chain_id: UUID
    organization_id: UUID | None
    boundary_id: UUID | None
    size: int = Field(ge=1)
    """Number of events: the sequence of the last one that this checkpoint covers."""
    root: str = Field(pattern=_DIGEST)
    """Root of the RFC 6962 tree whose leaves are the 32 bytes of each event's hash."""
    head_hash: str = Field(pattern=_DIGEST)
    """Hash of event number `size`."""
    at: datetime
    previous: CheckpointRef | None
    """The checkpoint before this one; None for the chain's first."""


class SignedCheckpoint(Record):
    """A checkpoint as it is handed out and anchored: the envelope and what it takes to check it.

    The key is only carried here; whether it is to be trusted is decided by the reader's pin.
    """

    SCHEMA: ClassVar[str] = "ringfence.audit-checkpoint-file"

    envelope: Envelope
    public_key: str = Field(max_length=200)
    consistency: tuple[str, ...] = Field(max_length=130)
    """RFC 6962 consistency proof from `previous`, hex; empty for the first checkpoint."""


class CheckpointBatch(Message):
    """Answer to an agent: checkpoints of its boundary's chain that are not anchored yet."""

    SCHEMA: ClassVar[str] = "ringfence.audit-checkpoint-batch"

    checkpoints: tuple[SignedCheckpoint, ...] = Field(max_length=50)
    """In order of their sizes."""


class CheckpointAnchored(Message):
    """An agent's report: this checkpoint is in the customer's bucket now."""

    SCHEMA: ClassVar[str] = "ringfence.audit-checkpoint-anchored"

    size: int = Field(ge=1)
    root: str = Field(pattern=_DIGEST)
    location: str = Field(max_length=500)
    """Where it is, as `s3://bucket/key`."""


class AuditRecord(Document):
    """One event with everything its hash covers."""

    seq: int = Field(ge=1)
    chain_id: UUID
    organization_id: UUID | None
    boundary_id: UUID | None
    at: str
    """Server time, UTC, exactly as hashed: `2026-01-31T09:00:00.000000+00:00`."""
    code: str
    actor: dict[str, Any]
    request_id: str
    target: str
    detail: dict[str, Any]
    prev_hash: str
    hash: str


class ExportHeader(Record):
    """First line of an export."""

    SCHEMA: ClassVar[str] = "ringfence.audit-export"

    type: Literal["header"] = "header"
    chain: str
    chain_id: UUID
    organization_id: UUID | None
    boundary_id: UUID | None
    size: int = Field(ge=0)
    """Number of events that follow."""
    generator: str
    generated_at: datetime
    ocsf_version: str
    keys: dict[str, str]
    """Fingerprint -> public key (base64) of the signers; not to be trusted for being here."""


class ExportEvent(Document):
    """One event, with the OCSF form of it beside."""

    type: Literal["event"] = "event"
    event: AuditRecord
    ocsf: dict[str, Any]


class ExportCheckpoint(Document):
    """One checkpoint of the chain."""

    type: Literal["checkpoint"] = "checkpoint"
    checkpoint: SignedCheckpoint


class ExportTrailer(Document):
    """Last line: without it the file was cut."""

    type: Literal["trailer"] = "trailer"
    count: int = Field(ge=0)
    checkpoints: int = Field(ge=0)
    head_hash: str
    root: str
