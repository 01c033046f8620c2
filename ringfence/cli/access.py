"""`ringfence connect` and `ringfence grant`: the one role, its proof, and time-boxed grants."""

from __future__ import annotations

import time
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
)
from ringfence.client import Api

connect_app = typer.Typer(help="The customer's account: template of the one role, and its proof.")
grant_app = typer.Typer(help="Time-boxed permission to use a connection.")
BOUNDARY = typer.Argument(help="name or id of the security boundary", metavar="BOUNDARY")
GRANT = typer.Argument(help="id of the grant", metavar="GRANT")
REASON = typer.Option(..., "--reason", help="why; it is kept and shown to the auditor")
VERIFY_SECONDS = 120.0


@connect_app.command()
def template(boundary: str = BOUNDARY, person: str | None = PERSON) -> None:
    """Print the CloudFormation template that creates the one role, for the customer."""
    api = connect(person)
    connection = api.get(f"/v1/boundaries/{boundary}/connection")
    print_json(api.get(f"/v1/connections/{connection['id']}/template"))


@connect_app.command()
def verify(
    boundary: str = BOUNDARY,
    expect: str = typer.Option("closed", help="closed, or open after the customer's stack update"),
    grant: str | None = typer.Option(None, help="the grant that the opening belongs to"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Prove who can assume the role: with our External ID, none, a wrong one, a foreign one."""
    if expect not in ("closed", "open"):
        raise CommandError(f"--expect: {expect} is neither closed nor open", Exit.USAGE)
    api = connect(person)
    connection = api.get(f"/v1/boundaries/{boundary}/connection")
    result = run_verification(api, connection["id"], expect, grant)
    if as_json:
        print_json(result)
    else:
        print_table(
            ("EXTERNAL ID", "ASSUME ROLE", "ERROR"),
            [
                (a["external_id"], "allowed" if a["allowed"] else "denied", a.get("error_code"))
                for a in result["attempts"]
            ],
            "nothing was tried",
        )
    if not result["passed"]:
        raise CommandError(f"the role is not {expect} as it must be", Exit.BLOCKED)


def run_verification(api: Api, connection: str, expect: str, grant: str | None) -> dict[str, Any]:
    """Start a verification and wait for its end. Raises: CommandError after two minutes."""
    started = api.post(
        f"/v1/connections/{connection}/verifications", {"expect": expect, "grant_id": grant}
    )
    deadline = time.monotonic() + VERIFY_SECONDS
    while time.monotonic() < deadline:
        result: dict[str, Any] = api.get(f"/v1/verifications/{started['id']}")
        if result["state"] in ("passed", "failed"):
            return result
        time.sleep(0.3)
    raise CommandError("the verification did not end in time; is the worker up?", Exit.TIMED_OUT)


@grant_app.command("request")
def request(
    boundary: str = BOUNDARY,
    purpose: str = typer.Option(..., help="what the access is for"),
    reason: str = REASON,
    hours: float = typer.Option(1.0, min=0.1, max=12.0, help="how long, at most 12"),
    ticket: str | None = typer.Option(None, help="the customer's ticket"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Ask for a grant; somebody else must approve it."""
    body = {
        "purpose": purpose,
        "reason": reason,
        "duration_seconds": int(hours * 3600),
        "ticket": ticket,
    }
    grant = connect(person).post(f"/v1/boundaries/{boundary}/grants", body)
    if as_json:
        print_json(grant)
    else:
        err.print(f"requested; approve it as another person: ringfence grant approve {grant['id']}")
        typer.echo(grant["id"])


@grant_app.command()
def approve(grant: str = GRANT, reason: str = REASON, person: str | None = PERSON) -> None:
    """Approve a grant that somebody else requested."""
    connect(person).post(f"/v1/grants/{grant}/approve", {"reason": reason})
    err.print("approved; it becomes active once the customer's stack update opens the role")


@grant_app.command()
def deny(grant: str = GRANT, reason: str = REASON, person: str | None = PERSON) -> None:
    """Deny a grant."""
    connect(person).post(f"/v1/grants/{grant}/deny", {"reason": reason})
    err.print("denied")


@grant_app.command()
def show(grant: str = GRANT, person: str | None = PERSON) -> None:
    """Print one grant."""
    print_json(connect(person).get(f"/v1/grants/{grant}"))
