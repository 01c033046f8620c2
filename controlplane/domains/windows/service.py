"""Rules of maintenance windows: who may set them, override them, and what they hold back.

Called by the router, and as the run engine's gate by the worker. A window holds back the next
effect of a run, never its close, which only ends our access (ADR 0032).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, ForbiddenError, NotFoundError
from controlplane.core.ids import new_id
from controlplane.core.run_engine import wake_paused
from controlplane.core.run_engine.definition import Hold
from controlplane.domains.approvals import service as approvals
from controlplane.domains.identity.principals import PrincipalCard
from controlplane.domains.identity.repository import get_cards
from controlplane.domains.windows.calendar import standing
from controlplane.domains.windows.schemas import OverrideOut, Window, WindowsOut
from controlplane.tables.organizations import Boundary
from controlplane.tables.windows import KEPT_REQUESTS, MaintenanceWindow, WindowOverride


def gate(session: Session, boundary_id: UUID) -> Hold | None:
    """Return what holds a run of the boundary back now; the run engine's gate."""
    at = now()
    stands = standing([w.weekly() for w in _windows(session, boundary_id)], at)
    if stands.is_open or _in_force(session, boundary_id, at) is not None:
        return None
    opens = stands.until
    shown = "" if opens is None else f"; the next one opens {opens:%Y-%m-%d %H:%M} UTC"
    return Hold(f"outside the boundary's maintenance windows{shown}", opens)


def show(session: Session, boundary: Boundary) -> WindowsOut:
    """Return the windows of a boundary and how they stand."""
    at = now()
    windows = _windows(session, boundary.id)
    stands = standing([w.weekly() for w in windows], at)
    override = _in_force(session, boundary.id, at)
    requested = _requested(session, boundary.id, at)
    rows = [*requested, *([override] if override is not None else [])]
    cards = get_cards(session, [i for row in rows for i in (row.requested_by, row.approved_by)])
    until = override.ends_at if override is not None and not stands.is_open else stands.until
    return WindowsOut(
        windows=windows,
        is_open=stands.is_open or override is not None,
        until=until,
        override=None if override is None else _override(override, cards),
        requested=[_override(row, cards) for row in requested],
    )


def replace_windows(
    session: Session, ctx: OpContext, boundary: Boundary, windows: Sequence[Window]
) -> None:
    """Set all windows of a boundary; runs that wait for one look again."""
    session.execute(delete(MaintenanceWindow).where(MaintenanceWindow.boundary_id == boundary.id))
    for window in windows:
        session.add(
            MaintenanceWindow(
                organization_id=boundary.organization_id,
                boundary_id=boundary.id,
                id=new_id(),
                created_by=ctx.actor.principal_id,
                **window.model_dump(),
            )
        )
    session.flush()
    wake_paused(session, boundary.id)
    audit.append(
        session, ctx, "windows.changed", target=f"boundary/{boundary.id}", boundary_id=boundary.id,
        detail={"windows": [window.model_dump() for window in windows]},
    )  # fmt: skip


def request_override(
    session: Session, ctx: OpContext, boundary: Boundary, reason: str, minutes: int
) -> WindowOverride:
    """Ask for a time in which runs may change the boundary outside its windows."""
    if ctx.actor.principal_id is None or ctx.actor.kind != "human":
        raise ForbiddenError("only a person can ask for an override", code="person-needed")
    row = WindowOverride(
        organization_id=boundary.organization_id,
        boundary_id=boundary.id,
        id=new_id(),
        reason=reason,
        minutes=minutes,
        requested_by=ctx.actor.principal_id,
    )
    session.add(row)
    session.flush()
    _record(session, ctx, "window-override.requested", row)
    return row


def approve_override(
    session: Session, ctx: OpContext, boundary: Boundary, override_id: UUID
) -> WindowOverride:
    """Put an override in force, as a person other than who asked; runs that wait look again.

    Raises: NotFoundError; ForbiddenError (four eyes); ConflictError for one that is decided or old.
    """
    row = session.scalars(
        select(WindowOverride)
        .where(WindowOverride.boundary_id == boundary.id, WindowOverride.id == override_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no override {override_id} in this boundary")
    decider = approvals.require_second_person(session, ctx, row.requested_by)
    at = now()
    if row.approved_at is not None:
        raise ConflictError(f"override {override_id} is approved already")
    if row.requested_at < at - KEPT_REQUESTS:
        raise ConflictError(
            f"override {override_id} was asked for more than a day ago", fix="ask for a new one"
        )
    row.approved_by, row.approved_at = decider, at
    row.ends_at = at + timedelta(minutes=row.minutes)
    session.flush()
    wake_paused(session, boundary.id)
    _record(session, ctx, "window-override.approved", row)
    return row


def _windows(session: Session, boundary_id: UUID) -> list[Window]:
    rows = session.scalars(
        select(MaintenanceWindow)
        .where(MaintenanceWindow.boundary_id == boundary_id)
        .order_by(MaintenanceWindow.created_at, MaintenanceWindow.id)
    )
    return [
        Window(days=row.days, starts=row.starts, minutes=row.minutes, zone=row.zone) for row in rows
    ]


def _in_force(session: Session, boundary_id: UUID, at: datetime) -> WindowOverride | None:
    return session.scalars(
        select(WindowOverride)
        .where(WindowOverride.boundary_id == boundary_id, WindowOverride.ends_at > at)
        .order_by(WindowOverride.ends_at.desc())
        .limit(1)
    ).one_or_none()


def _requested(session: Session, boundary_id: UUID, at: datetime) -> Sequence[WindowOverride]:
    return session.scalars(
        select(WindowOverride)
        .where(
            WindowOverride.boundary_id == boundary_id,
            WindowOverride.approved_at.is_(None),
            WindowOverride.requested_at > at - KEPT_REQUESTS,
        )
        .order_by(WindowOverride.requested_at)
    ).all()


def _override(row: WindowOverride, cards: Mapping[UUID, PrincipalCard]) -> OverrideOut:
    approver = cards.get(row.approved_by) if row.approved_by else None
    return OverrideOut(
        id=row.id,
        reason=row.reason,
        minutes=row.minutes,
        requested_by=row.requested_by,
        requested_by_name=cards[row.requested_by].display,
        requested_at=row.requested_at,
        approved_by=row.approved_by,
        approved_by_name=approver.display if approver else None,
        approved_at=row.approved_at,
        ends_at=row.ends_at,
    )


def _record(session: Session, ctx: OpContext, code: str, row: WindowOverride) -> None:
    audit.append(
        session, ctx, code, target=f"window-override/{row.id}", boundary_id=row.boundary_id,
        detail={
            "reason": row.reason,
            "minutes": row.minutes,
            "ends_at": row.ends_at.isoformat() if row.ends_at else None,
        },
    )  # fmt: skip
