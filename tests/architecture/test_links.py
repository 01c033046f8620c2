"""Every page's links to other pages lead somewhere, and an index names a page once."""

import re
from pathlib import Path

import pytest

from tests.architecture.sources import ROOT, name_of, tracked

PAGES = [path for path in tracked(".md") if "node_modules" not in path.parts]
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
CODE = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)


def links_of(page: Path) -> list[str]:
    """Return the targets of a page's links, without those in code and those to other hosts."""
    found = LINK.findall(CODE.sub("", page.read_text()))
    return [target for target in found if not re.match(r"[a-z]+:", target)]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file(page: Path) -> None:
    assert [t for t in links_of(page) if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", ["docs/README.md", "docs/adr/README.md"])
def test_an_index_names_each_page_once(page: str) -> None:
    rows = [line for line in (ROOT / page).read_text().splitlines() if line.startswith("| [")]
    named = [links_of_row[0] for row in rows if (links_of_row := LINK.findall(row))]
    assert len(named) == len(set(named))


def test_the_index_of_decisions_names_every_decision() -> None:
    folder = ROOT / "docs" / "adr"
    named = set(links_of(folder / "README.md"))
    assert {p.name for p in folder.glob("0*.md")} == named
