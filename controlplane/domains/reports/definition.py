"""What a report is made of, before it is written: the shape that R1 and R3 share.

Filled by `entitlements.py` and `vendor_sessions.py`, read by `writer.py`, which knows neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal
from uuid import UUID

from wire.report import Cell, Column, Finding, Freshness, HourCoverage, LegendEntry

Row = dict[str, str]
"""One row: every column as text, without number and hash, which the writer adds."""
MOST_ROWS_NAMED = 50


@dataclass(frozen=True)
class Subject:
    """What a report is about, as its task resolved it inside the snapshot."""

    organization_id: UUID
    organization: str
    boundary_id: UUID | None
    boundary: str | None
    boundaries: Mapping[UUID, str]
    """Every boundary that it covers, by id."""
    vendor_principal: str
    """The one ARN that the customers' role templates trust."""

    def chains(self) -> dict[UUID, str]:
        """Return the audit chains that stand behind it, by id."""
        names = {i: f"boundary/{name}" for i, name in sorted(self.boundaries.items())}
        return {self.organization_id: f"organization/{self.organization}", **names}


@dataclass(frozen=True)
class Moments:
    """What a report was asked for; `at` for R1, `start` and `end` for R3."""

    at: datetime
    known_at: datetime
    start: datetime
    end: datetime


class FindingLog:
    """Collects findings while the rows stream by: a count and the first rows of each."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[Literal["finding", "note"], str, list[int], int]] = {}

    def add(
        self, severity: Literal["finding", "note"], code: str, text: str, row: int | None
    ) -> None:
        """Record one occurrence; the text of the first one stays."""
        known = self._found.get(code, (severity, text, [], 0))
        rows = known[2]
        if row is not None and len(rows) < MOST_ROWS_NAMED:
            rows.append(row)
        self._found[code] = (known[0], known[1], rows, known[3] + 1)

    def listed(self) -> tuple[Finding, ...]:
        """Return the findings first, then the notes, each by code."""
        order = sorted(self._found.items(), key=lambda item: (item[1][0] != "finding", item[0]))
        return tuple(
            Finding(severity=severity, code=code, text=text, count=count, rows=tuple(rows))
            for code, (severity, text, rows, count) in order
        )


@dataclass(frozen=True)
class Definition:
    """One report, ready to be streamed."""

    kind: Literal["R1", "R3"]
    title: str
    question: str
    template: str
    parameters: dict[str, str]
    method: tuple[str, ...]
    query: str
    columns: tuple[Column, ...]
    cells: tuple[Cell, ...]
    legend: tuple[LegendEntry, ...]
    principal_column: str
    """The column whose different values are counted; the rows come sorted by it."""
    totals: tuple[str, ...]
    """Columns over whose values the rows are totalled."""
    population: str
    exclusions: tuple[str, ...]
    known_gaps: tuple[str, ...]
    freshness: tuple[Freshness, ...]
    independent_count: int
    independent_method: str
    rows: Iterator[Row]
    inspect: Callable[[FindingLog, int, Row], None]
    """Looks at each row for findings; numbers count from 1."""
    findings: FindingLog = field(default_factory=FindingLog)
    """Holds already what was found before the rows."""
    coverage: tuple[HourCoverage, ...] = ()
