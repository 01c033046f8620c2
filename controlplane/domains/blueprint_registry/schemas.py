"""Blueprint versions as the API shows them."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from wire.manifest import BlueprintManifest


class BlueprintOut(BaseModel):
    """One registered version with its manifest."""

    id: UUID
    name: str
    version: str
    digest: str
    registered_at: datetime
    manifest: BlueprintManifest


class BlueprintsOut(BaseModel):
    """All registered versions."""

    blueprints: list[BlueprintOut]
