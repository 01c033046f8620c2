"""No figure outside is about fewer than five people, and no event is lost by hiding one."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.suppression import Headcount, PeopleCell, suppress, withhold
from wire.usage import SMALLEST_CELL, SUPPRESSED

KEYS = st.tuples(
    st.sampled_from(("red", "blue")),
    st.sampled_from(("base", "unknown")),
    st.sampled_from(("", "style")),
    st.sampled_from(("cli", "chat_ask")),
    st.sampled_from(("python", "go", "unknown")),
    st.sampled_from(("vim", "vscode", "unknown")),
)


def cell(key: tuple[str, ...], *people: int) -> PeopleCell:
    """Return a cell with one event per person."""
    measures = {"requests": len(people), "errors": {"x": 1}, "ttft_buckets": [len(people), 0]}
    return PeopleCell(key, frozenset(map(str, people)), measures)


def key(group: str = "red", language: str = "python", ide: str = "vim") -> tuple[str, ...]:
    return (group, "base", "style", "cli", language, ide)


@given(st.dictionaries(KEYS, st.sets(st.integers(0, 30), min_size=1), max_size=30))
@settings(max_examples=300, deadline=None)
def test_every_cell_has_five_people_or_is_the_whole(
    given_cells: dict[tuple[str, ...], set[int]],
) -> None:
    cells = [cell(name, *people) for name, people in given_cells.items()]
    found = suppress(cells)
    everyone = frozenset().union(*(c.people for c in cells)) if cells else frozenset()
    if len(everyone) < SMALLEST_CELL:
        assert [c.key for c in found] in ([], [(SUPPRESSED,) * 6])
    else:
        assert all(len(c.people) >= SMALLEST_CELL for c in found)
    assert sum(c.measures["requests"] for c in found) == sum(len(c.people) for c in cells)
    assert sum(c.measures["errors"]["x"] for c in found) == len(cells)
    assert sum(c.measures["ttft_buckets"][0] for c in found) == sum(len(c.people) for c in cells)
    assert max(Counter(c.key for c in found).values(), default=1) == 1


def test_the_last_dimension_is_given_up_first() -> None:
    cells = [cell(key(ide="vim"), 1, 2, 3), cell(key(ide="vscode"), 4, 5, 6)]
    assert [c.key for c in suppress(cells)] == [key(ide=SUPPRESSED)]


def test_the_smallest_sibling_goes_with_a_cell_that_is_still_too_small() -> None:
    cells = [
        cell(key(ide="vim"), 1, 2),
        cell(key(ide="vscode"), *range(10, 16)),
        cell(key(ide="emacs"), *range(20, 30)),
    ]
    found = {c.key[5]: len(c.people) for c in suppress(cells)}
    # Alone, the two would be the difference between the whole and the siblings.
    assert found == {SUPPRESSED: 8, "emacs": 10}


def test_a_cell_without_siblings_is_folded_one_dimension_further_up() -> None:
    cells = [cell(key(language="go"), 1), cell(key(language="python"), *range(10, 20))]
    (found,) = suppress(cells)
    assert found.key == (*key()[:4], SUPPRESSED, SUPPRESSED)
    assert found.measures["requests"] == 11


def test_a_small_group_takes_another_with_it_so_that_the_whole_does_not_tell_it() -> None:
    counts = [
        Headcount(None, 33, 33, 33),
        Headcount("red", 20, 20, 20),
        Headcount("blue", 10, 10, 10),
        Headcount("tiny", 3, 3, 3),
    ]
    assert [c.group_id for c in withhold(counts)] == [None, "red"]


@pytest.mark.parametrize("active", [0, 1, 4])
def test_a_boundary_of_fewer_than_five_tells_no_headcount(active: int) -> None:
    assert withhold([Headcount(None, active, 0, 0), Headcount("red", active, 0, 0)]) == []
