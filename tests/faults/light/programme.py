"""Play many schedules on several cells side by side, and write the report.

Used by the tests of this folder; `python -m tests.faults.light` plays single schedules by hand. A
schedule that fails is shrunk on the cell that found it, and printed so that it can be played again.
"""

from __future__ import annotations

import itertools
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults.light.bugs import BUGS
from tests.faults.light.cell import LEASE_SECONDS, SLOTS, WORKERS, Cell
from tests.faults.light.oracle import INVARIANTS
from tests.faults.light.play import Result, minimal, play
from tests.faults.light.schedule import FAULTS, IN_PROGRAMS, Schedule

SHRINKS = 3
"""Failing schedules that one call shrinks; the others are printed as they are."""


@dataclass(frozen=True)
class Failure:
    """A schedule that failed, and the smallest one found that still does."""

    result: Result
    smallest: Result

    def __str__(self) -> str:
        lines = [f"schedule {self.result.schedule.name} failed:"]
        lines += [f"  {violation}" for violation in self.result.violations]
        lines += [f"play it again: python -m tests.faults.light '{self.result.schedule.to_json()}'"]
        if self.smallest is not self.result:
            lines += [f"smallest: '{self.smallest.schedule.to_json()}'"]
            lines += [f"  {violation}" for violation in self.smallest.violations]
        return "\n".join(lines)


@dataclass
class Report:
    """Everything that was played, by section."""

    sections: dict[str, list[Result]] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    bugs: dict[str, dict[str, Any]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the figures."""
        results = [result for section in self.sections.values() for result in section]
        fired: Counter[str] = Counter()
        injected: Counter[str] = Counter()
        failed: Counter[str] = Counter()
        violated: Counter[str] = Counter()
        for result in results:
            kinds = {*result.fired, *result.schedule.scripted()}
            injected.update(result.fired)
            fired.update(kinds)
            if result.violations:
                failed.update(kinds)
            violated.update(v.invariant for v in result.violations)
        return {
            "cores": os.cpu_count(),
            "lease_seconds": LEASE_SECONDS,
            "workers_per_cell": WORKERS,
            "runs_in_flight_per_worker": SLOTS,
            "schedules": len(results),
            "runs": sum(len(r.schedule.kinds) for r in results),
            "operations": sum(r.steps for r in results),
            "kills": sum(r.kills for r in results),
            "failed_schedules": sum(bool(r.violations) for r in results),
            "seconds": {name: round(value, 1) for name, value in self.seconds.items()},
            "sections": {
                name: {
                    "schedules": len(section),
                    "runs": sum(len(r.schedule.kinds) for r in section),
                    "operations": sum(r.steps for r in section),
                    "kills": sum(r.kills for r in section),
                    "failed_schedules": sum(bool(r.violations) for r in section),
                }
                for name, section in self.sections.items()
            },
            "faults": {
                kind: {
                    "says": says,
                    "injected": None if kind in IN_PROGRAMS else injected[kind],
                    "schedules": fired[kind],
                    "failed": failed[kind],
                }
                for kind, says in FAULTS.items()
            },
            "invariants": {
                name: {"says": says, "violations": violated[name]}
                for name, says in INVARIANTS.items()
            },
            "bugs": self.bugs,
            "failures": [str(failure) for failure in self.failures],
        }

    def write(self, folder: Path) -> None:
        """Write `report.json` and `report.md`."""
        folder.mkdir(parents=True, exist_ok=True)
        document = self.document()
        (folder / "report.json").write_text(json.dumps(document, indent=2) + "\n")
        (folder / "report.md").write_text(_markdown(document))


def _markdown(document: dict[str, Any]) -> str:
    def row(*cells: object) -> str:
        return "| " + " | ".join(str(cell) for cell in cells) + " |"

    lines = [
        "# Fault programme of the run engine",
        "",
        f"{document['failed_schedules']} failures in {document['schedules']} schedules with "
        f"{document['runs']} runs, {document['operations']} operations and {document['kills']} "
        f"kills of a worker; {document['cores']} cores, leases of {document['lease_seconds']} s.",
        "",
        row("part", "schedules", "runs", "operations", "kills", "failed", "seconds"),
        row(*["---"] * 7),
    ]
    for name, part in document["sections"].items():
        lines.append(row(name, *part.values(), document["seconds"].get(name, "")))
    lines += ["", row("fault", "what", "injected", "in schedules", "failed"), row(*["---"] * 5)]
    for kind, fault in document["faults"].items():
        injected = "scripted" if fault["injected"] is None else fault["injected"]
        lines.append(row(kind, fault["says"], injected, fault["schedules"], fault["failed"]))
    lines += ["", row("invariant", "what", f"violations in {document['runs']} runs")]
    lines.append(row(*["---"] * 3))
    for name, invariant in document["invariants"].items():
        lines.append(row(name, invariant["says"], invariant["violations"]))
    if document["bugs"]:
        lines += ["", row("known bug", "what", "caught by", "in schedule")]
        lines.append(row(*["---"] * 4))
    for name, bug in document["bugs"].items():
        lines.append(row(name, bug["says"], ", ".join(bug["caught_by"]), bug["schedule"]))
    for failure in document["failures"]:
        lines += ["", "```", failure, "```"]
    return "\n".join(lines) + "\n"


class Programme:
    """Some cells and what was played on them."""

    def __init__(self, cells: list[Cell]) -> None:
        self.cells = cells
        self.report = Report()

    def play(
        self, section: str, schedules: Iterable[Schedule], until: float | None = None
    ) -> list[Failure]:
        """Play schedules, each once, until they or the time end; return what failed."""
        began = time.monotonic()
        results: list[Result] = []
        failures: list[Failure] = []
        lock = threading.Lock()
        source = iter(schedules)

        def carry_on(cell: Cell) -> None:
            while until is None or time.monotonic() < until:
                with lock:
                    schedule = next(source, None)
                if schedule is None:
                    return
                result = play(cell, schedule)
                with lock:
                    results.append(result)
                    shrinks = bool(result.violations) and len(failures) < SHRINKS
                if result.violations:
                    failure = Failure(result, minimal(cell, result) if shrinks else result)
                    with lock:
                        failures.append(failure)

        with ThreadPoolExecutor(len(self.cells)) as pool:
            for future in [pool.submit(carry_on, cell) for cell in self.cells]:
                future.result()
        self.report.sections[section] = results
        self.report.failures += failures
        self.report.seconds[section] = time.monotonic() - began
        return failures

    def hunt(self, names: list[str], most: int) -> dict[str, list[str]]:
        """Play the schedules of each bug until the oracle catches it; return what else was seen.

        An entry is a bug that was not caught, or whose schedule fails without the bug, too.
        """
        began = time.monotonic()
        missed: dict[str, list[str]] = {}
        left = iter(names)
        lock = threading.Lock()

        def carry_on(cell: Cell) -> None:
            while True:
                with lock:
                    name = next(left, None)
                if name is None:
                    return
                found = self._catch(cell, name, most)
                if found:
                    missed[name] = found

        with ThreadPoolExecutor(len(self.cells)) as pool:
            for future in [pool.submit(carry_on, cell) for cell in self.cells]:
                future.result()
        self.report.seconds["known bugs"] = time.monotonic() - began
        return missed

    def _catch(self, cell: Cell, name: str, most: int) -> list[str]:
        bug = BUGS[name]
        seen: list[str] = []
        for number in range(most):
            result = play(cell, bug.schedule(number, is_on=True))
            invariants = {v.invariant for v in result.violations}
            seen += [str(violation) for violation in result.violations]
            if invariants & bug.caught_by:
                self.report.bugs[name] = {
                    "says": bug.says,
                    "caught_by": sorted(invariants),
                    "schedule": number + 1,
                    "example": next(
                        str(v) for v in result.violations if v.invariant in bug.caught_by
                    ),
                }
                without = play(cell, bug.schedule(number, is_on=False))
                return [f"without the bug: {violation}" for violation in without.violations]
        return [f"not caught in {most} schedules; seen: {seen[:5]}"]


@contextmanager
def open_programme(folder: Path, cells: int) -> Iterator[Programme]:
    """Open a programme on that many cells, started side by side."""
    with ThreadPoolExecutor(cells) as pool:
        opened = list(pool.map(Cell, [folder / f"cell-{number}" for number in range(cells)]))
    try:
        yield Programme(opened)
    finally:
        for cell in opened:
            cell.close()


def numbers(first: int = 0) -> Iterator[int]:
    """Return the seeds of the random schedules, without an end."""
    return itertools.count(first)
