"""Typeset one document: `python -m controlplane.adapters.typesetting.child FOLDER TIMESTAMP`.

A process of its own, started by `report.py` beside it: typst keeps what it laid out in memory, some
hundred megabytes for a long table, and the worker lives for weeks.
"""

from __future__ import annotations

import sys
from pathlib import Path

import typst


def main() -> int:
    """Make `report.pdf` from `report.typ` in a folder; the clock is the one that is given.

    `printed.json` beside it lists (row, page), counted from 1, for every row that is printed.
    """
    folder, timestamp = Path(sys.argv[1]), int(sys.argv[2])
    try:
        # One compiler for both: the second use finds the layout of the first.
        compiler = typst.Compiler(
            str(folder / "report.typ"), root=str(folder), ignore_system_fonts=True
        )
        compiler.compile(
            output=str(folder / "report.pdf"),
            format="pdf",
            pdf_standards="a-3b",
            timestamp=timestamp,
        )
        printed = compiler.query("<printed-rows>", field="value", one=True)
        (folder / "printed.json").write_text(printed)
    except typst.TypstError as error:
        print(error.message, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
