"""Installs as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field


class InstallIn(BaseModel):
    """What is to be installed where, under which grant."""

    model_config = ConfigDict(extra="forbid")

    boundary: str = Field(min_length=1, max_length=64)
    """Name or id."""
    blueprint: str | None = Field(default=None, max_length=63)
    """None takes what the organization's file names for the boundary."""
    version: str | None = Field(default=None, max_length=50)
    inputs: dict[str, Any] | None = None
    """None takes the inputs of the organization's file."""
    grant_id: UUID


class UpdateIn(BaseModel):
    """To what a standing install is brought, under which grant; nothing given sets right what was
    changed in the account.
    """

    model_config = ConfigDict(extra="forbid")

    grant_id: UUID
    reason: str = Field(min_length=1, max_length=500)
    revision: int | None = Field(default=None, ge=1)
    """Start from this revision's version and inputs; None takes what was applied last."""
    version: str | None = Field(default=None, max_length=50)
    """Another version of the same blueprint."""
    inputs: dict[str, Any] | None = None
    """All inputs, instead of those of the revision."""
    change: dict[str, Any] = Field(default_factory=dict, max_length=100)
    """Single inputs on top; null takes one out, so that the blueprint's default holds."""


class RemovalIn(BaseModel):
    """Under which grant an install is removed, and why."""

    model_config = ConfigDict(extra="forbid")

    grant_id: UUID
    reason: str = Field(min_length=1, max_length=500)
    purge: bool = False
    """Destroy what an earlier removal retained: the customer's data, for good."""


class RetainedOut(BaseModel):
    """One object that a removal left in the customer's account."""

    stack: str
    type: str
    name: str
    id: str
    reason: str


class DriftScanIn(BaseModel):
    """Under which grant the account is compared with the state."""

    model_config = ConfigDict(extra="forbid")

    grant_id: UUID
    keep_open: bool = False
    """Leave the grant open, for an update under it; otherwise the scan ends the access."""


class AcceptanceIn(BaseModel):
    """Why a change in the account may stay, and for how long."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=1, max_length=500)
    days: int = Field(ge=1, le=365)


class DriftPropertyOut(BaseModel):
    """One property that is not as the state has it; secrets are not shown."""

    model_config = ConfigDict(populate_by_name=True)

    path: str
    was: str
    now: str = Field(alias="is")


class DriftFindingOut(BaseModel):
    """One resource that was changed or deleted outside of our runs."""

    id: UUID
    run_id: UUID
    stack: str
    type: str
    name: str
    cloud_id: str
    change: Literal["changed", "deleted"]
    properties: list[DriftPropertyOut]
    found_at: datetime
    reason: str | None
    """Why it may stay, as somebody proposed."""
    days: int | None
    accepted_until: datetime | None
    is_accepted: bool
    resolved_at: datetime | None
    remediated_by: UUID | None
    """The run that set it right; null while it is open, and when somebody did so elsewhere."""
    outcome: Literal["open", "accepted", "remediated", "seen-right"]
    """`seen-right`: a later scan found it as it should be, and no run of ours had done that."""


class DriftOut(BaseModel):
    """How the account compares with the state."""

    drift: str
    """`none`, `found` or `unknown`."""
    drift_at: datetime | None
    """When it was last compared; `unknown` since then."""
    findings: list[DriftFindingOut]
    ended: list[DriftFindingOut]
    """What was set right, latest first; at most 20."""


class InstallCreatedOut(BaseModel):
    """The install and the run that brings it about."""

    install_id: UUID
    run_id: UUID


class RevisionOut(BaseModel):
    """What one run was to bring the install to."""

    number: int
    blueprint: str
    blueprint_version: str
    blueprint_digest: str
    inputs: dict[str, Any]
    inputs_digest: str
    grant_id: UUID
    created_at: datetime


class InstallRunOut(BaseModel):
    """A run of an install in one line; `GET /v1/runs/{run_id}` has its steps."""

    id: UUID
    kind: str
    state: str
    outcome: str | None
    requested_by_name: str
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


class InstallOut(BaseModel):
    """One install with its four status axes."""

    id: UUID
    boundary_id: UUID
    boundary: str
    """The boundary's name."""
    name: str
    lifecycle: str
    health: str
    drift: str
    drift_at: datetime | None
    """When the account was last compared with the state; `unknown` since then."""
    access: str
    created_at: datetime
    updated_at: datetime
    revisions: list[RevisionOut]
    """Newest first; one may have been asked for and refused."""
    applied_revision: int | None
    """The revision that a run brought the install to last."""
    retained: list[RetainedOut]
    """What a removal left on purpose; empty before one, and after a purge."""
    run_ids: list[UUID]
    """Newest first."""
    runs: list[InstallRunOut]
    """Newest first."""


class InstallsOut(BaseModel):
    """All installs in which the caller has a role."""

    installs: list[InstallOut]
