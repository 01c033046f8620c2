"""`ringfence report`: ask for access reports, take them away, hand over the customer's trail."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer

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
from ringfence.cli.report_verify import verify
from ringfence.client import Api, route

app = typer.Typer(help="Who could do what, and what we did: evidence for an auditor.")
REPORT = typer.Argument(help="id of the report", metavar="REPORT")
BOUNDARY = typer.Option(None, "--boundary", help="name or id; left out, the whole organization")
FILES = {"json": "json", "csv": "csv", "pdf": "pdf", "manifest": "manifest.json"}
"""Format -> how its file's name ends."""
WAIT_SECONDS = 300.0
POLL_SECONDS = 0.5


class Kind(StrEnum):
    """The reports that can be made."""

    R1 = "R1"
    R3 = "R3"


@app.command()
def create(
    kind: Kind = typer.Argument(help="R1: who can do what; R3: vendor sessions and bundles"),
    boundary: str | None = BOUNDARY,
    at: str | None = typer.Option(None, "--at", help="R1: the moment asked about; default now"),
    known_at: str | None = typer.Option(
        None, "--known-at", help="R1: as known at this moment; default now"
    ),
    start: str | None = typer.Option(None, "--from", help="R3: first moment"),
    end: str | None = typer.Option(None, "--to", help="R3: last moment; default now"),
    wait: bool = typer.Option(True, help="wait until it is made"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Ask for a report. A moment is a date (2026-11-24) or ISO 8601; without a zone it is UTC."""
    moments = {"at": at, "known_at": known_at, "from": start, "to": end}
    body: dict[str, Any] = {"kind": kind.value, "boundary": boundary}
    body |= {name: _moment(name, text) for name, text in moments.items() if text is not None}
    api = connect(person)
    made = api.post("/v1/reports", body)
    if wait:
        made = _await(api, made)
    _show(made, as_json)


def _moment(option: str, text: str) -> str:
    """Return a moment as the API takes it. Raises: CommandError naming the option."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError as error:
        raise CommandError(
            f"--{option.replace('_', '-')}: {text!r} is not a moment",
            Exit.USAGE,
            "write it as 2026-11-24 or 2026-11-24T17:00:00Z",
        ) from error
    return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).isoformat()


def _await(api: Api, made: dict[str, Any]) -> dict[str, Any]:
    deadline = time.monotonic() + WAIT_SECONDS
    while made["state"] == "queued":
        if time.monotonic() > deadline:
            raise CommandError(
                f"report {made['id']} is not made yet; the worker goes on",
                Exit.TIMED_OUT,
                f"look again: ringfence report show {made['id']}",
            )
        time.sleep(POLL_SECONDS)
        made = api.get(route("reports", made["id"]))
    if made["state"] == "failed":
        raise CommandError(f"report {made['id']} could not be made: {made['error']}")
    return made


@app.command()
def show(report: str = REPORT, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Show where a report stands."""
    _show(connect(person).get(route("reports", report)), as_json)


def _show(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("report", found["id"]),
            ("kind", found["kind"]),
            ("covers", found["boundary"] or "the whole organization"),
            *((name, utc(value)) for name, value in found["parameters"].items()),
            ("state", found["state"]),
            ("error", found["error"]),
            ("rows", found["row_count"]),
            ("findings", found["findings"]),
            ("root", found["root"]),
        ]
    )
    if found["state"] == "ready":
        err.print(f"take it away: ringfence report download {found['id']} FOLDER", markup=False)


@app.command("list")
def list_reports(person: str | None = PERSON, as_json: bool = JSON) -> None:
    """List the reports that you may see, newest first."""
    rows = connect(person).get("/v1/reports")["reports"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("KIND", "COVERS", "STATE", "ROWS", "FINDINGS", "ASKED", "BY", "ID"),
        [
            (
                row["kind"],
                row["boundary"] or "(organization)",
                row["state"],
                row["row_count"],
                row["findings"],
                utc(row["requested_at"]),
                row["requested_by"]["subject"],
                row["id"],
            )
            for row in rows
        ],
        "no reports yet; ask for one: ringfence report create R1",
    )


@app.command()
def download(
    report: str = REPORT,
    folder: Path = typer.Argument(Path(), help="where to put the files"),
    person: str | None = PERSON,
) -> None:
    """Download a report: PDF, CSV, JSON, and the manifest that signs them."""
    api = connect(person)
    found = api.get(route("reports", report))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for form, ending in FILES.items():
            target = folder / f"{found['kind']}-{found['id']}.{ending}"
            api.download(f"{route('reports', report)}/files/{form}", target)
            typer.echo(str(target))
    except OSError as error:
        raise CommandError(f"{folder}: {error.strerror}", Exit.USAGE) from error


@app.command("upload-trail")
def upload_trail(
    files: list[Path] = typer.Argument(help="CloudTrail's files (.json.gz), or folders of them"),
    boundary: str = typer.Option(..., "--boundary", help="name or id of the security boundary"),
    person: str | None = PERSON,
) -> None:
    """Hand over the trail of the boundary's account, for R3 to reconcile.

    The files stay as they lie in the trail's bucket: unchanged, and under their own names.
    """
    api, path = connect(person), f"{route('boundaries', boundary)}/trail-extracts"
    found = [one for given in files for one in _trail_files(given)]
    events = 0
    for file in found:
        try:
            data = file.read_bytes()
        except OSError as error:
            raise CommandError(f"{file}: {error.strerror}", Exit.USAGE) from error
        events += api.post_gzip(path, data, name=file.name)["events"]
    err.print(f"handed over {len(found)} files with {events} events", markup=False)


def _trail_files(given: Path) -> list[Path]:
    if not given.is_dir():
        return [given]
    found = sorted(given.rglob("*_CloudTrail_*.json.gz"))
    if not found:
        raise CommandError(f"{given} holds no CloudTrail files", Exit.USAGE)
    return found


app.command("verify")(verify)
