"""Verify an access report offline: JSON, CSV or PDF, against the fingerprint of our key.

Used by `ringfence report verify`. Three verdicts that do not hide each other: is it what was
signed (integrity), does it say itself that nothing is missing and do its numbers agree
(completeness), and how old is it (freshness). Nothing in a file is trusted because the file says
so: the reader brings the pin.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from proof.canonical import bytes_digest, digest
from proof.dsse import SignatureError, open_envelope
from proof.keys import KeyFileError, decode_public, fingerprint
from proof.pdf_parts import PdfError, PdfParts, attachments
from proof.report_cells import unguarded
from proof.report_rows import Rows, check_rows
from wire.envelope import Envelope
from wire.report import (
    MANIFEST_TYPE,
    ROW_HASH,
    STATEMENT_TYPE,
    HourCoverage,
    ManifestFile,
    ReportManifest,
    ReportStatement,
)

MOST_HOURS = 12
"""Hours without a file that a verdict names."""
JSON_NAME, CSV_NAME = "report.json", "report.csv"
"""Names of the files attached to the PDF."""


class ReportError(ValueError):
    """The file cannot be checked at all: it is not a report, or the pinned key has not signed."""


@dataclass
class Integrity:
    """Whether the file is what was signed."""

    problems: list[str] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    """Numbers of the rows that are not as they were signed."""

    @property
    def holds(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Judged:
    """One of the other two verdicts."""

    verdict: Literal["complete", "complete-with-gaps", "incomplete", "fresh", "stale"]
    reasons: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return self.verdict not in ("incomplete", "stale")


@dataclass(frozen=True)
class ReportVerdict:
    """What was checked and what holds."""

    statement: ReportStatement
    form: Literal["json", "csv", "pdf"]
    key: str
    integrity: Integrity
    completeness: Judged
    freshness: Judged

    @property
    def holds(self) -> bool:
        return self.integrity.holds and self.completeness.holds and self.freshness.holds


def verify_report(
    data: bytes,
    pin: str,
    *,
    now: datetime,
    manifest: bytes | None = None,
    max_age: timedelta | None = None,
) -> ReportVerdict:
    """Return the three verdicts on a report's file.

    `pin` is the fingerprint of the control-plane key. `manifest` is needed for a CSV, and for the
    pages of a PDF. Raises: ReportError when there is nothing to judge.
    """
    signed = _open_manifest(manifest, pin) if manifest is not None else None
    integrity = Integrity()
    form = _form(data)
    if form == "json":
        statement, rows = _from_json(data, pin, integrity)
    elif form == "csv":
        if signed is None:
            raise ReportError("a CSV carries no signature; give the report's manifest with it")
        statement = signed[0]
        rows = _from_csv(data, statement, integrity)
    else:
        statement, rows = _from_pdf(data, pin, integrity)
    if signed is not None:
        _compare(data, form, statement, signed, integrity)
    elif form == "pdf":
        integrity.problems.append(
            "the printed pages cannot be checked without the manifest; give it with the PDF"
        )
    return ReportVerdict(
        statement=statement,
        form=form,
        key=pin,
        integrity=integrity,
        completeness=_completeness(statement, rows),
        freshness=_freshness(statement, now, max_age),
    )


def _form(data: bytes) -> Literal["json", "csv", "pdf"]:
    if data.startswith(b"%PDF-"):
        return "pdf"
    return "json" if data.lstrip()[:1] == b"{" else "csv"


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Refuse a JSON object that names a member twice: readers would differ about it."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ReportError("a JSON object names a member twice")
    return found


def _parse(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(data, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise ReportError(f"{what} is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise ReportError(f"{what} is not a JSON object")
    return document


def _open(envelope: Envelope, kind: str, keys: dict[str, str], pin: str) -> dict[str, Any]:
    try:
        key = decode_public(keys[pin])
    except KeyError as error:
        raise ReportError(
            f"it is not signed by the pinned key {pin}; it carries: {', '.join(keys) or 'no key'}"
        ) from error
    except KeyFileError as error:
        raise ReportError(f"key {pin}: {error}") from error
    if fingerprint(key) != pin:
        raise ReportError(f"key {pin} has the fingerprint {fingerprint(key)}")
    try:
        return open_envelope(envelope, kind, {"control plane": key})
    except SignatureError as error:
        raise ReportError(str(error)) from error


def _open_manifest(data: bytes, pin: str) -> tuple[ReportStatement, ReportManifest]:
    file = ManifestFile.from_wire(_parse(data, "the manifest"))
    raw = _open(file.statement, STATEMENT_TYPE, file.keys, pin)
    manifest = ReportManifest.from_wire(_open(file.manifest, MANIFEST_TYPE, file.keys, pin))
    if manifest.statement_digest != digest(raw):
        raise ReportError("the manifest is of another report than the statement beside it")
    return ReportStatement.from_wire(raw), manifest


def _from_json(data: bytes, pin: str, integrity: Integrity) -> tuple[ReportStatement, Rows]:
    document = _parse(data, "the report")
    try:
        envelope = Envelope.model_validate(document["envelope"])
        keys, raw_rows = document["keys"], document["rows"]
    except KeyError as error:
        raise ReportError(f"this is not a report's JSON file: it has no {error}") from error
    signed = _open(envelope, STATEMENT_TYPE, keys, pin)
    if document.get("statement") != signed:
        shown = document.get("statement")
        shown = shown if isinstance(shown, dict) else {}
        differing = sorted(k for k in {*shown, *signed} if shown.get(k) != signed.get(k))
        integrity.problems.append(
            f"the readable statement is not the signed one; differing: {', '.join(differing)}"
        )
    statement = ReportStatement.from_wire(signed)
    return statement, _judge_rows(raw_rows, statement, integrity)


def _from_csv(data: bytes, statement: ReportStatement, integrity: Integrity) -> Rows:
    if bytes_digest(data) != statement.csv_digest:
        integrity.problems.append("the CSV's bytes are not the signed ones")
    try:
        lines = list(csv.reader(io.StringIO(data.decode("utf-8"), newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise ReportError(f"this is not the report's CSV: {error}") from error
    names = ["row", *(column.key for column in statement.columns), ROW_HASH]
    if not lines or lines[0] != names:
        raise ReportError("this CSV's first line does not name the columns of the report")
    rows: list[Any] = [
        dict(zip(names, map(unguarded, line), strict=True)) if len(line) == len(names) else None
        for line in lines[1:]
    ]
    return _judge_rows(rows, statement, integrity)


def _from_pdf(data: bytes, pin: str, integrity: Integrity) -> tuple[ReportStatement, Rows]:
    try:
        files = attachments(data)
    except PdfError as error:
        raise ReportError(str(error)) from error
    if JSON_NAME not in files:
        raise ReportError(f"this PDF has no attachment {JSON_NAME}; another program wrote it anew")
    statement, rows = _from_json(files[JSON_NAME], pin, integrity)
    if CSV_NAME in files and bytes_digest(files[CSV_NAME]) != statement.csv_digest:
        inner = Integrity()
        _from_csv(files[CSV_NAME], statement, inner)
        integrity.problems += [f"attached CSV: {problem}" for problem in inner.problems]
        integrity.rows += [row for row in inner.rows if row not in integrity.rows]
    return statement, rows


def _judge_rows(raw: Any, statement: ReportStatement, integrity: Integrity) -> Rows:
    rows = check_rows(raw if isinstance(raw, list) else [], statement)
    integrity.problems += rows.problems
    integrity.rows += [number for number in rows.wrong if number not in integrity.rows]
    return rows


def _compare(
    data: bytes,
    form: str,
    statement: ReportStatement,
    signed: tuple[ReportStatement, ReportManifest],
    integrity: Integrity,
) -> None:
    if signed[0] != statement:
        integrity.problems.append("the manifest is of another report than this file")
    elif signed[1].files[form].digest != bytes_digest(data):
        integrity.problems.append(f"the {form.upper()}'s bytes are not those in the manifest")
        if form == "pdf":
            integrity.problems += _edited_pages(data, signed[1])


def _edited_pages(pdf: bytes, manifest: ReportManifest) -> list[str]:
    """Name the pages that are not as they were signed, with the rows that they print."""
    try:
        found = PdfParts(pdf).page_digests()
    except PdfError as error:
        return [f"its pages cannot be read: {error}"]
    if len(found) != len(manifest.pages):
        return [f"it has {len(found)} pages instead of {len(manifest.pages)}"]
    problems = []
    for number, (content, page) in enumerate(zip(found, manifest.pages, strict=True), start=1):
        if content != page.content:
            rows = f"; it prints rows {page.rows[0]} to {page.rows[1]}" if page.rows else ""
            problems.append(f"page {number} is not as signed{rows}")
    return problems


def _completeness(statement: ReportStatement, rows: Rows) -> Judged:
    stated = statement.completeness
    wrong = []
    if rows.count != stated.row_count:
        wrong.append(f"{rows.count} rows are here, {stated.row_count} were signed")
    if stated.independent_count != stated.row_count:
        wrong.append(
            f"the independent count was {stated.independent_count}, the rows {stated.row_count}"
        )
    if rows.totals != stated.control_totals:
        differing = [c for c, t in stated.control_totals.items() if rows.totals.get(c) != t]
        wrong.append(f"the control totals do not add up in: {', '.join(differing)}")
    lost = [hour for hour in stated.coverage if hour.files == 0 and hour.sessions > 0]
    if lost:
        wrong.append(f"the trail extract has no file for hours with sessions: {_hours(lost)}")
    if wrong:
        return Judged("incomplete", tuple(wrong))
    gaps = stated.known_gaps
    empty = [hour for hour in stated.coverage if hour.files == 0]
    if empty:
        gaps = (f"the trail extract has no file for {len(empty)} hours: {_hours(empty)}", *gaps)
    if gaps:
        return Judged("complete-with-gaps", gaps)
    return Judged("complete", ())


def _hours(hours: list[HourCoverage]) -> str:
    shown = ", ".join(f"{hour.boundary} {hour.hour:%Y-%m-%d %H}h" for hour in hours[:MOST_HOURS])
    return shown + (" and more" if len(hours) > MOST_HOURS else "")


def _freshness(statement: ReportStatement, now: datetime, max_age: timedelta | None) -> Judged:
    age = now - statement.finished_at
    reasons = [f"made {age.days} days and {age.seconds // 3600} hours ago"]
    for source in statement.completeness.freshness:
        moment = f"{source.as_of:%Y-%m-%d %H:%M:%S} UTC" if source.as_of else "nothing yet"
        reasons.append(f"{source.source}: {source.note}, {moment}")
    if max_age is not None and age > max_age:
        return Judged("stale", (f"older than the {max_age} that you allow", *reasons))
    if age < timedelta(minutes=-5):
        return Judged("stale", ("made in the future: compare the clocks", *reasons))
    return Judged("fresh", tuple(reasons))
