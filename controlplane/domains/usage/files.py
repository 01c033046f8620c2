"""Usage as files: one line per cell of an hour or a day, as CSV or NDJSON.

Called by `GET /v1/boundaries/{b}/usage/export`. Separate because a file's columns are a contract of
their own: they are added to, never renamed. Nothing is added up here, so a reader may use any
formula; lines of kind `people` must not be added up at all.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.domains.usage import repository
from controlplane.domains.usage.repository import CHANGE_SUMS, REQUEST_SUMS, Window, cell_of
from controlplane.domains.usage.summary import WINDOWS

CELL: Final = ("group_id", "model_version", "adapter_id", "feature", "language", "ide")
PEOPLE: Final = ("window_days", "active", "with_requests", "with_events")
HISTOGRAMS: Final = ("ttft_buckets", "duration_buckets")
COLUMNS: Final = (
    *("kind", "starts_at", "synthetic", *CELL, "as_of", "is_final"),
    *(*REQUEST_SUMS, "failed", *HISTOGRAMS, *CHANGE_SUMS, *PEOPLE),
)
"""Columns of the CSV, in order; a line leaves those of the other kinds empty."""


def lines(session: Session, boundary_id: UUID, window: Window) -> Iterator[Mapping[str, Any]]:
    """Yield the lines of a window: hours of requests, days of changes, windows of people."""
    fresh = {
        b.starts_at.date(): b
        for b in repository.list_buckets(session, boundary_id, window)
        if b.grain == "day"
    }
    for hour in repository.list_hours(session, boundary_id, window):
        yield {
            "kind": "requests",
            "starts_at": hour.hour_start.isoformat(),
            **cell_of(hour),
            "as_of": hour.rollup["as_of"],
            "is_final": hour.rollup["is_final"],
            **{name: getattr(hour, name) for name in REQUEST_SUMS},
            "failed": sum(hour.rollup["errors"].values()),
            **{name: hour.rollup[name] for name in HISTOGRAMS},
        }
    for day in repository.list_days(session, boundary_id, window):
        yield {
            "kind": "changes",
            "starts_at": day.day.isoformat(),
            **cell_of(day),
            "as_of": fresh[day.day].as_of.isoformat(),
            "is_final": fresh[day.day].is_final,
            **{name: getattr(day, name) for name in CHANGE_SUMS},
        }
    for length in WINDOWS:
        for row in repository.list_people(session, boundary_id, window, length):
            yield {
                "kind": "people",
                "starts_at": row.day.isoformat(),
                "synthetic": row.synthetic,
                "group_id": row.group_name or None,
                "as_of": fresh[row.day].as_of.isoformat(),
                "is_final": fresh[row.day].is_final,
                **{name: getattr(row, name) for name in PEOPLE},
            }


def as_ndjson(session: Session, boundary_id: UUID, window: Window) -> str:
    """Return the lines as NDJSON."""
    return "".join(
        json.dumps(line, sort_keys=True) + "\n" for line in lines(session, boundary_id, window)
    )


def as_csv(session: Session, boundary_id: UUID, window: Window) -> str:
    """Return the lines as CSV (RFC 4180); histograms are numbers joined by spaces."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS, restval="")
    writer.writeheader()
    for line in lines(session, boundary_id, window):
        joined = {name: " ".join(map(str, line[name])) for name in HISTOGRAMS if name in line}
        writer.writerow({**line, **joined})
    return text.getvalue()
