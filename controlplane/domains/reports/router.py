"""Routes on reports; files are streamed piece by piece from the database."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Body, Depends, Query
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from controlplane.core.db import Database, Scope
from controlplane.core.http import (
    Context,
    CurrentDatabase,
    StreamRoute,
    Transaction,
    TransactionRoute,
    organization_query,
)
from controlplane.domains.boundaries.repository import get_boundary, list_boundaries
from controlplane.domains.identity import repository as identity
from controlplane.domains.identity.schemas import person_out
from controlplane.domains.reports import repository, service, trail
from controlplane.domains.reports.schemas import (
    ReportFileOut,
    ReportIn,
    ReportOut,
    ReportRowsOut,
    ReportsOut,
    TrailFileOut,
    TrailFilesOut,
)
from controlplane.tables.reports import Report
from wire.report import FileFormat

router = APIRouter(prefix="/v1", tags=["reports"], route_class=TransactionRoute)
file_router = APIRouter(prefix="/v1", tags=["reports"], route_class=StreamRoute)
LISTED = 200
MEDIA = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "pdf": "application/pdf",
    "manifest": "application/json",
}


@router.post("/reports", operation_id="report_create", status_code=202)
def report_create(body: ReportIn, session: Transaction, ctx: Context) -> ReportOut:
    """Ask for a report; it is made by the worker."""
    return _shown(session, [service.request_report(session, ctx, body)])[0]


@router.get("/reports", operation_id="report_list")
def report_list(session: Transaction, ctx: Context) -> ReportsOut:
    """List the newest reports that the caller may see."""
    whole = service.may_see_whole(session, ctx)
    rows = repository.list_reports(session, whole=whole, limit=LISTED)
    return ReportsOut(reports=_shown(session, rows))


@router.get("/reports/{report_id}", operation_id="report_show")
def report_show(report_id: UUID, session: Transaction, ctx: Context) -> ReportOut:
    """Show a report."""
    return _shown(session, [service.visible_report(session, ctx, report_id)])[0]


@router.get("/reports/{report_id}/rows", operation_id="report_rows")
def report_rows(
    report_id: UUID,
    session: Transaction,
    ctx: Context,
    after: Annotated[int, Query(ge=0, le=2**53)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
) -> ReportRowsOut:
    """Read rows of a finished report, after row number `after`."""
    rows, following = service.read_rows(session, ctx, report_id, after=after, limit=limit)
    return ReportRowsOut(rows=rows, next_after=following)


@router.post("/boundaries/{boundary}/trail-extracts", operation_id="trail_upload", status_code=201)
def trail_upload(
    boundary: str,
    name: Annotated[str, Query(max_length=200)],
    data: Annotated[bytes, Body(media_type="application/gzip")],
    session: Transaction,
    ctx: Context,
) -> TrailFileOut:
    """Hand over one file of the customer's CloudTrail, unchanged and under its own name."""
    found = get_boundary(session, boundary)
    row = trail.keep_file(session, ctx, found, name=name, data=data)
    return TrailFileOut.model_validate(row, from_attributes=True)


@router.get("/boundaries/{boundary}/trail-extracts", operation_id="trail_list")
def trail_list(boundary: str, session: Transaction, ctx: Context) -> TrailFilesOut:
    """List the trail files that were handed over for a boundary."""
    found = get_boundary(session, boundary)
    rows = repository.list_trail_files(session, found.id)
    return TrailFilesOut(
        files=[TrailFileOut.model_validate(row, from_attributes=True) for row in rows]
    )


@file_router.get(
    "/reports/{report_id}/files/{format}",
    operation_id="report_file",
    dependencies=[Depends(organization_query)],
    response_class=StreamingResponse,
)
def report_file(
    report_id: UUID, format: FileFormat, database: CurrentDatabase, ctx: Context
) -> StreamingResponse:
    """Hand out a file of a finished report."""
    # The event is committed before the first byte leaves: no download without its record.
    with database.transaction(ctx.scope) as session:
        row, found = service.open_file(session, ctx, report_id, format)
    name = f"ringfence-{row.kind}-{row.id}" + (
        ".manifest.json" if format == "manifest" else f".{format}"
    )
    return StreamingResponse(
        _pieces(database, ctx.scope, report_id, format),
        media_type=MEDIA[format],
        headers={
            "Content-Length": str(found.size_bytes),
            "Content-Disposition": f'attachment; filename="{name}"',
            "Cache-Control": "no-store",
            "Ringfence-Digest": found.digest,
        },
    )


def _pieces(database: Database, scope: Scope, report_id: UUID, format: str) -> Iterator[bytes]:
    position = 0
    while True:
        with database.transaction(scope) as session:
            data = repository.find_piece(session, report_id, format, position)
        if data is None:
            return
        yield data
        position += 1


def _shown(session: Session, rows: list[Report]) -> list[ReportOut]:
    cards = identity.get_cards(session, [row.requested_by for row in rows])
    boundaries = {b.id: b.name for b in list_boundaries(session)}
    files = repository.list_files(session, [row.id for row in rows])
    return [
        ReportOut(
            id=row.id,
            kind=row.kind,
            boundary=boundaries[row.boundary_id] if row.boundary_id else None,
            parameters=row.parameters,
            state=row.state,
            requested_by=person_out(cards[row.requested_by]),
            requested_at=row.requested_at,
            finished_at=row.finished_at,
            row_count=row.row_count,
            findings=row.findings,
            root=row.root,
            error=row.error,
            files=[
                ReportFileOut(format=f.format, digest=f.digest, size_bytes=f.size_bytes)
                for f in files.get(row.id, [])
            ],
        )
        for row in rows
    ]
