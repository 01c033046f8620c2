"""`ringfence access explain`: what decides on access, for auditors and administrators."""

from __future__ import annotations

from typing import Any

import typer

from ringfence.cli.output import JSON, PERSON, connect, print_facts, print_json, utc
from ringfence.client import route

app = typer.Typer(help="Who may do what, and which policy at which layer decides it.")


@app.callback()
def group() -> None:
    """Keep `explain` a command of its own while it is the only one."""


@app.command()
def explain(
    subject: str = typer.Argument(help="whose access", metavar="SUBJECT"),
    method: str = typer.Argument(help="GET, POST, PUT", metavar="METHOD"),
    path: str = typer.Argument(help="a route, or a path it matches", metavar="PATH"),
    boundary: str | None = typer.Option(None, help="name of the security boundary"),
    issuer: str | None = typer.Option(None, help="identity provider, where several have SUBJECT"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Say whether somebody may use a route; the answer is that of a real request.

    The routes are listed in docs/reference/authorization.md.
    """
    body = {
        "subject": subject,
        "method": method.upper(),
        "path": path,
        "boundary": boundary,
        "issuer": issuer,
    }
    found = connect(person).post(route("access", "explain"), body)
    if as_json:
        print_json(found)
        return
    policies = ", ".join(p["id"] for p in found["policies"])
    reasons = dict.fromkeys(p["message"] for p in found["policies"] if p["message"])
    print_facts(
        [
            ("who", f"{found['person']['display']} ({found['person']['subject']})"),
            ("route", found["route"]),
            ("boundary", boundary),
            ("roles", ", ".join(dict.fromkeys(_held(r) for r in found["roles"]))),
            ("decision", "allowed" if found["allowed"] else f"denied ({found['status']})"),
            ("layer", found["deciding_layer"]),
            ("policy", policies or "none permits it"),
            ("because", "; ".join(reasons)),
            ("waiver", _waiver(found["waiver"])),
        ]
    )


def _waiver(waiver: dict[str, Any] | None) -> str:
    """Return the waiver of a guest in one line; empty for the organization's own people."""
    if waiver is None:
        return ""
    approved = ", ".join(p["subject"] for p in waiver["approved_by"]) or "nobody yet"
    return (
        f"{waiver['id']}, {waiver['state']}, approved by {approved},"
        f" {utc(waiver['starts_at'])} to {utc(waiver['ends_at'])}"
    )


def _held(role: dict[str, object]) -> str:
    where = "in a boundary" if role["boundary_id"] else "everywhere"
    return f"{role['role']} {where}" + (", no waiver in force" if role["pending_guest"] else "")
