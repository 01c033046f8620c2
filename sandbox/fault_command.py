"""`ringfence faults`: what goes wrong on purpose in the rehearsal account.

Registered by `cli.py`. Separate because it writes a file of the run folder and needs no process:
the account reads the file at its next call.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import typer
from rich.console import Console

from sandbox.aws.faults.plan import (
    PLAN_FILE,
    FaultPlan,
    FaultPlanError,
    Rule,
    clear_plan,
    parse_plan,
    struck,
    write_plan,
)
from sandbox.home import Home


def faults(
    set_: Path | None = typer.Option(
        None, "--set", metavar="FILE", help="put this fault plan (JSON) in force"
    ),
    clear: bool = typer.Option(False, "--clear", help="take the fault plan out of force"),
) -> None:
    """Show, set or clear the faults that the emulated AWS account plays (rehearsal only)."""
    run_dir = Home.current().run
    if set_ is not None and clear:
        _say("error: give --set or --clear, not both", style="red")
        raise typer.Exit(2)
    try:
        if clear:
            there = clear_plan(run_dir)
            _say("rehearsal: no faults are in force" if there else "no faults were in force")
            return
        if set_ is not None:
            if not run_dir.is_dir():
                _say("error: there is no sandbox; start it: ringfence up", style="red")
                raise typer.Exit(1)
            write_plan(run_dir, parse_plan(_text(set_), str(set_)))
        path = run_dir / PLAN_FILE
        if not path.exists():
            _say("rehearsal: no faults are in force; put some: ringfence faults --set FILE")
            return
        _show(parse_plan(path.read_text(), str(path)), run_dir)
    except FaultPlanError as error:
        _say(f"error: {error}", style="red", markup=False)
        raise typer.Exit(2) from error


def _say(text: str, **style: Any) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(text, **style)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError as error:
        raise FaultPlanError(f"{path}: cannot be read ({error.strerror})") from error


def _show(plan: FaultPlan, run_dir: Path) -> None:
    """Print one line per rule, with how often it has struck since it was put in force."""
    counts = Counter(entry["rule"] for entry in struck(run_dir))
    _say(f"rehearsal: {len(plan.rules)} fault(s) in force, seed {plan.seed}")
    for number, rule in enumerate(plan.rules):
        target = f"{rule.service}:{rule.operation}"
        typer.echo(f"{rule.kind:<20} {target:<28} {_when(rule):<22} struck {counts[number]}x")


def _when(rule: Rule) -> str:
    if rule.every:
        return "every call"
    if rule.call is not None:
        return f"call {rule.call}"
    return f"probability {rule.probability:g}"
