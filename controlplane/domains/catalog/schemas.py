"""A boundary's models as the API shows them."""

from __future__ import annotations

from uuid import UUID

from pydantic import BaseModel


class ModelOut(BaseModel):
    """A model version of a boundary with its bytes."""

    id: UUID
    name: str
    version: str
    kind: str
    digest: str
    size_bytes: int
    format: str
    parent_id: UUID | None


class ModelsOut(BaseModel):
    """All model versions of a boundary, bases first."""

    models: list[ModelOut]
