"""Boundaries as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from controlplane.domains.identity.schemas import PersonOut


class RunSummaryOut(BaseModel):
    """The newest run of an install, in one line."""

    id: UUID
    kind: str
    state: str
    requested_by: UUID
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class InstallStandingOut(BaseModel):
    """An install's four status axes, which never overwrite each other, and its newest run."""

    id: UUID
    name: str
    lifecycle: str
    health: str
    drift: str
    access: str
    updated_at: datetime
    newest_run: RunSummaryOut | None


class LiveGrantOut(BaseModel):
    """The access grant that has not ended; `grant_until` is null before its approval."""

    id: UUID
    number: int
    state: str
    purpose: str
    requested_by: PersonOut
    requested_at: datetime
    duration_seconds: int
    grant_until: datetime | None


class StandingOut(BaseModel):
    """How a boundary stands now."""

    installs: list[InstallStandingOut]
    """Newest first."""
    live_grant: LiveGrantOut | None
    connection_state: str | None
    agent_seen_at: datetime | None


class BoundaryOut(BaseModel):
    """One security boundary."""

    id: UUID
    organization_id: UUID
    name: str
    display_name: str
    target: dict[str, Any]
    blueprint: str
    blueprint_version: str
    inputs: dict[str, Any]
    created_at: datetime
    standing: StandingOut | None
    """Null where the caller may use the models only."""
    roles: list[str]
    """The caller's roles that count in this boundary, by name."""


class BoundariesOut(BaseModel):
    """All boundaries in which the caller has a role."""

    boundaries: list[BoundaryOut]
