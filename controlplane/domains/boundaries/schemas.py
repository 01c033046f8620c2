"""Boundaries as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel


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


class BoundariesOut(BaseModel):
    """All boundaries in which the caller has a role."""

    boundaries: list[BoundaryOut]
