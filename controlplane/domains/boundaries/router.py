"""Routes on boundaries, and on a boundary's audit chain."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from controlplane.core import audit
from controlplane.core.http import LARGEST_SEQUENCE, Context, Transaction, TransactionRoute
from controlplane.domains.audit import repository as audit_repository
from controlplane.domains.audit.schemas import AuditEventOut, AuditPageOut
from controlplane.domains.boundaries import repository
from controlplane.domains.boundaries.schemas import BoundariesOut, BoundaryOut
from controlplane.tables.organizations import Boundary

router = APIRouter(prefix="/v1", tags=["boundaries"], route_class=TransactionRoute)


@router.get("/boundaries", operation_id="boundary_list")
def boundary_list(session: Transaction, ctx: Context) -> BoundariesOut:
    """List the boundaries in which the caller has a role."""
    return BoundariesOut(boundaries=[_out(b) for b in repository.list_boundaries(session)])


@router.get("/boundaries/{boundary}", operation_id="boundary_show")
def boundary_show(boundary: str, session: Transaction, ctx: Context) -> BoundaryOut:
    """Show a boundary by name or id."""
    return _out(repository.get_boundary(session, boundary))


@router.get("/boundaries/{boundary}/audit", operation_id="boundary_audit")
def boundary_audit(
    boundary: str,
    session: Transaction,
    ctx: Context,
    after: Annotated[int, Query(ge=0, le=LARGEST_SEQUENCE)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> AuditPageOut:
    """Read a boundary's audit chain; the reading itself becomes an event of it."""
    found = repository.get_boundary(session, boundary)
    events = audit_repository.list_events(session, found.id, after=after, limit=limit)
    audit.append(
        session,
        ctx,
        "audit.read",
        target=f"boundary/{found.id}",
        boundary_id=found.id,
        detail={"after": after, "events": len(events)},
    )
    return AuditPageOut(
        chain_id=str(found.id),
        events=[AuditEventOut.model_validate(e, from_attributes=True) for e in events],
        next_after=events[-1].seq if len(events) == limit else None,
    )


def _out(boundary: Boundary) -> BoundaryOut:
    return BoundaryOut.model_validate(boundary, from_attributes=True)
