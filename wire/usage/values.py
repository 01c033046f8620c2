"""The value types of usage messages: every string is narrow, every number is bounded.

Used by the other modules of this package. Separate so that a new field cannot be looser by mistake.
"""

from __future__ import annotations

import secrets
import time
from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

UNKNOWN: Final = "unknown"

HISTOGRAM_BOUNDS_S: Final[tuple[float, ...]] = tuple(round(0.01 * 2**n, 2) for n in range(14))
"""Upper bounds in seconds, 0.01 … 81.92, of the OTel GenAI duration metrics; `le` is inclusive."""
BUCKETS: Final = len(HISTOGRAM_BOUNDS_S) + 1
"""One more bucket than bounds: the last counts everything above 81.92 s."""
GroupName = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$")]
BoundaryId = Annotated[str, Field(pattern=r"^[A-Za-z0-9](?:[A-Za-z0-9_-]{0,62}[A-Za-z0-9])?$")]
Pseudonym = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""HMAC-SHA-256 of the owner under the boundary's key; the key never leaves the boundary."""
ClientVersion = Annotated[str, Field(pattern=r"^(?:unknown|\d{1,4}(?:\.\d{1,5}){0,3})$")]
Count = Annotated[int, Field(ge=0, le=2**53)]
Milliseconds = Annotated[float, Field(ge=0, le=86_400_000, allow_inf_nan=False)]


def _whole_hour(value: datetime) -> datetime:
    if value.utcoffset() != timedelta(0):
        raise ValueError("hour_start must be in UTC")
    if value.minute or value.second or value.microsecond:
        raise ValueError("hour_start must be a whole hour")
    return value


HourStart = Annotated[AwareDatetime, AfterValidator(_whole_hour)]
Buckets = Annotated[tuple[Count, ...], Field(min_length=BUCKETS, max_length=BUCKETS)]


class Strict(BaseModel):
    """A record that refuses fields it does not know."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_by_alias=True,
        validate_by_name=True,
        serialize_by_alias=True,
        use_attribute_docstrings=True,
    )


def uuid7() -> UUID:
    """Return a UUID whose order is that of time. Source: RFC 9562, 5.7."""
    milliseconds = time.time_ns() // 1_000_000
    value = milliseconds << 80 | secrets.randbits(80)
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    return UUID(int=value)


def bucket_index(seconds: float) -> int:
    """Return the histogram bucket a duration falls into; bounds are inclusive."""
    for index, bound in enumerate(HISTOGRAM_BOUNDS_S):
        if seconds <= bound:
            return index
    return len(HISTOGRAM_BOUNDS_S)
