"""Reports and trail extracts as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from controlplane.domains.identity.schemas import PersonOut


class ReportIn(BaseModel):
    """What is asked: R1 at a moment, R3 over a span."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    kind: Literal["R1", "R3"]
    boundary: str | None = Field(default=None, max_length=100)
    """Name or id; None asks for the whole organization."""
    at: AwareDatetime | None = None
    """R1: the moment that is asked about; None means now."""
    known_at: AwareDatetime | None = None
    """R1: as known at this moment; None means now."""
    start: AwareDatetime | None = Field(default=None, alias="from")
    """R3: the first moment."""
    end: AwareDatetime | None = Field(default=None, alias="to")
    """R3: the last moment; None means now."""


class ReportFileOut(BaseModel):
    """One finished file."""

    format: str
    digest: str
    size_bytes: int


class ReportOut(BaseModel):
    """One report."""

    id: UUID
    kind: str
    boundary: str | None
    parameters: dict[str, str]
    state: str
    requested_by: PersonOut
    requested_at: datetime
    finished_at: datetime | None
    row_count: int | None
    findings: int | None
    root: str | None
    """Root of the Merkle tree over the rows."""
    error: str | None
    files: list[ReportFileOut]


class ReportsOut(BaseModel):
    """The reports that the caller may see, newest first."""

    reports: list[ReportOut]


class ReportRowsOut(BaseModel):
    """Some rows of a finished report."""

    rows: list[dict[str, str]]
    """Every column as text, with the row's number and hash."""
    next_after: int | None
    """Send it as `after` for more; None at the end."""


class TrailFileOut(BaseModel):
    """One file of the customer's trail as it was handed over."""

    id: UUID
    name: str
    digest: str
    size_bytes: int
    account: str
    region: str
    delivered_at: datetime
    events: int
    first_event_at: datetime | None
    last_event_at: datetime | None
    uploaded_at: datetime


class TrailFilesOut(BaseModel):
    """The trail files of a boundary, by time of delivery."""

    files: list[TrailFileOut]
