"""Connections, templates and verifications as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict


class ConnectionOut(BaseModel):
    """How a boundary's account is reached."""

    id: UUID
    boundary_id: UUID
    external_id: str
    account: str
    region: str
    partition: str
    role_base_name: str
    state: str
    state_at: datetime


class TemplateOut(BaseModel):
    """The stack that creates the one role, and what to set."""

    stack_name: str
    template: dict[str, Any]
    parameters: dict[str, str]
    """The parameters for the next stack operation: the open grant's, else the closed defaults."""
    policy_digest: str
    pins: dict[str, str]
    """Tags of the closer role: fingerprints of our keys."""


class VerificationIn(BaseModel):
    """What a probe is to find."""

    model_config = ConfigDict(extra="forbid")

    expect: Literal["closed", "open"]
    grant_id: UUID | None = None


class AttemptOut(BaseModel):
    """One AssumeRole of a probe."""

    external_id: Literal["ours", "none", "wrong", "foreign"]
    allowed: bool
    error_code: str | None


class VerificationOut(BaseModel):
    """A probe and what it found; `passed` is null until it ended."""

    id: UUID
    connection_id: UUID
    grant_id: UUID | None
    expect: str
    state: str
    passed: bool | None
    attempts: list[AttemptOut]
    requested_at: datetime
    finished_at: datetime | None
