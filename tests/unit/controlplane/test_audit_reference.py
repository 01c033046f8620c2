"""Audit codes: what the sources write is documented, and what is documented is written."""

from __future__ import annotations

import re

from controlplane.audit_reference import PAGE, problems_of, render
from controlplane.core.audit_codes import CODES
from controlplane.core.audit_facts import FACTS, OCSF_CLASSES
from tests.architecture.sources import name_of, product_sources

TABLES = {"controlplane/core/audit_codes.py", "controlplane/core/audit_facts.py"}


def written_in_sources() -> set[str]:
    """Return every text in the control plane's sources that is an audit code."""
    found: set[str] = set()
    for path in product_sources():
        name = name_of(path)
        if name.startswith("controlplane/") and name not in TABLES:
            found |= set(re.findall(r'"([a-z-]+(?:\.[a-z-]+)?)"', path.read_text()))
    return found & set(CODES)


def test_every_code_has_facts_and_every_fact_a_code() -> None:
    assert problems_of() == []


def test_every_documented_code_is_written_unless_it_is_reserved() -> None:
    reserved = {code for code, facts in FACTS.items() if facts.outcome == "reserved"}
    written = written_in_sources()
    assert set(CODES) - written == reserved, "reserve a code that is not written any more"


def test_the_page_is_what_the_code_says() -> None:
    assert PAGE.read_text() == render()


def test_ids_are_numbered_without_a_gap_and_classes_are_known() -> None:
    # A gap would be a number somebody took away; two streams of work would take one twice.
    assert [f.id for f in FACTS.values()] == [f"RF-{n:04d}" for n in range(1, len(FACTS) + 1)]
    assert {f.ocsf[0] for f in FACTS.values()} <= set(OCSF_CLASSES)
