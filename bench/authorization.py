"""Measure what a decision costs: `python -m bench.authorization [--json FILE]`.

Three ways to the same answer: looking a role up in the route table alone (what there was before
policies; it knows no forbid and no layer), the policies with the caller's entities kept from the
request before, and the policies for a caller who was never seen. Microseconds; no database.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from uuid import UUID

from controlplane.domains.identity import decision
from controlplane.domains.identity.decision import Asker, Place
from controlplane.domains.identity.principals import HeldRole
from controlplane.domains.identity.route_table import find_rule

METHOD, PATH = "GET", "/v1/boundaries/{boundary}/grants"
ACME, PAYMENTS = UUID(int=1), UUID(int=2)
HELD = HeldRole(ACME, "acme", PAYMENTS, "boundary-admin", False)
PLACES = [Place(ACME), Place(ACME, PAYMENTS)]


def role_table() -> None:
    """Decide as before: is one of the held roles in the route's set?"""
    rule = find_rule(METHOD, PATH)
    assert rule is not None
    assert [r for r in (HELD,) if r.role in rule.roles]


def known_caller() -> None:
    """Decide by policies for the caller of the request before."""
    whole, own = decision.decide(Asker("bea", "human", ACME, (HELD,)), f"{METHOD} {PATH}", PLACES)
    assert own.is_allowed
    assert not whole.is_allowed


def new_caller(number: int) -> None:
    """Decide by policies for a caller whose entities are not kept."""
    asker = Asker(f"person-{number}", "human", ACME, (HELD,))
    assert decision.decide(asker, f"{METHOD} {PATH}", PLACES)[1].is_allowed


def microseconds(call: Callable[[int], None], count: int) -> dict[str, float]:
    """Return median and 99th percentile of `count` calls."""
    taken = []
    for number in range(count):
        started = time.perf_counter()
        call(number)
        taken.append((time.perf_counter() - started) * 1e6)
    return {
        "median": round(statistics.median(taken), 1),
        "p99": round(statistics.quantiles(taken, n=100)[98], 1),
    }


def main() -> int:
    """Print the measurements, and write them where `--json` says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--count", type=int, default=2000)
    asked = parser.parse_args()
    decision.engine()
    measured = {
        "unit": "microseconds for one route: the organization and one boundary of it",
        "role table": microseconds(lambda _: role_table(), asked.count),
        "policies, known caller": microseconds(lambda _: known_caller(), asked.count),
        "policies, new caller": microseconds(new_caller, asked.count),
    }
    text = json.dumps(measured, indent=2)
    if asked.json:
        asked.json.parent.mkdir(parents=True, exist_ok=True)
        asked.json.write_text(text + "\n")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
