"""Patterns that must not come back, each with the reason."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, name_of, product_sources, tracked

GRAB_BAGS = {"utils", "util", "helpers", "helper", "common", "manager", "misc"}
EDGES = {
    # The three edges at which anything may be caught: HTTP, task, command line; and their twins
    # in the boundary and the sandbox.
    "controlplane/core/http.py",
    "controlplane/worker_loop.py",
}
PATTERNS: tuple[tuple[str, str], ...] = (
    (r"\b(TODO|FIXME|XXX)\b", "unfinished work belongs into an issue"),
    (r"\bNotImplementedError\b", "no stub is called done"),
    (r"shell\s*=\s*True", "commands are lists, never a shell's text"),
    (r"verify\s*=\s*False", "certificates are always checked"),
    (r"\bpickle\b", "stored state is a documented format"),
    (r"(?<!f)\"arn:aws:", "partitions: aws-us-gov and aws-cn exist"),
    (r"\bdatetime\.(utcnow|utcfromtimestamp)\b", "times are aware"),
    (r"# type: ignore(?!\[)", "say which error is ignored, and why"),
    (r"# noqa(?!: )", "say which rule is waived, and why"),
)
ARN_EXAMPLES = {
    "controlplane/config.py",
    "sandbox/parts.py",
    "sandbox/aws/eks/access.py",
    "sandbox/aws/eks/service.py",
}
"""Where a literal is the sandbox's own account, which is in the partition `aws`."""


def product_text() -> list[tuple[str, str]]:
    return [(name_of(path), path.read_text()) for path in product_sources()]


@pytest.mark.parametrize(("pattern", "reason"), PATTERNS, ids=[p for p, _ in PATTERNS])
def test_a_forbidden_pattern_is_absent(pattern: str, reason: str) -> None:
    allowed = ARN_EXAMPLES if "arn" in pattern else set()
    found = [
        f"{name}:{number}"
        for name, text in product_text()
        if name not in allowed
        for number, line in enumerate(text.splitlines(), start=1)
        if re.search(pattern, line)
    ]
    assert not found, f"{reason}: {found}"


def catches_anything(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return isinstance(handler.type, ast.Name) and handler.type.id in ("Exception", "BaseException")


def raises_again(handler: ast.ExceptHandler) -> bool:
    return any(isinstance(node, ast.Raise) and node.exc is None for node in ast.walk(handler))


def test_anything_is_caught_only_at_the_edges() -> None:
    found = []
    for name, text in product_text():
        lines = text.splitlines()
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ExceptHandler) or not catches_anything(node):
                continue
            is_edge = name in EDGES or "edge:" in lines[node.lineno - 1]
            if not is_edge and not raises_again(node):
                found.append(f"{name}:{node.lineno}")
    assert not found, f"name the error, or mark the edge with `# edge: reason`: {found}"


def test_no_module_is_a_grab_bag() -> None:
    found = [name_of(p) for p in product_sources() if p.stem in GRAB_BAGS]
    assert not found, f"name a module after what it does: {found}"


def test_tests_wait_on_conditions() -> None:
    found = [
        f"{name_of(path)}:{number}"
        for path in tracked(".py")
        if path.relative_to(ROOT).parts[0] == "tests" and path.name != Path(__file__).name
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"pytest\.mark\.(skip|xfail)\(|assert True\b", line)
    ]
    assert not found, f"a test runs and can fail: {found}"


def test_lock_files_name_versions_and_hashes_but_no_index() -> None:
    locks = sorted((ROOT / "requirements").glob("*.lock"))
    assert len(locks) >= 10
    for lock in locks:
        text = lock.read_text()
        assert "--hash=sha256:" in text
        assert not re.search(r"https?://|--(extra-)?index-url|--find-links", text), lock.name


def test_the_tree_names_no_path_of_this_machine() -> None:
    # A short path such as /src may stand in a text for other reasons.
    places = [f"{path}/" for path in (ROOT, Path.home()) if len(str(path)) > len("/src")]
    found = [
        f"{name_of(path)}:{number}"
        for path in tracked(".py", ".md", ".toml", ".yaml", ".json", ".sh", ".mod")
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if any(place in line for place in places)
    ]
    assert not found
