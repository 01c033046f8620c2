"""Write boundaries. Called by `domains/documents`."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.domains.boundaries import repository
from controlplane.tables.organizations import Boundary


def ensure_boundary(
    session: Session, ctx: OpContext, organization_id: UUID, boundary_id: UUID, **wanted: Any
) -> Boundary:
    """Write a boundary; `wanted` holds its columns by name. The target of one never changes."""
    existing = {b.id: b for b in repository.list_boundaries(session)}.get(boundary_id)
    if existing is None:
        row = Boundary(organization_id=organization_id, id=boundary_id, **wanted)
        session.add(row)
        session.flush()
        audit.append(
            session,
            ctx,
            "boundary.created",
            target=f"boundary/{boundary_id}",
            boundary_id=boundary_id,
            organization_id=organization_id,
            detail={"name": row.name},
        )
        return row
    changed = {k: v for k, v in wanted.items() if getattr(existing, k) != v}
    if changed:
        for key, value in changed.items():
            setattr(existing, key, value)
        existing.updated_at = now()
        session.flush()
        audit.append(
            session,
            ctx,
            "boundary.updated",
            target=f"boundary/{boundary_id}",
            boundary_id=boundary_id,
            organization_id=organization_id,
            detail={"changed": sorted(changed)},
        )
    return existing
