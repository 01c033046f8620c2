"""`ringfence install`: plan an install of a blueprint into a boundary, and show it."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from ringfence.cli.output import JSON, PERSON, CommandError, Exit, connect, err, print_json

app = typer.Typer(help="Running copies of a blueprint in a boundary.")
INSTALL = typer.Argument(help="id of the install", metavar="INSTALL")


@app.command()
def plan(
    boundary: str = typer.Argument(help="name or id of the security boundary"),
    blueprint: str = typer.Option("eks-model-stack", help="name of the blueprint"),
    version: str = typer.Option("0.1.0", help="its version"),
    grant: str = typer.Option(..., help="the active grant"),
    inputs: Path | None = typer.Option(None, help="JSON file with inputs over the file's own"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Start an install: it plans, then waits for somebody else's approval of the plan."""
    try:
        given = json.loads(inputs.read_text()) if inputs else {}
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


@app.command()
def show(install: str = INSTALL, person: str | None = PERSON) -> None:
    """Print one install."""
    print_json(connect(person).get(f"/v1/installs/{install}"))
