"""Queries on reports, their files and trail extracts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session, defer

from controlplane.core.errors import NotFoundError
from controlplane.domains.reports.writer import Piece
from controlplane.tables.reports import Report, ReportFile, ReportPiece, TrailFile


def get_report(session: Session, report_id: UUID, *, lock: bool = False) -> Report:
    """Return a report in scope. Raises: NotFoundError."""
    statement = select(Report).where(Report.id == report_id)
    if lock:
        statement = statement.with_for_update()
    found = session.scalars(statement).one_or_none()
    if found is None:
        raise NotFoundError(
            f"there is no report {report_id} that you may see", fix="list them: GET /v1/reports"
        )
    return found


def list_reports(session: Session, *, whole: bool, limit: int) -> list[Report]:
    """Return the reports in scope, newest first; `whole` adds those of the whole organization."""
    statement = select(Report).order_by(Report.requested_at.desc(), Report.id).limit(limit)
    if not whole:
        statement = statement.where(Report.boundary_id.is_not(None))
    return list(session.scalars(statement))


def list_files(session: Session, report_ids: Iterable[UUID]) -> dict[UUID, list[ReportFile]]:
    """Return the finished files by report."""
    found: dict[UUID, list[ReportFile]] = {}
    statement = select(ReportFile).where(ReportFile.report_id.in_(list(report_ids)))
    for row in session.scalars(statement.order_by(ReportFile.format)):
        found.setdefault(row.report_id, []).append(row)
    return found


def get_file(session: Session, report_id: UUID, file_format: str) -> ReportFile:
    """Return one finished file. Raises: NotFoundError."""
    found = session.scalars(
        select(ReportFile).where(
            ReportFile.report_id == report_id, ReportFile.format == file_format
        )
    ).one_or_none()
    if found is None:
        raise NotFoundError(f"report {report_id} has no file {file_format}")
    return found


def find_piece(session: Session, report_id: UUID, file_format: str, position: int) -> bytes | None:
    """Return one piece of a file, or None after the last."""
    return session.scalars(
        select(ReportPiece.data).where(
            ReportPiece.report_id == report_id,
            ReportPiece.format == file_format,
            ReportPiece.position == position,
        )
    ).one_or_none()


def find_rows_from(session: Session, report_id: UUID, number: int) -> tuple[int, bytes] | None:
    """Return (number of its first row, data) of the piece that holds row `number`, or None."""
    row = session.execute(
        select(ReportPiece.first_row, ReportPiece.data)
        .where(
            ReportPiece.report_id == report_id,
            ReportPiece.format == "json",
            ReportPiece.first_row <= number,
        )
        .order_by(ReportPiece.first_row.desc())
        .limit(1)
    ).one_or_none()
    return None if row is None or row[0] is None else (row[0], row[1])


def store_file(
    session: Session,
    report: Report,
    file_format: str,
    pieces: Iterable[Piece],
    *,
    digest: str,
    size_bytes: int,
) -> None:
    """Keep a finished file, piece by piece."""
    keys = {
        "organization_id": report.organization_id,
        "report_id": report.id,
        "format": file_format,
        "covers": report.covers,
    }
    session.execute(insert(ReportFile).values(**keys, digest=digest, size_bytes=size_bytes))
    for position, piece in enumerate(pieces):
        session.execute(
            insert(ReportPiece).values(
                **keys, position=position, first_row=piece.first_row, data=piece.data
            )
        )


def find_scope(session: Session, report_id: UUID) -> tuple[UUID, frozenset[UUID]] | None:
    """Return a report's organization and the boundaries it covers, before there is a scope."""
    row = session.execute(
        text("SELECT * FROM scope_of_report(:id)"), {"id": report_id}
    ).one_or_none()
    return None if row is None else (row.organization_id, frozenset(row.covers))


def find_trail_file(session: Session, boundary_id: UUID, digest: str) -> TrailFile | None:
    """Return the trail file with these bytes, or None."""
    return session.scalars(
        select(TrailFile).where(TrailFile.boundary_id == boundary_id, TrailFile.digest == digest)
    ).one_or_none()


def list_trail_files(
    session: Session, boundary_id: UUID, start: datetime | None = None, end: datetime | None = None
) -> list[TrailFile]:
    """Return a boundary's trail files by delivery, without their bytes."""
    statement = select(TrailFile).where(TrailFile.boundary_id == boundary_id)
    if start is not None:
        statement = statement.where(func.coalesce(TrailFile.last_event_at, start) >= start)
    if end is not None:
        statement = statement.where(func.coalesce(TrailFile.first_event_at, end) <= end)
    statement = statement.options(defer(TrailFile.data, raiseload=True))
    return list(session.scalars(statement.order_by(TrailFile.delivered_at, TrailFile.name)))


def trail_bytes(session: Session, file: TrailFile) -> bytes:
    """Return the bytes of a trail file."""
    return session.scalars(
        select(TrailFile.data).where(
            TrailFile.boundary_id == file.boundary_id, TrailFile.id == file.id
        )
    ).one()
