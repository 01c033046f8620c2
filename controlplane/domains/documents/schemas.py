"""What the API says about an organization's file."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel

from wire.organization import Problem


class ValidationOut(BaseModel):
    """All problems of a file; none means that it can be applied."""

    problems: list[Problem]


class AppliedBoundaryOut(BaseModel):
    """A boundary of the file and its id."""

    id: UUID
    name: str


class AppliedOut(BaseModel):
    """What was applied."""

    organization_id: UUID
    name: str
    digest: str
    boundaries: list[AppliedBoundaryOut]
