"""Fold cells of fewer than five people into larger ones, so that no figure is about a few.

Called by the roll-ups, with the people of each cell, before anything may leave. Separate and pure,
because it is the one place that decides how fine a figure outside can be.

The cells that come out are one partition of what went in: no event is lost or counted twice, so a
total minus its siblings is a sum of cells that are large enough. Folding goes from the last
dimension to the first; where what is folded is still too small, the smallest sibling goes with it
(complementary suppression), and where there is none, the next dimension is folded too. Only a
boundary that has fewer than five people in all leaves one cell below five: its whole, unnamed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from wire.usage import SMALLEST_CELL, SUPPRESSED

DIMENSIONS: Final = ("group_id", "model_version", "adapter_id", "feature", "language", "ide")
"""From the first, which is kept longest, to the last, which is given up first."""
MAX_CELLS: Final = 10_000
Key = tuple[Any, ...]
Measures = dict[str, Any]


@dataclass(frozen=True)
class PeopleCell:
    """One cell with the people behind it; the people never leave this process."""

    key: Key
    people: frozenset[str]
    measures: Measures


def _add(left: Any, right: Any) -> Any:
    """Return the sum of two measures: numbers, histograms, or counts by name."""
    if isinstance(left, dict):
        return {k: left.get(k, 0) + right.get(k, 0) for k in sorted(left.keys() | right.keys())}
    if isinstance(left, list):
        return [a + b for a, b in zip(left, right, strict=True)]
    return left + right


def merge(cells: Sequence[PeopleCell], key: Key) -> PeopleCell:
    """Return one cell for several."""
    measures = dict(cells[0].measures)
    for cell in cells[1:]:
        measures = {name: _add(value, cell.measures[name]) for name, value in measures.items()}
    return PeopleCell(key, frozenset().union(*(cell.people for cell in cells)), measures)


def _fold(cells: Iterable[PeopleCell], depth: int) -> list[PeopleCell]:
    """Fold the small cells at one dimension, each group of siblings for itself."""
    siblings: dict[Key, list[PeopleCell]] = defaultdict(list)
    for cell in cells:
        siblings[cell.key[:depth]].append(cell)
    found: list[PeopleCell] = []
    for prefix, members in siblings.items():
        by_size = sorted(members, key=lambda each: (len(each.people), str(each.key)))
        folded = [each for each in by_size if len(each.people) < SMALLEST_CELL]
        kept = by_size[len(folded) :]
        if not folded:
            found += kept
            continue
        key = (*prefix, *[SUPPRESSED] * (len(DIMENSIONS) - depth))
        # A cell that an earlier dimension has folded stands under the same name.
        folded += [each for each in kept if each.key == key]
        kept = [each for each in kept if each.key != key]
        rest = merge(folded, key)
        while len(rest.people) < SMALLEST_CELL and kept:
            rest = merge([rest, kept.pop(0)], key)
        found += [*kept, rest]
    return found


def suppress(cells: Iterable[PeopleCell]) -> list[PeopleCell]:
    """Return cells of at least five people each, or one cell for all."""
    found = list(cells)
    for depth in reversed(range(len(DIMENSIONS))):
        found = _fold(found, depth)
        if len(found) > MAX_CELLS:
            # More than a message holds: this dimension is given up for everyone.
            found = _give_up(found, depth)
    return sorted(found, key=lambda cell: tuple(map(str, cell.key)))


def _give_up(cells: Iterable[PeopleCell], depth: int) -> list[PeopleCell]:
    grouped: dict[Key, list[PeopleCell]] = defaultdict(list)
    for cell in cells:
        grouped[(*cell.key[:depth], *[SUPPRESSED] * (len(DIMENSIONS) - depth))].append(cell)
    return [merge(members, key) for key, members in grouped.items()]


@dataclass(frozen=True)
class Headcount:
    """Distinct people of one group, or of the whole boundary (group None), over a window."""

    group_id: str | None
    active: int
    with_requests: int
    with_events: int


def withhold(counts: Sequence[Headcount]) -> list[Headcount]:
    """Return the headcounts of one window that may leave.

    A group below five is withheld; and so that the whole minus the other groups does not say how
    many it has, the next smaller group goes with it until five are hidden.
    """
    total = [c for c in counts if c.group_id is None and c.active >= SMALLEST_CELL]
    if not total:
        return []
    groups = sorted((c for c in counts if c.group_id is not None), key=lambda c: c.active)
    hidden = sum(c.active for c in groups if c.active < SMALLEST_CELL)
    kept = [c for c in groups if c.active >= SMALLEST_CELL]
    while 0 < hidden < SMALLEST_CELL and kept:
        hidden += kept.pop(0).active
    return [*total, *kept]
