"""`ringfence install`: plan an install of a blueprint into a boundary, and show it."""

from __future__ import annotations

import json
from pathlib import Path

import typer

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

app = typer.Typer(help="Running copies of a blueprint in a boundary.")
INSTALL = typer.Argument(help="id of the install", metavar="INSTALL")


@app.command()
def plan(
    boundary: str = typer.Argument(help="name or id of the security boundary"),
    grant: str = typer.Option(..., help="the active grant"),
    blueprint: str | None = typer.Option(None, help="instead of the organization file's"),
    version: str | None = typer.Option(None, help="instead of the organization file's"),
    inputs: Path | None = typer.Option(None, help="JSON file, instead of the file's inputs"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Start an install: it plans, then waits for somebody else's approval of the plan."""
    try:
        given = json.loads(inputs.read_text()) if inputs else None
    except (OSError, ValueError) as error:
        raise CommandError(f"--inputs: {inputs}: {error}", Exit.USAGE) from error
    body = {
        "boundary": boundary,
        "blueprint": blueprint,
        "version": version,
        "grant_id": grant,
        "inputs": given,
    }
    started = connect(person).post("/v1/installs", body)
    if as_json:
        print_json(started)
    else:
        err.print(f"planning; watch it: ringfence run watch {started['run_id']}")
        typer.echo(started["run_id"])


@app.command("list")
def list_installs(person: str | None = PERSON, as_json: bool = JSON) -> None:
    """List the installs that you may see, with their four status axes."""
    rows = connect(person).get("/v1/installs")["installs"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "LIFECYCLE", "HEALTH", "DRIFT", "ACCESS", "ID"),
        [(r["name"], r["lifecycle"], r["health"], r["drift"], r["access"], r["id"]) for r in rows],
        "no installs yet; start one: ringfence install plan BOUNDARY --grant GRANT",
    )


@app.command()
def show(install: str = INSTALL, person: str | None = PERSON) -> None:
    """Print one install."""
    print_json(connect(person).get(f"/v1/installs/{install}"))
