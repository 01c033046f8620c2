"""Organizations as the API shows them."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel


class OrganizationOut(BaseModel):
    """An organization with the document that was applied last."""

    id: UUID
    name: str
    display_name: str
    document: dict[str, Any]
    document_digest: str
    updated_at: datetime
