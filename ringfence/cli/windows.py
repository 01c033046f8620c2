"""`ringfence window`: when runs may change a boundary, and overrides by two people."""

from __future__ import annotations

from typing import Any

import typer

from ringfence.cli.output import (
    JSON,
    PERSON,
    connect,
    err,
    out,
    print_facts,
    print_json,
    print_table,
    utc,
)
from ringfence.client import route

app = typer.Typer(help="When runs may change a boundary: weekly maintenance windows.")
BOUNDARY = typer.Argument(help="name of the boundary", metavar="BOUNDARY")
WINDOWS = typer.Option(
    [],
    "--window",
    metavar="'DAYS HH:MM MINUTES ZONE'",
    help="for example 'sat,sun 22:00 240 Europe/Berlin'; give it once per window",
)


@app.command()
def show(boundary: str = BOUNDARY, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Show a boundary's windows, and whether runs may change it now."""
    _print(connect(person).get(route("boundaries", boundary, "windows")), as_json)


@app.command(name="set")
def set_windows(
    boundary: str = BOUNDARY,
    windows: list[str] = WINDOWS,
    always: bool = typer.Option(False, "--always", help="no windows: at any time"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Set all windows of a boundary; outside them a run waits before its next effect."""
    if always == bool(windows):
        raise typer.BadParameter("say either --window, once or more, or --always")
    body = {"windows": [_window(text) for text in windows]}
    _print(connect(person).put(route("boundaries", boundary, "windows"), body), as_json)


@app.command()
def override(
    boundary: str = BOUNDARY,
    minutes: int = typer.Option(..., min=15, max=1440, help="how long, from the approval on"),
    reason: str = typer.Option(..., "--reason", help="why it cannot wait; the approver reads it"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Ask for a time outside the windows; it begins when somebody else approves it."""
    body = {"minutes": minutes, "reason": reason}
    found = connect(person).post(route("boundaries", boundary, "window-overrides"), body)
    _print(found, as_json)
    asked = found["requested"][-1]["id"]
    err.print(f"asked; as another person: ringfence window approve {boundary} {asked} --as PERSON")


@app.command()
def approve(
    boundary: str = BOUNDARY,
    override_id: str = typer.Argument(help="id of the override", metavar="OVERRIDE"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Put an override in force that somebody else asked for."""
    path = f"{route('boundaries', boundary, 'window-overrides', override_id)}/approve"
    _print(connect(person).post(path), as_json)


def _window(text: str) -> dict[str, Any]:
    parts = text.split()
    if len(parts) != 4 or not parts[2].isdigit():
        raise typer.BadParameter(
            f"--window {text!r}: write it as 'sat,sun 22:00 240 Europe/Berlin'"
        )
    days, starts, minutes, zone = parts
    return {"days": days.split(","), "starts": starts, "minutes": int(minutes), "zone": zone}


def _print(found: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    in_force = found["override"]
    print_facts(
        [
            ("runs may change it", "yes" if found["is_open"] else "no"),
            ("until", utc(found["until"])),
            ("override", "" if in_force is None else in_force["reason"]),
        ]
    )
    out.print()
    print_table(
        ("DAYS", "STARTS", "MINUTES", "ZONE"),
        [
            (", ".join(w["days"]), w["starts"], str(w["minutes"]), w["zone"])
            for w in found["windows"]
        ],
        "no windows: runs may change the boundary at any time;"
        " set one: ringfence window set BOUNDARY --window 'sat,sun 22:00 240 Europe/Berlin'",
    )
    if found["requested"]:
        out.print()
        print_table(
            ("OVERRIDE", "ASKED", "MINUTES", "REASON"),
            [
                (o["id"], utc(o["requested_at"]), str(o["minutes"]), o["reason"])
                for o in found["requested"]
            ],
            "",
        )
