"""`ringfence install`: plan an install of a blueprint into a boundary, show it, remove it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ringfence.cli import drift, restores, updates
from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    print_facts,
    print_json,
    print_table,
    utc,
)
from ringfence.cli.takeover import fetch
from ringfence.client import Api, ApiError, route

app = typer.Typer(help="Running copies of a blueprint in a boundary.")
app.command("takeover")(fetch)
app.add_typer(drift.app, name="drift")
app.command("update")(updates.update)
app.command("apply")(updates.apply)
app.command("restore")(restores.restore)
app.command("snapshots")(restores.snapshots)
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


@app.command()
def destroy(
    install: str = INSTALL,
    grant: str = typer.Option(..., help="the active grant"),
    reason: str = typer.Option(..., help="why; it stands in the plan and in the certificate"),
    purge: bool = typer.Option(
        False, "--purge", help="destroy what an earlier removal retained: the data, for good"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Start a removal: it lists what goes and what stays, then waits for somebody's approval."""
    started = connect(person).post(
        f"{route('installs', install)}/removal",
        {"grant_id": grant, "reason": reason, "purge": purge},
    )
    if as_json:
        print_json(started)
    else:
        err.print(f"listing what goes and what stays: ringfence run plan {started['run_id']}")
        typer.echo(started["run_id"])


@app.command("list")
def list_installs(person: str | None = PERSON, as_json: bool = JSON) -> None:
    """List the installs that you may see, with their four status axes."""
    api = connect(person)
    rows = api.get("/v1/installs")["installs"]
    if as_json:
        print_json(rows)
        return
    names = boundary_names(api) if rows else {}
    print_table(
        ("BOUNDARY", "BLUEPRINT", "LIFECYCLE", "HEALTH", "DRIFT", "ACCESS", "ID"),
        [
            (
                names.get(r["boundary_id"], r["boundary_id"]),
                r["name"],
                *(r[axis] for axis in ("lifecycle", "health", "drift", "access")),
                r["id"],
            )
            for r in rows
        ],
        "no installs yet; start one: ringfence install plan BOUNDARY --grant GRANT",
    )


def boundary_names(api: Api) -> dict[str, str]:
    """Return the names of the boundaries that the caller sees, by id."""
    return {b["id"]: b["name"] for b in api.get("/v1/boundaries")["boundaries"]}


@app.command()
def show(install: str = INSTALL, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Show one install: its status, what it was brought to, and its runs."""
    api = connect(person)
    found = api.get(route("installs", install))
    if as_json:
        print_json(found)
        return
    # The newest may have been asked for and refused.
    newest = found["revisions"][0] if found["revisions"] else {}
    numbered = {r["number"]: r for r in found["revisions"]}
    revision = numbered.get(found["applied_revision"], newest)
    print_facts(
        [
            ("install", found["id"]),
            ("boundary", boundary_names(api).get(found["boundary_id"], found["boundary_id"])),
            ("blueprint", f"{revision.get('blueprint')} {revision.get('blueprint_version')}"),
            *((axis, found[axis]) for axis in ("lifecycle", "health", "drift", "access")),
            ("revision", revision.get("number")),
            ("inputs", json.dumps(revision.get("inputs"), sort_keys=True)),
            ("gateway", _gateway(api, found["boundary_id"])),
            ("grant", revision.get("grant_id")),
            ("retained", " ".join(sorted({r["id"] for r in found["retained"]}))),
            ("created", utc(found["created_at"])),
            ("runs", " ".join(found["run_ids"])),
            ("take-over", _takeover(found)),
        ]
    )


def _takeover(found: dict[str, Any]) -> str:
    """Say how to get the kit; empty while there is nothing to hand over."""
    if found["lifecycle"] not in ("installed", "partial"):
        return ""
    return f"ringfence install takeover {found['id']} --to FOLDER --public-key FILE"


def _gateway(api: Api, boundary: str) -> str:
    """Return the base address for OpenAI clients; empty before an agent has reported one."""
    try:
        url = api.get(f"{route('boundaries', boundary)}/agent")["gateway_url"]
    except ApiError as error:
        if error.status != 404:
            raise
        return ""
    return f"{url}/v1" if url else ""
