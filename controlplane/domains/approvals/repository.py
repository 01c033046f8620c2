"""Queries on what waits for a decision; the transaction's scope decides which are seen."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from controlplane.core.clock import now
from controlplane.core.run_engine.tables import Run
from controlplane.tables.access import AccessGrant, GrantState
from controlplane.tables.installs import Install
from controlplane.tables.organizations import Boundary
from controlplane.tables.waivers import Waiver, WaiverState
from controlplane.tables.windows import KEPT_REQUESTS, WindowOverride


def list_requested_grants(session: Session) -> list[tuple[AccessGrant, Boundary]]:
    """Return the grants that nobody decided on yet, with their boundaries."""
    rows = session.execute(
        select(AccessGrant, Boundary)
        .join(Boundary, Boundary.id == AccessGrant.boundary_id)
        .where(AccessGrant.state == GrantState.REQUESTED)
    )
    return [(grant, boundary) for grant, boundary in rows]


def list_waiting_plans(session: Session) -> list[tuple[Run, Boundary, str | None]]:
    """Return the runs whose plan waits, with their boundaries and the names of their installs."""
    rows = session.execute(
        select(Run, Boundary, Install.name)
        .join(Boundary, Boundary.id == Run.boundary_id)
        .outerjoin(Install, Install.id == Run.install_id)
        .where(Run.state == "awaiting-approval")
    )
    return [(run, boundary, name) for run, boundary, name in rows]


def list_waiting_waivers(session: Session) -> list[tuple[Waiver, Boundary | None]]:
    """Return the waivers that two people have not approved yet and whose end has not passed."""
    rows = session.execute(
        select(Waiver, Boundary)
        .outerjoin(Boundary, Boundary.id == Waiver.boundary_id)
        .where(Waiver.state == WaiverState.REQUESTED, Waiver.ends_at > now())
    )
    return [(waiver, boundary) for waiver, boundary in rows]


def list_waiting_overrides(session: Session) -> list[tuple[WindowOverride, Boundary]]:
    """Return the wishes to change a boundary outside its windows that can still be approved."""
    rows = session.execute(
        select(WindowOverride, Boundary)
        .join(Boundary, Boundary.id == WindowOverride.boundary_id)
        .where(
            WindowOverride.approved_at.is_(None),
            WindowOverride.requested_at > now() - KEPT_REQUESTS,
        )
    )
    return [(override, boundary) for override, boundary in rows]


def open_grants(
    session: Session, boundary_ids: Collection[UUID]
) -> dict[UUID, tuple[UUID, datetime]]:
    """Return the open grant of each of these boundaries, and when it ends."""
    rows = session.execute(
        select(AccessGrant.boundary_id, AccessGrant.id, AccessGrant.grant_until).where(
            AccessGrant.boundary_id.in_(boundary_ids),
            AccessGrant.state == GrantState.ACTIVE,
            AccessGrant.grant_until.is_not(None),
        )
    )
    return {row.boundary_id: (row.id, row.grant_until) for row in rows}
