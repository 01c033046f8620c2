"""Routes on boundaries, and on a boundary's audit chain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Query
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.http import LARGEST_SEQUENCE, Context, Transaction, TransactionRoute
from controlplane.core.run_engine.tables import Run
from controlplane.domains.audit import repository as audit_repository
from controlplane.domains.audit.schemas import AuditEventOut, AuditPageOut
from controlplane.domains.boundaries import repository
from controlplane.domains.boundaries.schemas import (
    BoundariesOut,
    BoundaryOut,
    InstallStandingOut,
    LiveGrantOut,
    RunSummaryOut,
    StandingOut,
)
from controlplane.domains.boundaries.standing import Standing, standings
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.reach import reach_of
from controlplane.domains.identity.schemas import person_out
from controlplane.tables.access import AccessGrant
from controlplane.tables.installs import Install
from controlplane.tables.organizations import Boundary

router = APIRouter(prefix="/v1", tags=["boundaries"], route_class=TransactionRoute)


@router.get("/boundaries", operation_id="boundary_list")
def boundary_list(session: Transaction, ctx: Context) -> BoundariesOut:
    """List the boundaries in which the caller has a role."""
    return BoundariesOut(boundaries=_shown(session, ctx, repository.list_boundaries(session)))


@router.get("/boundaries/{boundary}", operation_id="boundary_show")
def boundary_show(boundary: str, session: Transaction, ctx: Context) -> BoundaryOut:
    """Show a boundary by name or id."""
    (shown,) = _shown(session, ctx, [repository.get_boundary(session, boundary)])
    return shown


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


def _shown(session: Session, ctx: OpContext, found: Sequence[Boundary]) -> list[BoundaryOut]:
    """Return boundaries as the caller may see them; engineers see no standing."""
    reach = reach_of(session, ctx)
    seen = [b.id for b in found if reach.may("GET", "/v1/installs", b.id)]
    known = standings(session, seen)
    return [
        BoundaryOut(
            **{name: getattr(b, name) for name in _COLUMNS},
            standing=_standing(known[b.id]) if b.id in known else None,
            roles=sorted({r.role for r in reach.roles if r.boundary_id in (None, b.id)}),
        )
        for b in found
    ]


_COLUMNS = tuple(n for n in BoundaryOut.model_fields if n not in ("standing", "roles"))


def _standing(known: Standing) -> StandingOut:
    return StandingOut(
        installs=[_install(i, known.runs.get(i.id)) for i in known.installs],
        live_grant=_grant(known.grant, known.requester),
        connection_state=known.connection_state,
        agent_seen_at=known.agent_seen_at,
    )


def _install(install: Install, run: Run | None) -> InstallStandingOut:
    newest = RunSummaryOut.model_validate(run, from_attributes=True) if run else None
    axes = {
        name: getattr(install, name)
        for name in InstallStandingOut.model_fields
        if name != "newest_run"
    }
    return InstallStandingOut(**axes, newest_run=newest)


def _grant(grant: AccessGrant | None, requester: PrincipalCard | None) -> LiveGrantOut | None:
    if grant is None or requester is None:
        return None
    return LiveGrantOut(
        id=grant.id,
        number=grant.number,
        state=grant.state,
        purpose=grant.purpose,
        requested_by=person_out(requester),
        requested_at=grant.requested_at,
        duration_seconds=grant.duration_seconds,
        grant_until=grant.grant_until,
    )
