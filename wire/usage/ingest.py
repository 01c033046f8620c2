"""The answer of `POST /usage/v1/events`: what of a batch was stored.

Written by the gateway, read by clients. Separate because it is the contract of a retry: what is
accepted or a duplicate is stored for good, what is rejected must not be sent again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field

from wire.usage.values import Count, Strict


class RejectReason(StrEnum):
    """Why an event was not stored."""

    UNKNOWN_FIELD = "unknown_field"
    """A field that the schema does not have."""
    MISSING_FIELD = "missing_field"
    UNKNOWN_TYPE = "unknown_type"
    """No event type of this version."""
    INVALID_VALUE = "invalid_value"
    """A value outside its enumeration, pattern or bounds."""
    TOO_OLD = "too_old"
    """Older than 72 h: its day may be final."""
    IN_FUTURE = "in_future"
    """More than 5 min ahead of the gateway's clock."""


class Rejection(Strict):
    """One event that was not stored. Its values are never repeated."""

    index: Annotated[int, Field(ge=0)]
    """Place in the batch, from 0."""
    field: Annotated[str, Field(max_length=100)]
    """Path of the field; `?` for a name that no schema could have."""
    reason: RejectReason
    """Why."""


class IngestAnswer(Strict):
    """What became of a batch; comes after the commit."""

    accepted: Count
    """Stored now."""
    duplicates: Count
    """Stored before."""
    rejected: tuple[Rejection, ...]
    """Not stored; sending them again changes nothing."""
