"""Ask for reports, hand out their files and rows, keep extracts of the customer's trail.

Called by the router. Making a report is the worker's (`tasks.py`): it signs, and it reads for long.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core import audit, outbox
from controlplane.core.actor import OpContext
from controlplane.core.clock import now
from controlplane.core.errors import ConflictError, ForbiddenError, InvalidRequestError
from controlplane.core.ids import new_id
from controlplane.domains.boundaries.repository import get_boundary
from controlplane.domains.identity import service as identity
from controlplane.domains.reports import repository
from controlplane.domains.reports.schemas import ReportIn
from controlplane.tables.identity import RoleName
from controlplane.tables.reports import Report, ReportFile, ReportState

GENERATE = "report.generate"
LONGEST_SPAN = timedelta(days=400)
"""Longest span of an R3: a year, and the weeks around it."""
_WHOLE = frozenset({RoleName.AUDITOR.value, RoleName.PLATFORM_ADMIN.value})


def request_report(session: Session, ctx: OpContext, wanted: ReportIn) -> Report:
    """Write what is asked for, and ask the worker for it. Raises: InvalidRequestError."""
    if ctx.actor.principal_id is None or ctx.scope.organization_id is None:
        raise ForbiddenError("only a known identity can ask for a report")
    parameters = _parameters(wanted)
    boundary = get_boundary(session, wanted.boundary) if wanted.boundary is not None else None
    if boundary is None and not may_see_whole(session, ctx):
        raise ForbiddenError(
            "a report on the whole organization needs the role auditor or platform-admin in the "
            "organization itself",
            field="boundary",
            fix="name one of your boundaries",
        )
    row = Report(
        organization_id=ctx.scope.organization_id,
        id=new_id(),
        boundary_id=boundary.id if boundary else None,
        covers=[boundary.id] if boundary else sorted(ctx.scope.boundary_ids or ()),
        kind=wanted.kind,
        parameters=parameters,
        state=ReportState.QUEUED,
        requested_by=ctx.actor.principal_id,
        requested_at=now(),
    )
    session.add(row)
    session.flush()
    _record(session, ctx, "report.requested", row, kind=row.kind, **parameters)
    outbox.enqueue(session, GENERATE, report_id=row.id)
    return row


def may_see_whole(session: Session, ctx: OpContext) -> bool:
    """Say whether the caller may see what covers the whole organization."""
    return any(
        role.organization_id == ctx.scope.organization_id
        and role.boundary_id is None
        and role.role in _WHOLE
        and not role.is_pending_guest
        for role in identity.held_roles(session, ctx.actor)
    )


def _parameters(wanted: ReportIn) -> dict[str, str]:
    """Return the moments in full. Raises: InvalidRequestError naming the field."""
    moment = now()
    if wanted.kind == "R1":
        _refuse(wanted.start is not None, "from", "R1 is about one moment", "send `at`")
        _refuse(wanted.end is not None, "to", "R1 is about one moment", "send `at`")
        at, known_at = wanted.at or moment, wanted.known_at or moment
        for field, value in (("at", at), ("known_at", known_at)):
            _refuse(value > moment, field, "the moment is in the future", "leave it out for now")
        return {"at": at.isoformat(), "known_at": known_at.isoformat()}
    _refuse(wanted.at is not None, "at", "R3 is about a span", "send `from` and `to`")
    _refuse(wanted.known_at is not None, "known_at", "R3 has no such moment", "leave it out")
    _refuse(wanted.start is None, "from", "R3 needs the first moment", "send `from`")
    assert wanted.start is not None
    end = wanted.end or moment
    _refuse(end > moment, "to", "the moment is in the future", "leave it out for now")
    _refuse(wanted.start >= end, "from", "the span is empty", "let it begin before its end")
    _refuse(
        end - wanted.start > LONGEST_SPAN,
        "from",
        f"the span is longer than {LONGEST_SPAN.days} days",
        "ask for several reports",
    )
    return {"from": wanted.start.isoformat(), "to": end.isoformat()}


def _refuse(condition: bool, field: str, message: str, fix: str) -> None:
    if condition:
        raise InvalidRequestError(message, field=field, fix=fix)


def visible_report(session: Session, ctx: OpContext, report_id: UUID) -> Report:
    """Return a report that the caller may see. Raises: NotFoundError, ForbiddenError."""
    row = repository.get_report(session, report_id)
    if row.boundary_id is None and not may_see_whole(session, ctx):
        raise ForbiddenError(
            "this report covers the whole organization",
            fix="ask for one on a boundary of yours",
        )
    return row


def open_file(
    session: Session, ctx: OpContext, report_id: UUID, file_format: str
) -> tuple[Report, ReportFile]:
    """Return a file that may be handed out, with the audit event of its being so."""
    row = _ready(visible_report(session, ctx, report_id))
    found = repository.get_file(session, report_id, file_format)
    _record(session, ctx, "report.downloaded", row, format=file_format, digest=found.digest)
    return row, found


def read_rows(
    session: Session, ctx: OpContext, report_id: UUID, *, after: int, limit: int
) -> tuple[list[dict[str, str]], int | None]:
    """Return up to `limit` rows after number `after`, and from where to go on."""
    row = _ready(visible_report(session, ctx, report_id))
    if after == 0:
        _record(session, ctx, "report.downloaded", row, format="rows")
    rows: list[dict[str, str]] = []
    count = row.row_count or 0
    while len(rows) < limit and after + len(rows) < count:
        wanted = after + len(rows) + 1
        piece = repository.find_rows_from(session, report_id, wanted)
        assert piece is not None
        held: list[Any] = json.loads(b"[" + piece[1].lstrip(b",") + b"]")
        rows += held[wanted - piece[0] :][: limit - len(rows)]
    last = after + len(rows)
    return rows, last if last < count else None


def _ready(row: Report) -> Report:
    if row.state == ReportState.READY:
        return row
    if row.state == ReportState.FAILED:
        raise ConflictError(
            f"this report could not be made: {row.error}",
            code="report-failed",
            fix="correct what it says and ask for a new one",
        )
    raise ConflictError(
        "this report is not finished", code="report-not-ready", fix="ask again in a moment"
    )


def _record(session: Session, ctx: OpContext, code: str, row: Report, **detail: str) -> None:
    audit.append(
        session,
        ctx,
        code,
        target=f"report/{row.id}",
        boundary_id=row.boundary_id,
        organization_id=row.organization_id,
        detail=dict(detail),
    )


def moment(text: str) -> datetime:
    """Return a moment of a report's parameters."""
    return datetime.fromisoformat(text)
