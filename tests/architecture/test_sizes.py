"""Size budgets: a file has at most 400 lines, a function 50; beyond 800 and 80 nothing goes."""

import ast
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, name_of, product_sources, tracked

FILE_BUDGET, FILE_STOP = 400, 800
FUNCTION_BUDGET, FUNCTION_STOP = 50, 80
FILES_OVER_BUDGET: frozenset[str] = frozenset()
"""Known files over the budget, each to be split; the list may only shrink."""
FUNCTIONS_OVER_BUDGET: frozenset[str] = frozenset()
"""Known functions over the budget, as `file:name`; the list may only shrink."""

SOURCES = [p for p in product_sources() if "migrations/versions" not in str(p)]


def lines_of(path: Path) -> int:
    return len(path.read_text().splitlines())


def test_no_file_is_over_its_budget() -> None:
    sizes = {name_of(path): lines_of(path) for path in SOURCES}
    stopped = {name: n for name, n in sizes.items() if n > FILE_STOP}
    over = {name: n for name, n in sizes.items() if n > FILE_BUDGET} | stopped
    unexpected = {n: s for n, s in over.items() if n not in FILES_OVER_BUDGET or s > FILE_STOP}
    assert not unexpected, f"split by use case: {unexpected}"


def test_the_list_of_large_files_names_only_large_files() -> None:
    small = {n for n in FILES_OVER_BUDGET if lines_of(ROOT / n) <= FILE_BUDGET}
    assert not small, f"take these off the list: {small}"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_no_function_is_over_its_budget(path: Path) -> None:
    tree = ast.parse(path.read_text())
    over: dict[str, int] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno:
            size = node.end_lineno - node.lineno + 1
            key = f"{name_of(path)}:{node.name}"
            if size > FUNCTION_STOP or (
                size > FUNCTION_BUDGET and key not in FUNCTIONS_OVER_BUDGET
            ):
                over[key] = size
    assert not over, f"cut into steps with names: {over}"


def test_no_test_file_is_beyond_the_stop() -> None:
    over = {name_of(p): lines_of(p) for p in tracked(".py") if lines_of(p) > FILE_STOP}
    assert not over
