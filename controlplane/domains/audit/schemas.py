"""Audit events as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel


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
