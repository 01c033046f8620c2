"""The printed form of a report: PDF/A-3b with its JSON and CSV attached, by typst.

Called by the report task. The bytes depend on nothing but the report: the only clock is the
report's own time, the only fonts are those inside typst (Libertinus Serif and DejaVu Sans Mono,
both free to embed), and the template stands beside this module.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import Any

from controlplane.core.errors import InternalError, UnavailableError
from proof.pdf_parts import PdfParts
from wire.report import PrintedPage, ReportStatement

TEMPLATE = Path(__file__).parent / "report.typ"
MOST_ROWS_PRINTED = 300
"""About forty pages. A longer report prints its first rows and says so; the attachments have all of
them."""
LONGEST_SECONDS = 180
"""The longest document takes some seconds."""
LARGEST_ATTACHMENT = 48_000_000
"""Bytes; a larger file stays outside the PDF, which then names its digest."""


class TypstTypesetter:
    """Typesets in a child process, which takes its memory with it when it ends."""

    def typeset(
        self, statement: ReportStatement, folder: Path, *, signed_by: str
    ) -> tuple[Path, tuple[PrintedPage, ...]]:
        """Return the PDF made from `report.json`, `report.csv` and `rows.jsonl`, and its pages."""
        document = statement.to_wire()
        attached = [
            name
            for name in ("report.json", "report.csv")
            if (folder / name).stat().st_size <= LARGEST_ATTACHMENT
        ]
        document["print"] = {
            "rows": _first_rows(folder / "rows.jsonl"),
            "attached": attached,
            "signed_by": signed_by,
        }
        document["query"]["lines"] = len(statement.query.text.strip().splitlines())
        (folder / "print.json").write_text(json.dumps(document, sort_keys=True))
        shutil.copyfile(TEMPLATE, folder / "report.typ")
        _compile(folder, int(statement.finished_at.astimezone(UTC).timestamp()))
        target = folder / "report.pdf"
        return target, _pages(target, json.loads((folder / "printed.json").read_text()))


def _compile(folder: Path, timestamp: int) -> None:
    child = [sys.executable, "-m", "controlplane.adapters.typesetting.child"]
    try:
        ended = subprocess.run(
            [*child, str(folder), str(timestamp)],
            capture_output=True,
            text=True,
            timeout=LONGEST_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"the report's printed form took longer than {LONGEST_SECONDS} seconds"
        ) from error
    if ended.returncode != 0:
        raise InternalError(
            "the report's printed form could not be made",
            code="typesetting-failed",
            internal_context={"message": ended.stderr[-2000:]},
        )


def _pages(pdf: Path, printed: list[tuple[int, int]]) -> tuple[PrintedPage, ...]:
    """Return every page with the rows on it; `printed` is (row, page), counted from 1."""
    rows: dict[int, list[int]] = {}
    for row, page in printed:
        rows.setdefault(page, []).append(row)
    return tuple(
        PrintedPage(
            content=content,
            rows=(min(rows[page]), max(rows[page])) if page in rows else None,
        )
        for page, content in enumerate(PdfParts(pdf.read_bytes()).page_digests(), start=1)
    )


def _first_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, MOST_ROWS_PRINTED)]
