"""Drift of installs: ask for a scan, keep what it found, accept it with two people.

Called by the router and by the saga's step `record`. A finding is closed by an update run that sets
it right, or accepted for a time with a reason; either way a later scan tells.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from controlplane.core import audit, run_engine
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, ForbiddenError, NotFoundError
from controlplane.core.ids import new_id
from controlplane.domains.approvals import service as approvals
from controlplane.domains.grants import service as grants
from controlplane.domains.installs import repository
from controlplane.tables.drift import DriftFinding
from controlplane.tables.installs import Install

DRIFT = "install.drift"
_STANDING = frozenset({"installed", "partial"})


def request_scan(
    session: Session, ctx: OpContext, install_id: UUID, *, grant_id: UUID, keep_open: bool
) -> tuple[Install, UUID]:
    """Write the reading run. Raises: NotFoundError; ConflictError without an active grant, or when
    nothing stands that could drift.
    """
    if ctx.actor.principal_id is None:
        raise ForbiddenError("only a person can ask for a scan")
    install = repository.get_install(session, install_id)
    if install.lifecycle not in _STANDING:
        raise ConflictError(
            f"install {install.id} is {install.lifecycle}: there is nothing to compare",
            code="not-installed",
        )
    grants.require_active(session, grant_id, install.boundary_id)
    run_id = run_engine.create_run(
        session,
        ctx,
        organization_id=install.organization_id,
        boundary_id=install.boundary_id,
        install_id=install.id,
        kind=DRIFT,
        lane="read",
        params={"keep_open": keep_open},
    )
    return install, run_id


def record(
    session: Session,
    ctx: OpContext,
    *,
    organization_id: UUID,
    boundary_id: UUID,
    install_id: UUID,
    run_id: UUID,
    found: Sequence[dict[str, Any]],
    remediates: bool = False,
) -> str:
    """Write a scan's findings and the install's axis; return the axis.

    Shapes: each of `found` has the columns of a finding. Repeating it changes nothing. With
    `remediates` what is not found any more was set right by this very run.
    """
    install = session.get(Install, (boundary_id, install_id))
    assert install is not None
    earlier = {row.digest: row for row in open_findings(session, install_id)}
    seen = {item["digest"] for item in found}
    for known, row in earlier.items():
        if known not in seen:
            row.resolved_at = now()
            row.remediated_by = run_id if remediates else None
    for item in found:
        if item["digest"] not in earlier:
            session.add(
                DriftFinding(
                    organization_id=organization_id,
                    boundary_id=boundary_id,
                    id=new_id(),
                    install_id=install_id,
                    run_id=run_id,
                    **item,
                )
            )
    session.flush()
    install.drift = "found" if unaccepted(session, install_id) else "none"
    install.drift_at = now()
    audit.append(
        session,
        ctx,
        "install.drift-scanned",
        target=f"install/{install_id}",
        boundary_id=boundary_id,
        detail={"run_id": str(run_id), "drift": install.drift, "findings": len(found)},
    )
    return install.drift


def open_findings(session: Session, install_id: UUID) -> list[DriftFinding]:
    """Return what the last scan found, in order of the resources."""
    return list(
        session.scalars(
            select(DriftFinding)
            .where(DriftFinding.install_id == install_id, DriftFinding.resolved_at.is_(None))
            .order_by(DriftFinding.stack, DriftFinding.urn)
        )
    )


def ended_findings(session: Session, install_id: UUID, limit: int = 20) -> list[DriftFinding]:
    """Return what was set right, by a run or outside of our runs, latest first."""
    return list(
        session.scalars(
            select(DriftFinding)
            .where(DriftFinding.install_id == install_id, DriftFinding.resolved_at.is_not(None))
            .order_by(DriftFinding.resolved_at.desc(), DriftFinding.urn)
            .limit(limit)
        )
    )


def remediated(session: Session, run_id: UUID) -> int:
    """Return how many findings a run has set right."""
    return session.scalar(select(func.count()).where(DriftFinding.remediated_by == run_id)) or 0


def unaccepted(session: Session, install_id: UUID) -> list[DriftFinding]:
    """Return the open findings that nobody has accepted, or not for this moment."""
    return [row for row in open_findings(session, install_id) if not is_accepted(row)]


def is_accepted(row: DriftFinding, at: datetime | None = None) -> bool:
    """Say whether a finding is accepted now; an acceptance ends by itself."""
    return row.accepted_until is not None and row.accepted_until > (at or now())


def outcome(row: DriftFinding) -> Literal["open", "accepted", "remediated", "seen-right"]:
    """Say what has become of a finding."""
    if row.resolved_at is not None:
        return "remediated" if row.remediated_by is not None else "seen-right"
    return "accepted" if is_accepted(row) else "open"


def drifting(session: Session, install_ids: Collection[UUID]) -> set[UUID]:
    """Return which of many installs have a finding that nobody has accepted for this moment."""
    return set(
        session.scalars(
            select(DriftFinding.install_id).where(
                DriftFinding.install_id.in_(install_ids),
                DriftFinding.resolved_at.is_(None),
                func.coalesce(DriftFinding.accepted_until <= func.now(), True),
            )
        )
    )


def axis(install: Install, *, is_drifting: bool) -> str:
    """Return the drift as it stands now: an acceptance may have ended, a clean scan grown old."""
    if install.drift_at is None or install.lifecycle not in _STANDING:
        return "unknown"
    if is_drifting:
        return "found"
    # A finding stays known; that nothing has changed is known only while somebody may look.
    return "none" if install.access == "open" else "unknown"


def propose(
    session: Session, ctx: OpContext, install_id: UUID, finding_id: UUID, *, reason: str, days: int
) -> DriftFinding:
    """Propose that a finding may stay for some days; a second person accepts it."""
    row = _finding(session, install_id, finding_id)
    row.proposed_by = approvals.require_person(ctx)
    row.proposed_at, row.reason, row.days = now(), reason, days
    row.accepted_by = row.accepted_until = None
    session.flush()
    _audit(session, ctx, "drift.acceptance-proposed", row)
    return row


def accept(session: Session, ctx: OpContext, install_id: UUID, finding_id: UUID) -> DriftFinding:
    """Accept what somebody else proposed. Raises: ConflictError, ForbiddenError (four eyes)."""
    row = _finding(session, install_id, finding_id)
    if row.proposed_by is None or row.days is None:
        raise ConflictError(
            "nobody has proposed to accept this finding",
            code="not-proposed",
            fix="let one person propose it with a reason, and another accept it",
        )
    row.accepted_by = approvals.require_second_person(session, ctx, row.proposed_by)
    row.accepted_until = now() + timedelta(days=row.days)
    session.flush()
    _audit(session, ctx, "drift.accepted", row)
    return row


def _finding(session: Session, install_id: UUID, finding_id: UUID) -> DriftFinding:
    row = session.scalars(
        select(DriftFinding)
        .where(DriftFinding.install_id == install_id, DriftFinding.id == finding_id)
        .with_for_update()
    ).one_or_none()
    if row is None:
        raise NotFoundError(f"there is no finding {finding_id} of this install")
    if row.resolved_at is not None:
        raise ConflictError("a later scan has seen it set right", code="resolved")
    return row


def _audit(session: Session, ctx: OpContext, code: str, row: DriftFinding) -> None:
    audit.append(
        session,
        ctx,
        code,
        target=f"install/{row.install_id}",
        boundary_id=row.boundary_id,
        detail={
            "finding": str(row.id),
            "resource": row.urn,
            "change": row.change,
            "reason": row.reason,
            "until": row.accepted_until.isoformat() if row.accepted_until else None,
        },
    )
