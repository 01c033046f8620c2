"""`report.generate`: read one snapshot, write the files, sign them, keep them.

Called by the worker with an id. Reading happens under the auditor's role, which cannot write, in a
transaction that sees one moment; keeping happens in a second one under the worker's own role, which
ends the report, so running it twice keeps one result.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Protocol
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from controlplane.core import audit
from controlplane.core.actor import OpContext, system_actor
from controlplane.core.audit import AuditChain
from controlplane.core.clock import now
from controlplane.core.db import Database, Scope
from controlplane.core.errors import RingfenceError
from controlplane.core.jobs import AwaitedJob
from controlplane.domains.audit.repository import find_newest_checkpoint
from controlplane.domains.identity import repository as identity
from controlplane.domains.reports import entitlements, repository, vendor_sessions
from controlplane.domains.reports.definition import Definition, Moments, Subject
from controlplane.domains.reports.service import moment
from controlplane.domains.reports.writer import (
    Piece,
    Written,
    file_digest,
    file_pieces,
    json_pieces,
    write_rows,
)
from controlplane.tables.organizations import Boundary, Organization
from controlplane.tables.reports import Report, ReportState
from proof.canonical import bytes_digest, canonical_bytes, digest
from wire.envelope import Envelope
from wire.report import (
    ChainRange,
    Completeness,
    FileEntry,
    ManifestFile,
    PrintedPage,
    Query,
    ReportManifest,
    ReportStatement,
    System,
)

STATEMENT_SECONDS = 300
"""Longest single query of a report."""
_UNFORESEEN = (
    "the report could not be made, for a reason that is not yours; who runs the control plane "
    "finds it in the worker's log under report.generate. Ask anew once it is mended"
)
_DEFINE = {"R1": entitlements.define, "R3": vendor_sessions.define}


class Signer(Protocol):
    """Signs with the control-plane key (`adapters.signing.control_plane_key`)."""

    @property
    def public(self) -> str: ...

    @property
    def fingerprint(self) -> str: ...

    def sign(self, message: ReportStatement | ReportManifest) -> Envelope: ...


class Typesetter(Protocol):
    """Makes the printed form (`adapters.typesetting.report`)."""

    def typeset(
        self, statement: ReportStatement, folder: Path, *, signed_by: str
    ) -> tuple[Path, tuple[PrintedPage, ...]]:
        """Return the PDF made from the files in the folder, and its pages."""


@dataclass(frozen=True)
class Maker:
    """What makes reports."""

    signer: Signer
    typesetter: Typesetter
    work_dir: Path
    vendor_principal: str
    image_digest: str | None = None


def report_job(db: Database, reading: Database, maker: Maker) -> AwaitedJob:
    """Return the job `report.generate` on these databases."""
    return AwaitedJob(
        lambda report_id: generate_report(db, reading, maker, report_id=report_id),
        lambda report_id: give_up_report(db, report_id=report_id),
    )


def generate_report(db: Database, reading: Database, maker: Maker, *, report_id: str) -> None:
    """Make one report that was asked for; a finished one is left as it is.

    `reading` is the same database as the auditor's role sees it.
    """
    identifier = UUID(report_id)
    context = _context(db, identifier)
    if context is None:
        return
    scope = context.scope
    with tempfile.TemporaryDirectory(prefix="report-", dir=maker.work_dir) as name:
        folder = Path(name)
        try:
            statement = _read(reading, maker, scope, identifier, folder)
            if statement is not None:
                _keep(db, maker, context, statement, folder)
        except RingfenceError as error:
            if error.retryable:
                raise
            _fail(db, context, identifier, error.public_message)


def give_up_report(db: Database, *, report_id: str) -> None:
    """End a report that failed for a reason nobody foresaw; a finished one is left as it is."""
    identifier = UUID(report_id)
    context = _context(db, identifier)
    if context is not None:
        _fail(db, context, identifier, _UNFORESEEN)


def _context(db: Database, report_id: UUID) -> OpContext | None:
    with db.transaction(Scope(None)) as session:
        found = repository.find_scope(session, report_id)
    if found is None:
        return None
    return OpContext(system_actor("worker"), f"report/{report_id}", Scope(*found))


def _read(
    reading: Database, maker: Maker, scope: Scope, report_id: UUID, folder: Path
) -> ReportStatement | None:
    """Write the rows and return the statement over them; None when there is nothing to do."""
    started = now()
    with reading.snapshot(scope, statement_seconds=STATEMENT_SECONDS) as session:
        report = repository.get_report(session, report_id)
        if report.state != ReportState.QUEUED:
            return None
        subject = _subject(session, report, maker.vendor_principal)
        definition = _DEFINE[report.kind](session, subject, _moments(report))
        written = write_rows(definition, folder)
        return _statement(session, report, subject, definition, written, maker, started)


def _subject(session: Session, report: Report, vendor_principal: str) -> Subject:
    organization = session.scalars(
        select(Organization.name).where(Organization.id == report.organization_id)
    ).one()
    names = {
        row.id: row.name
        for row in session.execute(
            select(Boundary.id, Boundary.name).where(Boundary.id.in_(report.covers))
        )
    }
    return Subject(
        organization_id=report.organization_id,
        organization=organization,
        boundary_id=report.boundary_id,
        boundary=names[report.boundary_id] if report.boundary_id else None,
        boundaries=names,
        vendor_principal=vendor_principal,
    )


def _moments(report: Report) -> Moments:
    values = {key: moment(value) for key, value in report.parameters.items()}
    end = values.get("to", report.requested_at)
    return Moments(
        at=values.get("at", end),
        known_at=values.get("known_at", report.requested_at),
        start=values.get("from", end),
        end=end,
    )


def _statement(
    session: Session,
    report: Report,
    subject: Subject,
    definition: Definition,
    written: Written,
    maker: Maker,
    started: datetime,
) -> ReportStatement:
    requester = identity.get_cards(session, [report.requested_by])[report.requested_by]
    return ReportStatement(
        id=report.id,
        kind=definition.kind,
        title=definition.title,
        question=definition.question,
        organization=subject.organization,
        boundary=subject.boundary,
        parameters=definition.parameters,
        requested_by=f"{requester.subject} ({requester.issuer})",
        requested_at=report.requested_at,
        started_at=started,
        finished_at=now(),
        system=System(
            name="Ringfence control plane",
            version=version("ringfence"),
            image_digest=maker.image_digest,
            template=definition.template,
        ),
        method=definition.method,
        query=Query(text=definition.query, digest=bytes_digest(definition.query.encode())),
        columns=definition.columns,
        cells=definition.cells,
        legend=definition.legend,
        findings=definition.findings.listed(),
        completeness=_completeness(session, subject, definition, written),
        rows=written.tree,
        csv_digest=written.csv_digest,
    )


def _completeness(
    session: Session, subject: Subject, definition: Definition, written: Written
) -> Completeness:
    return Completeness(
        row_count=written.row_count,
        distinct_principals=written.distinct_principals,
        independent_count=definition.independent_count,
        independent_method=definition.independent_method,
        control_totals=written.control_totals,
        population=definition.population,
        exclusions=definition.exclusions,
        known_gaps=definition.known_gaps,
        freshness=definition.freshness,
        chains=_chains(session, subject),
        coverage=definition.coverage,
    )


def _chains(session: Session, subject: Subject) -> tuple[ChainRange, ...]:
    """Return the heads of the chains in this snapshot, with their newest checkpoints."""
    names = subject.chains()
    heads = session.execute(
        select(AuditChain.chain_id, AuditChain.head_seq, AuditChain.head_hash).where(
            AuditChain.chain_id.in_(list(names))
        )
    ).all()
    found = []
    for head in sorted(heads, key=lambda head: names[head.chain_id]):
        checkpoint = find_newest_checkpoint(session, head.chain_id)
        found.append(
            ChainRange(
                chain=names[head.chain_id],
                head_sequence=head.head_seq,
                head_hash=head.head_hash,
                checkpoint_root=checkpoint.root if checkpoint else None,
                checkpoint_sequence=checkpoint.size if checkpoint else None,
            )
        )
    return tuple(found)


def _keep(
    db: Database,
    maker: Maker,
    context: OpContext,
    statement: ReportStatement,
    folder: Path,
) -> None:
    """Finish the files, then store them and end the report in one transaction."""
    envelope = maker.signer.sign(statement)
    keys = {maker.signer.fingerprint: maker.signer.public}
    json_file = folder / "report.json"
    with json_file.open("wb") as file:
        for piece in json_pieces(folder / "rows.jsonl", statement, envelope, keys):
            file.write(piece.data)
    pdf_file, pages = maker.typesetter.typeset(
        statement, folder, signed_by=maker.signer.fingerprint
    )
    files = {"json": json_file, "csv": folder / "report.csv", "pdf": pdf_file}
    entries = {
        name: FileEntry(digest=file_digest(path), size_bytes=path.stat().st_size)
        for name, path in files.items()
    }
    manifest = ReportManifest(
        report_id=statement.id,
        statement_digest=digest(statement.to_wire()),
        files=entries,
        pages=pages,
    )
    manifest_file = folder / "manifest.json"
    document = ManifestFile(statement=envelope, manifest=maker.signer.sign(manifest), keys=keys)
    manifest_file.write_bytes(canonical_bytes(document.to_wire()) + b"\n")
    entries["manifest"] = FileEntry(
        digest=file_digest(manifest_file), size_bytes=manifest_file.stat().st_size
    )
    sources = {
        "json": json_pieces(folder / "rows.jsonl", statement, envelope, keys),
        "csv": file_pieces(files["csv"]),
        "pdf": file_pieces(pdf_file),
        "manifest": file_pieces(manifest_file),
    }
    _store(db, context, statement, entries, sources)


def _store(
    db: Database,
    context: OpContext,
    statement: ReportStatement,
    entries: dict[str, FileEntry],
    sources: dict[str, Iterator[Piece]],
) -> None:
    with db.transaction(context.scope) as session:
        session.execute(text(f"SET LOCAL statement_timeout = {STATEMENT_SECONDS * 1000:d}"))
        report = repository.get_report(session, statement.id, lock=True)
        if report.state != ReportState.QUEUED:
            return
        for name, pieces in sources.items():
            entry = entries[name]
            repository.store_file(
                session, report, name, pieces, digest=entry.digest, size_bytes=entry.size_bytes
            )
        report.state = ReportState.READY
        report.finished_at = statement.finished_at
        report.row_count = statement.completeness.row_count
        report.findings = sum(f.severity == "finding" for f in statement.findings)
        report.root = statement.rows.root
        session.flush()
        _record(session, context, report, "report.generated", _generated(statement, entries))


def _generated(statement: ReportStatement, entries: dict[str, FileEntry]) -> dict[str, object]:
    return {
        "root": statement.rows.root,
        "row_count": statement.completeness.row_count,
        "files": {name: entry.digest for name, entry in entries.items()},
    }


def _fail(db: Database, context: OpContext, report_id: UUID, message: str) -> None:
    with db.transaction(context.scope) as session:
        report = repository.get_report(session, report_id, lock=True)
        if report.state != ReportState.QUEUED:
            return
        report.state = ReportState.FAILED
        report.finished_at = now()
        report.error = message
        session.flush()
        _record(session, context, report, "report.failed", {"error": message})


def _record(
    session: Session, context: OpContext, report: Report, code: str, detail: dict[str, object]
) -> None:
    audit.append(
        session,
        context,
        code,
        target=f"report/{report.id}",
        boundary_id=report.boundary_id,
        organization_id=report.organization_id,
        detail=detail,
    )
