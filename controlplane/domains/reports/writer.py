"""Write a report's rows once, in two forms, and hash them on the way.

Called by the task. The rows go to files of the worker's own folder, so that a report of any length
is written in constant memory; the statement is made after the last row, from what was counted.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from controlplane.domains.reports.definition import Definition, Row
from proof.canonical import canonical_bytes
from proof.report_cells import guarded
from proof.row_tree import BLOCK_SIZE, RowTreeBuilder, leaf_hash, row_bytes
from wire.envelope import Envelope
from wire.report import ROW_HASH, ReportStatement, RowTree

PIECE_BYTES = 1_000_000
"""Size at which a piece of a file is closed."""


@dataclass(frozen=True)
class Piece:
    """One piece of a file; `first_row` is None where it holds no rows."""

    data: bytes
    first_row: int | None


@dataclass(frozen=True)
class Written:
    """What came of the rows."""

    rows_file: Path
    csv_file: Path
    csv_digest: str
    tree: RowTree
    row_count: int
    distinct_principals: int
    control_totals: dict[str, dict[str, int]]


def write_rows(definition: Definition, folder: Path) -> Written:
    """Stream the rows into `rows.jsonl` and `report.csv`; findings are collected on the way."""
    rows_file, csv_file = folder / "rows.jsonl", folder / "report.csv"
    tree = RowTreeBuilder()
    totals: dict[str, Counter[str]] = {column: Counter() for column in definition.totals}
    distinct, last = 0, None
    with (
        rows_file.open("w", encoding="utf-8", newline="") as lines,
        csv_file.open("w", encoding="utf-8", newline="") as table,
    ):
        sheet = _Sheet(table, definition)
        for row in definition.rows:
            number = tree.count + 1
            definition.inspect(definition.findings, number, row)
            for column, counter in totals.items():
                counter[row[column]] += 1
            if row[definition.principal_column] != last:
                last, distinct = row[definition.principal_column], distinct + 1
            numbered = {"row": str(number), **row}
            leaf = leaf_hash(row_bytes(numbered))
            tree.add(leaf)
            numbered[ROW_HASH] = leaf.hex()
            lines.write(row_bytes(numbered).decode() + "\n")
            sheet.write(numbered)
    return Written(
        rows_file=rows_file,
        csv_file=csv_file,
        csv_digest=file_digest(csv_file),
        tree=RowTree(root=tree.root(), block_size=BLOCK_SIZE, blocks=tuple(tree.blocks())),
        row_count=tree.count,
        distinct_principals=distinct,
        control_totals={column: dict(sorted(c.items())) for column, c in totals.items()},
    )


class _Sheet:
    """The CSV form: RFC 4180, UTF-8, and no cell that a spreadsheet would run."""

    def __init__(self, file: TextIO, definition: Definition) -> None:
        self._keys = ["row", *(column.key for column in definition.columns), ROW_HASH]
        self._writer = csv.writer(file, lineterminator="\r\n")
        self._writer.writerow(self._keys)

    def write(self, row: Row) -> None:
        self._writer.writerow([guarded(row[key]) for key in self._keys])


def json_pieces(
    rows_file: Path, statement: ReportStatement, envelope: Envelope, keys: dict[str, str]
) -> Iterator[Piece]:
    """Yield the JSON file; its bytes are canonical, since its members stand in order."""
    head = b'{"envelope":' + canonical_bytes(envelope.model_dump(mode="json"))
    head += b',"keys":' + canonical_bytes(keys) + b',"rows":['
    yield Piece(head, None)
    with rows_file.open("rb") as lines:
        yield from _row_pieces(lines)
    tail = b'],"schema":"ringfence.report-file","statement":' + canonical_bytes(statement.to_wire())
    for start in range(0, len(tail), PIECE_BYTES):
        yield Piece(tail[start : start + PIECE_BYTES], None)
    yield Piece(b',"version":1}\n', None)


def _row_pieces(lines: Iterable[bytes]) -> Iterator[Piece]:
    buffer, first, number = io.BytesIO(), 1, 0
    for number, line in enumerate(lines, start=1):
        if number > 1:
            buffer.write(b",")
        buffer.write(line.rstrip(b"\n"))
        if buffer.tell() >= PIECE_BYTES:
            yield Piece(buffer.getvalue(), first)
            buffer, first = io.BytesIO(), number + 1
    if number >= first:
        yield Piece(buffer.getvalue(), first)


def file_pieces(path: Path) -> Iterator[Piece]:
    """Yield any file in pieces."""
    with path.open("rb") as file:
        while data := file.read(PIECE_BYTES):
            yield Piece(data, None)


def file_digest(path: Path) -> str:
    """Return `sha256:<hex>` of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
