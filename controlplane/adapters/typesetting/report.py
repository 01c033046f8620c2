"""The printed form of a report: PDF/A-3b with its JSON and CSV attached, by typst.

Called by the report task. The bytes depend on nothing but the report: the only clock is the
report's own time, the only fonts are those inside typst (Libertinus Serif and DejaVu Sans Mono,
both free to embed), and the template stands beside this module.
"""

from __future__ import annotations

import json
import shutil
from datetime import UTC
from itertools import islice
from pathlib import Path
from typing import Any

import typst

from controlplane.core.errors import InternalError
from wire.report import ReportStatement

TEMPLATE = Path(__file__).parent / "report.typ"
MOST_ROWS_PRINTED = 2000
"""A longer report prints its first rows and says so; the attachments have all of them."""
LARGEST_ATTACHMENT = 48_000_000
"""Bytes; a larger file stays outside the PDF, which then names its digest."""


class TypstTypesetter:
    """Typesets in this process; a document of some hundred rows takes less than a second."""

    def typeset(self, statement: ReportStatement, folder: Path, *, signed_by: str) -> Path:
        """Return the PDF made from `report.json`, `report.csv` and `rows.jsonl` in the folder."""
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
        target = folder / "report.pdf"
        try:
            typst.compile(
                str(folder / "report.typ"),
                output=str(target),
                root=str(folder),
                ignore_system_fonts=True,
                format="pdf",
                pdf_standards="a-3b",
                timestamp=int(statement.finished_at.astimezone(UTC).timestamp()),
            )
        except typst.TypstError as error:
            raise InternalError(
                "the report's printed form could not be made",
                code="typesetting-failed",
                internal_context={"message": error.message},
            ) from error
        return target


def _first_rows(path: Path) -> list[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in islice(lines, MOST_ROWS_PRINTED)]
