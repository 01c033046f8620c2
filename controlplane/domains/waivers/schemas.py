"""Waivers as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from controlplane.domains.identity.schemas import PersonOut


class WaiverIn(BaseModel):
    """Which crossing is asked for, why, and until when."""

    model_config = ConfigDict(extra="forbid")

    kind: Literal["guest"] = "guest"
    subject: str = Field(min_length=1, max_length=200)
    """Of the person who crosses, at the other identity provider."""
    issuer: str = Field(pattern=r"^https://\S+$", max_length=300)
    boundary: str | None = Field(default=None, max_length=100)
    """None: the whole organization."""
    reason: str = Field(min_length=3, max_length=2000)
    ticket: str | None = Field(default=None, max_length=100)
    starts_at: AwareDatetime | None = None
    """None: as soon as two people have approved it."""
    ends_at: AwareDatetime
    """At most 90 days after the start."""


class WaiverApproveIn(BaseModel):
    """A yes to exactly the terms with this digest."""

    model_config = ConfigDict(extra="forbid")

    digest: str = Field(pattern=r"^sha256:[0-9a-f]{64}$")
    reason: str = Field(default="", max_length=2000)


class WaiverEndIn(BaseModel):
    """A no, or an early end, with its reason."""

    model_config = ConfigDict(extra="forbid")

    reason: str = Field(min_length=3, max_length=2000)


class WaiverApprovalOut(BaseModel):
    """One of two approvals."""

    by: PersonOut
    at: datetime
    reason: str


class WaiverOut(BaseModel):
    """One waiver."""

    id: UUID
    kind: Literal["guest"]
    person: PersonOut
    issuer: str
    boundary: str | None
    """Name of the one boundary; None: the whole organization."""
    reason: str
    ticket: str | None
    digest: str
    state: Literal["requested", "approved", "active", "expired", "denied", "revoked"]
    """`approved`: by two people, and not begun; `active`: in force now."""
    requested_by: PersonOut | None
    requested_at: datetime
    approvals: list[WaiverApprovalOut]
    approvals_needed: int
    starts_at: datetime
    ends_at: datetime
    ended_by: PersonOut | None
    ended_at: datetime | None
    end_reason: str | None
    carried_over: bool
    """True for a guest of before there were waivers, whom one person had let in."""


class WaiversOut(BaseModel):
    """The waivers of an organization, newest first."""

    waivers: list[WaiverOut]
