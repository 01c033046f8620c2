"""`ringfence organization`: check and apply the organization's file, list its boundaries."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import typer

from ringfence.cli.organization_file import FileError, OrganizationFile
from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    print_json,
    print_table,
)
from ringfence.client import Api, ApiError, route

app = typer.Typer(help="The organization's file: boundaries, accounts, models, groups.")
FILE = typer.Argument(help="the organization's YAML file", metavar="FILE")
PROBLEMS = typer.Option(False, "--json", help="print the result or the problems as JSON")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")


@app.command()
def validate(file: Path = FILE, person: str | None = PERSON, as_json: bool = PROBLEMS) -> None:
    """Check a file against everything the control plane knows; changes nothing."""
    parsed = _open(file)
    _send(connect(person), parsed, apply=False, as_json=as_json)
    if as_json:
        print_json({"problems": []})
    err.print(f"{file}: no problems", markup=False)


@app.command()
def apply(file: Path = FILE, person: str | None = PERSON, as_json: bool = PROBLEMS) -> None:
    """Create or update the organization; on any problem nothing is changed."""
    parsed = _open(file)
    result = _send(connect(person), parsed, apply=True, as_json=as_json)
    names = ", ".join(b["name"] for b in result["boundaries"])
    if as_json:
        print_json(result)
    err.print(f"{file}: applied; boundaries: {names}", markup=False)


@app.command("boundaries")
def boundaries(person: str | None = PERSON, as_json: bool = JSON) -> None:
    """List the security boundaries that you may see."""
    rows = connect(person).get("/v1/boundaries")["boundaries"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "BLUEPRINT", "VERSION", "ID"),
        [(r["name"], r["blueprint"], r["blueprint_version"], r["id"]) for r in rows],
        "no boundaries yet; describe them: ringfence organization apply FILE",
    )


def _open(file: Path) -> OrganizationFile:
    try:
        return OrganizationFile(file)
    except FileError as error:
        raise CommandError(str(error), Exit.USAGE, error.fix) from error


def _send(api: Api, parsed: OrganizationFile, *, apply: bool, as_json: bool) -> dict[str, Any]:
    """Send the file and return the answer. Raises: CommandError with all problems printed."""
    document = parsed.document()
    name = document.get("organization")
    # What cannot be applied is only checked, so that its other problems are reported with it.
    sound = isinstance(name, str) and NAME.fullmatch(name) and not parsed.duplicates
    problems: list[dict[str, str]] = []
    result: dict[str, Any] = {}
    try:
        if apply and sound:
            result = api.put(route("organizations", str(name)), document)
        else:
            result = api.post("/v1/organizations:validate", document)
        problems = result.get("problems") or []
    except ApiError as error:
        problems = error.body.get("problems") or []
        if not problems and not parsed.duplicates:
            raise
        if not problems:
            err.print(f"not checked further: {error}", markup=False)
    if problems or parsed.duplicates:
        _refuse(parsed, problems, as_json)
    return result


def _refuse(parsed: OrganizationFile, problems: list[dict[str, str]], as_json: bool) -> None:
    """Print every problem at its line. Raises: CommandError."""
    placed = [parsed.place(p["path"], p["message"], p["fix"]) for p in problems]
    placed = sorted([*placed, *parsed.duplicates], key=lambda p: p.line)
    if as_json:
        print_json({"problems": [asdict(p) for p in placed]})
    for problem in placed:
        err.print(str(problem), markup=False)
    count = f"{len(placed)} problem{'s' if len(placed) != 1 else ''}"
    raise CommandError(f"{count}; nothing was changed", Exit.USAGE)
