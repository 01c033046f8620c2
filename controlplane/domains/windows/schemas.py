"""Windows as the API takes and shows them."""

from __future__ import annotations

from datetime import datetime, time, timedelta
from typing import Literal
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BaseModel, ConfigDict, Field, field_validator

from controlplane.domains.windows.calendar import Weekly

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Window(_Model):
    """A span of every week. Units: minutes of real time from the opening."""

    days: list[Day] = Field(min_length=1, max_length=7)
    starts: str = Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")
    """Local time of day in `zone`."""
    minutes: int = Field(ge=15, le=10080)
    zone: str = Field(max_length=60)

    @field_validator("days")
    @classmethod
    def _each_once(cls, days: list[Day]) -> list[Day]:
        if len(set(days)) != len(days):
            raise ValueError("name each day once")
        return days

    @field_validator("zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"{zone!r} is no time zone; name one as Europe/Berlin or UTC")
        return zone

    def weekly(self) -> Weekly:
        """Return it as the calendar knows it."""
        return Weekly(
            frozenset(self.days),
            time.fromisoformat(self.starts),
            timedelta(minutes=self.minutes),
            ZoneInfo(self.zone),
        )


class WindowsIn(_Model):
    """All windows of the boundary; an empty list lets runs change it at any time."""

    windows: list[Window] = Field(max_length=20)


class OverrideIn(_Model):
    """Why runs must change the boundary outside its windows, and for how long."""

    reason: str = Field(min_length=3, max_length=500)
    minutes: int = Field(ge=15, le=1440)


class OverrideOut(_Model):
    """A wish to go on outside the windows; in force from its approval to its end."""

    id: UUID
    reason: str
    minutes: int
    requested_by: UUID
    requested_by_name: str
    requested_at: datetime
    approved_by: UUID | None
    approved_by_name: str | None
    approved_at: datetime | None
    ends_at: datetime | None


class WindowsOut(_Model):
    """The windows and how they stand now."""

    windows: list[Window]
    is_open: bool
    """Whether runs may change the boundary now, by a window or by an override."""
    until: datetime | None
    """When that changes by itself; null when it does not."""
    override: OverrideOut | None
    """The override that is in force now."""
    requested: list[OverrideOut]
    """Overrides that wait for a second person."""
