"""`ringfence organization`: check and apply the organization's file, list its boundaries."""

from __future__ import annotations

from pathlib import Path

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
from ringfence.client import Api, ApiError

app = typer.Typer(help="The organization's file: boundaries, accounts, models, groups.")
FILE = typer.Argument(help="the organization's YAML file", metavar="FILE")


@app.command()
def validate(file: Path = FILE, person: str | None = PERSON) -> None:
    """Check a file against everything the control plane knows; changes nothing."""
    parsed = _open(file)
    _send(connect(person), parsed, apply=False)
    err.print(f"{file}: no problems")


@app.command()
def apply(file: Path = FILE, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Create or update the organization; on any problem nothing is changed."""
    parsed = _open(file)
    result = _send(connect(person), parsed, apply=True)
    if as_json:
        print_json(result)
    else:
        err.print(f"{file}: applied")


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
        raise CommandError(str(error), Exit.USAGE) from error


def _send(api: Api, parsed: OrganizationFile, *, apply: bool) -> dict[str, object]:
    document = parsed.document()
    name = str(document.get("organization") or "unnamed")
    try:
        if apply:
            result: dict[str, object] = api.put(f"/v1/organizations/{name}", document)
        else:
            result = api.post("/v1/organizations:validate", document)
    except ApiError as error:
        problems = error.body.get("problems")
        if not problems:
            raise
        _print_problems(parsed, problems)
        raise CommandError(
            f"{len(problems)} problem{'s' if len(problems) > 1 else ''}; nothing was changed",
            Exit.USAGE,
        ) from error
    if problems := result.get("problems"):
        assert isinstance(problems, list)
        _print_problems(parsed, problems)
        raise CommandError(f"{len(problems)} problems; nothing was changed", Exit.USAGE)
    return result


def _print_problems(parsed: OrganizationFile, problems: list[dict[str, str]]) -> None:
    placed = [parsed.place(p["path"], p["message"], p["fix"]) for p in problems]
    for problem in sorted(placed, key=lambda p: p.line):
        err.print(str(problem), markup=False)
