"""Check a report's rows against the tree that its statement signs, and name the rows that differ.

Used by `proof.reports`. A row whose cells were edited no longer has its own hash; where the hash
was edited too, the block of the tree that holds the row does not match.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from proof.row_tree import RowTreeBuilder, leaf_hash, row_bytes
from wire.report import ROW_HASH, ReportStatement

MOST_NAMED = 20


@dataclass(frozen=True)
class Rows:
    """What the rows of a file are."""

    count: int
    wrong: tuple[int, ...]
    """Numbers, as the rows stand in the file, of those that are not as signed."""
    problems: tuple[str, ...]
    totals: dict[str, dict[str, int]]


def check_rows(raw: list[Any], statement: ReportStatement) -> Rows:
    """Return what is wrong with the rows; `raw` is untrusted."""
    names = {"row", *(column.key for column in statement.columns), ROW_HASH}
    tree = RowTreeBuilder()
    wrong: list[int] = []
    totals: dict[str, Counter[str]] = {
        column: Counter() for column in statement.completeness.control_totals
    }
    for number, row in enumerate(raw, start=1):
        if not _has_shape(row, names):
            wrong.append(number)
            tree.add(leaf_hash(b""))
            continue
        cells = {key: value for key, value in row.items() if key != ROW_HASH}
        leaf = leaf_hash(_bytes(cells))
        tree.add(leaf)
        if leaf.hex() != row[ROW_HASH] or cells["row"] != str(number):
            wrong.append(number)
        for column, counter in totals.items():
            counter[cells[column]] += 1
    return Rows(
        count=tree.count,
        wrong=tuple(wrong),
        problems=tuple(_problems(tree, wrong, statement)),
        totals={column: dict(sorted(counter.items())) for column, counter in totals.items()},
    )


def _has_shape(row: Any, names: set[str]) -> bool:
    return (
        isinstance(row, dict)
        and row.keys() == names
        and all(isinstance(value, str) for value in row.values())
    )


def _bytes(cells: dict[str, str]) -> bytes:
    """Return a row's bytes; none for text that is not Unicode, which nobody signed."""
    try:
        return row_bytes(cells)
    except UnicodeEncodeError:
        return b""


def _problems(tree: RowTreeBuilder, wrong: list[int], statement: ReportStatement) -> list[str]:
    found = []
    if wrong:
        shown = ", ".join(str(number) for number in wrong[:MOST_NAMED])
        more = f" and {len(wrong) - MOST_NAMED} more" if len(wrong) > MOST_NAMED else ""
        found.append(f"not as signed: row {shown}{more}")
    if tree.count != statement.completeness.row_count:
        found.append(f"{tree.count} rows instead of {statement.completeness.row_count}")
    if tree.root() != statement.rows.root:
        size = statement.rows.block_size
        signed = statement.rows.blocks
        broken = [
            (index * size + 1, min((index + 1) * size, tree.count))
            for index, block in enumerate(tree.blocks())
            if index >= len(signed) or signed[index] != block
        ]
        unnamed = [
            f"{first} to {last}"
            for first, last in broken
            if not any(first <= number <= last for number in wrong)
        ]
        if unnamed:
            found.append(f"not as signed, hash included: a row of {'; '.join(unnamed[:5])}")
        found.append("the rows do not add up to the signed root")
    return found
