"""Organizations and guests as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from controlplane.domains.identity.schemas import PersonOut


class OrganizationOut(BaseModel):
    """An organization with the document that was applied last."""

    id: UUID
    name: str
    display_name: str
    document: dict[str, Any]
    document_digest: str
    updated_at: datetime


class GuestOut(BaseModel):
    """A person of another identity provider; `approved_at` null means not let in yet."""

    id: UUID
    person: PersonOut
    requested_at: datetime
    approved_by: PersonOut | None
    approved_at: datetime | None


class GuestsOut(BaseModel):
    """All guests of an organization."""

    guests: list[GuestOut]
