"""An access report as it is signed and handed out: statement, file, manifest.

The statement is everything but the rows: what was asked, by whom, over which rows, how complete it
is. The rows are bound to it by number, by the root of a Merkle tree and by the tree's blocks, so
that one edited cell is found and its row named. The manifest binds the finished files, the PDF
among them, which carries JSON and CSV inside and therefore cannot be named in the statement.
Written by the control plane's `reports` domain, checked offline by `proof.reports`.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import Field

from wire.envelope import Envelope
from wire.version import Document, Record

STATEMENT_TYPE = "application/vnd.ringfence.report+json"
MANIFEST_TYPE = "application/vnd.ringfence.report-manifest+json"
ROW_HASH = "hash"
"""Name of the last column, which holds the hash of the others."""

ReportKind = Literal["R1", "R3"]
FileFormat = Literal["json", "csv", "pdf", "manifest"]


class Column(Document):
    """One column; `cell` is the printed cell that shows it, empty for one that is not printed."""

    key: str
    title: str
    cell: str


class Cell(Document):
    """One printed cell: some columns one under another, the first of them as its heading."""

    title: str
    width: float = Field(gt=0)
    """Share of the page's width."""


class RowTree(Document):
    """The Merkle tree over the rows (RFC 6962), by root and by subtrees of `block_size` rows."""

    root: str
    block_size: int = Field(ge=1)
    blocks: tuple[str, ...]


class Query(Document):
    """The text that selected the rows, and its digest."""

    text: str
    digest: str


class ChainRange(Document):
    """How far an audit chain reached in the snapshot that the rows come from."""

    chain: str
    head_sequence: int = Field(ge=0)
    head_hash: str
    checkpoint_root: str | None
    """Root of the newest signed checkpoint; None where there is none."""
    checkpoint_sequence: int | None


class Freshness(Document):
    """How new a source was; None when it has never said anything."""

    source: str
    as_of: datetime | None
    note: str


class Finding(Document):
    """Something that a reader must look at (`finding`) or should know (`note`)."""

    severity: Literal["finding", "note"]
    code: str
    text: str
    count: int = Field(ge=1)
    rows: tuple[int, ...]
    """Numbers of the first rows that it stands on, at most fifty."""


class LegendEntry(Document):
    """What a short word in the rows stands for."""

    key: str
    title: str
    items: tuple[str, ...]


class HourCoverage(Document):
    """What an extract of a boundary's trail holds for one hour, beside what we recorded in it."""

    boundary: str
    hour: datetime
    files: int = Field(ge=0)
    events: int = Field(ge=0)
    sessions: int = Field(ge=0)
    """Sessions of ours that were opened in this hour; with no file they cannot be compared."""


class System(Document):
    """What made the report."""

    name: str
    version: str
    image_digest: str | None
    template: str
    """Name and version of the report's definition."""


class Completeness(Document):
    """The evidence of completeness."""

    row_count: int = Field(ge=0)
    distinct_principals: int = Field(ge=0)
    independent_count: int = Field(ge=0)
    independent_method: str
    control_totals: dict[str, dict[str, int]]
    """Column -> value -> number of rows; each sums up to the row count."""
    population: str
    exclusions: tuple[str, ...]
    known_gaps: tuple[str, ...]
    freshness: tuple[Freshness, ...]
    chains: tuple[ChainRange, ...]
    coverage: tuple[HourCoverage, ...]
    """Of a trail extract; empty for reports that need none."""


class ReportStatement(Record):
    """The signed half of a report: everything but its rows."""

    SCHEMA: ClassVar[str] = "ringfence.report"

    id: UUID
    kind: ReportKind
    title: str
    question: str
    organization: str
    boundary: str | None
    """None: the whole organization."""
    parameters: dict[str, str]
    requested_by: str
    requested_at: datetime
    started_at: datetime
    finished_at: datetime
    system: System
    method: tuple[str, ...]
    query: Query
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    legend: tuple[LegendEntry, ...]
    findings: tuple[Finding, ...]
    completeness: Completeness
    rows: RowTree
    csv_digest: str


class FileEntry(Document):
    """One finished file."""

    digest: str
    size_bytes: int = Field(ge=0)


class PrintedPage(Document):
    """One page of the PDF; `rows` is first and last of the rows on it, None where it has none."""

    content: str
    """Digest of the page's content."""
    rows: tuple[int, int] | None


class ReportManifest(Record):
    """The finished files of a report."""

    SCHEMA: ClassVar[str] = "ringfence.report-manifest"

    report_id: UUID
    statement_digest: str
    files: dict[str, FileEntry]
    """`json`, `csv`, `pdf`."""
    pages: tuple[PrintedPage, ...]
    """So that an edited page of the PDF is named, with the rows that it prints."""


class ManifestFile(Record):
    """The manifest as it is handed out; the keys are only carried, the reader brings the pin."""

    SCHEMA: ClassVar[str] = "ringfence.report-manifest-file"

    statement: Envelope
    manifest: Envelope
    keys: dict[str, str]
