"""`ringfence waiver`: crossings of a wall that two people approve, with an end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

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
    utc,
)
from ringfence.client import Api, route

app = typer.Typer(help="Waivers: people of other organizations act here, by two people's word.")
ORGANIZATION = typer.Argument(help="name of the organization", metavar="ORGANIZATION")
WAIVER = typer.Argument(help="id of the waiver", metavar="WAIVER")
REASON = typer.Option(..., "--reason", help="why; it is kept and shown to the auditor")


@app.command("request")
def request_waiver(
    organization: str = ORGANIZATION,
    subject: str = typer.Option(..., help="who is to act here, as the other provider knows them"),
    issuer: str = typer.Option(..., help="the other identity provider, https://…"),
    reason: str = REASON,
    ticket: str | None = typer.Option(None, help="where it was discussed"),
    boundary: str | None = typer.Option(
        None, help="the one boundary that it opens; the whole organization by default"
    ),
    days: int = typer.Option(30, "--days", min=1, max=90, help="how long it lasts from now"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Ask that a person of another organization may act here; two others decide."""
    body = {
        "subject": subject,
        "issuer": issuer,
        "reason": reason,
        "ticket": ticket,
        "boundary": boundary,
        "ends_at": (datetime.now(UTC) + timedelta(days=days)).isoformat(timespec="seconds"),
    }
    made = connect(person).post(_path(organization), body)
    if as_json:
        print_json(made)
        return
    err.print(
        "requested; two other people of the organization approve it:"
        f" ringfence waiver approve {organization} {made['id']}"
    )
    typer.echo(made["id"])


@app.command("list")
def list_waivers(
    organization: str = ORGANIZATION, person: str | None = PERSON, as_json: bool = JSON
) -> None:
    """List who may cross the organization's walls, could, or asks to; newest first."""
    rows = connect(person).get(_path(organization))["waivers"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("STATE", "WHO", "WHERE", "FROM", "UNTIL", "APPROVED BY", "REASON", "TICKET", "ID"),
        [
            (
                r["state"],
                r["person"]["subject"],
                r["boundary"] or "organization",
                utc(r["starts_at"]),
                utc(r["ends_at"]),
                ", ".join(a["by"]["subject"] for a in r["approvals"]),
                r["reason"],
                r["ticket"],
                r["id"],
            )
            for r in rows
        ],
        f"no waivers; ask for one: ringfence waiver request {organization} --subject S --issuer I",
    )


@app.command("approve")
def approve_waiver(
    organization: str = ORGANIZATION,
    waiver: str = WAIVER,
    reason: str = REASON,
    digest: str | None = typer.Option(
        None, help="approve only terms with this digest; by default the terms that are printed"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Give one of the two approvals: not as who asked or crosses, and not twice."""
    api = connect(person)
    terms = _find(api, organization, waiver)
    err.print(_sentence(terms), markup=False)
    body = {"digest": digest or terms["digest"], "reason": reason}
    decided = api.post(f"{_path(organization, waiver)}/approve", body)
    if as_json:
        print_json(decided)
    given, needed = len(decided["approvals"]), decided["approvals_needed"]
    after = "" if given >= needed else "; it gives nothing before another person approves it too"
    err.print(f"approved, {given} of {needed}; it is {decided['state']}{after}", markup=False)


@app.command("deny")
def deny_waiver(
    organization: str = ORGANIZATION,
    waiver: str = WAIVER,
    reason: str = REASON,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Refuse a waiver that somebody else asked for."""
    decided = connect(person).post(f"{_path(organization, waiver)}/deny", {"reason": reason})
    if as_json:
        print_json(decided)
    err.print("denied")


@app.command("revoke")
def revoke_waiver(
    organization: str = ORGANIZATION,
    waiver: str = WAIVER,
    reason: str = REASON,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """End a waiver now; the guest's roles, tokens and gateway keys here end with it."""
    decided = connect(person).post(f"{_path(organization, waiver)}/revoke", {"reason": reason})
    if as_json:
        print_json(decided)
    err.print("revoked")


def _path(organization: str, waiver: str | None = None) -> str:
    below = ("waivers",) if waiver is None else ("waivers", waiver)
    return route("organizations", organization, *below)


def _find(api: Api, organization: str, waiver: str) -> dict[str, Any]:
    for row in api.get(_path(organization))["waivers"]:
        if row["id"] == waiver:
            found: dict[str, Any] = row
            return found
    raise CommandError(
        f"there is no waiver {waiver}",
        Exit.USAGE,
        f"list them: ringfence waiver list {organization}",
    )


def _sentence(terms: dict[str, Any]) -> str:
    where = f"boundary {terms['boundary']}" if terms["boundary"] else "the whole organization"
    ticket = f", ticket {terms['ticket']}" if terms["ticket"] else ""
    return (
        f"{terms['person']['subject']} of {terms['issuer']} may act in {where},"
        f" {utc(terms['starts_at'])} to {utc(terms['ends_at'])}: {terms['reason']}{ticket}"
        f" ({terms['digest']})"
    )
