"""`ringfence connect` and `ringfence grant`: the one role, its proof, and time-boxed grants."""

from __future__ import annotations

import time
from enum import StrEnum
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
from ringfence.cli.permission_diff import in_figures, print_diff
from ringfence.client import Api, route

connect_app = typer.Typer(help="The customer's account: template of the one role, and its proof.")
grant_app = typer.Typer(help="Time-boxed permission to use a connection.")
BOUNDARY = typer.Argument(help="name or id of the security boundary", metavar="BOUNDARY")
GRANT = typer.Argument(help="id of the grant", metavar="GRANT")
REASON = typer.Option(..., "--reason", help="why; it is kept and shown to the auditor")
VERIFY_SECONDS = 120.0


class Expect(StrEnum):
    """What a verification is to find."""

    CLOSED = "closed"
    OPEN = "open"


class Part(StrEnum):
    """What of the template's document is printed."""

    ALL = "all"
    TEMPLATE = "template"
    PARAMETERS = "parameters"


@connect_app.command()
def template(
    boundary: str = BOUNDARY,
    part: Part = typer.Option(
        Part.ALL, help="everything, or one of the two files that `aws cloudformation` takes"
    ),
    person: str | None = PERSON,
) -> None:
    """Print the stack that creates the one role, as JSON, for the customer.

    The parameters are those of the next stack operation: closed, or of the approved grant.
    """
    api = connect(person)
    connection = api.get(f"{route('boundaries', boundary)}/connection")
    document = api.get(f"{route('connections', connection['id'])}/template")
    if part is Part.TEMPLATE:
        print_json(document["template"])
    elif part is Part.PARAMETERS:
        print_json(_stack_parameters(document["parameters"]))
    else:
        print_json(document)


def _stack_parameters(parameters: dict[str, str]) -> list[dict[str, str]]:
    return [{"ParameterKey": k, "ParameterValue": v} for k, v in sorted(parameters.items())]


@connect_app.command()
def verify(
    boundary: str = BOUNDARY,
    expect: Expect = typer.Option(
        Expect.CLOSED, help="what the role must be; open after the customer's stack update"
    ),
    grant: str | None = typer.Option(
        None, help="id of the grant that the opening belongs to; needed for open"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Prove who can assume the role: with our External ID, none, a wrong one, a foreign one."""
    if expect is Expect.OPEN and grant is None:
        raise CommandError(
            "--grant: an open role is probed for one grant",
            Exit.USAGE,
            f"find its id: ringfence grant list {boundary}",
        )
    api = connect(person)
    connection = api.get(f"{route('boundaries', boundary)}/connection")
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
        raise CommandError(
            f"the role is not {expect} as it must be",
            Exit.BLOCKED,
            f"let the customer apply the stack as it stands: ringfence connect template {boundary}",
        )


def run_verification(api: Api, connection: str, expect: str, grant: str | None) -> dict[str, Any]:
    """Start a verification and wait for its end. Raises: CommandError after two minutes."""
    started = api.post(
        f"{route('connections', connection)}/verifications", {"expect": expect, "grant_id": grant}
    )
    deadline = time.monotonic() + VERIFY_SECONDS
    while time.monotonic() < deadline:
        result: dict[str, Any] = api.get(route("verifications", started["id"]))
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
    grant = connect(person).post(f"{route('boundaries', boundary)}/grants", body)
    if as_json:
        print_json(grant)
    else:
        err.print(f"requested; approve it as another person: ringfence grant approve {grant['id']}")
        typer.echo(grant["id"])


@grant_app.command()
def approve(
    grant: str = GRANT, reason: str = REASON, person: str | None = PERSON, as_json: bool = JSON
) -> None:
    """Approve a grant that somebody else requested: exactly what `show --diff` shows now."""
    api = connect(person)
    asked = api.get(f"{route('grants', grant)}/permissions")
    decided = api.post(
        f"{route('grants', grant)}/approve", {"reason": reason, "policy_digest": asked["digest"]}
    )
    _show_decision(decided, as_json)
    err.print(in_figures(asked), markup=False)
    err.print("approved; it becomes active once the customer's stack update opens the role:")
    for name, value in sorted(decided["stack_parameters"].items()):
        err.print(f"  {name}={value}", markup=False)


@grant_app.command()
def deny(
    grant: str = GRANT, reason: str = REASON, person: str | None = PERSON, as_json: bool = JSON
) -> None:
    """Deny a grant that somebody else requested."""
    decided = connect(person).post(f"{route('grants', grant)}/deny", {"reason": reason})
    _show_decision(decided, as_json)
    err.print("denied")


@grant_app.command()
def revoke(
    grant: str = GRANT, reason: str = REASON, person: str | None = PERSON, as_json: bool = JSON
) -> None:
    """End a grant before its time: from now on no session is asked for under it."""
    decided = connect(person).post(f"{route('grants', grant)}/revoke", {"reason": reason})
    _show_decision(decided, as_json)
    err.print("revoked; the customer closes the role for good with a stack update to GrantNumber=0")


def _show_decision(grant: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(grant)


@grant_app.command("list")
def list_grants(
    boundary: str = BOUNDARY, person: str | None = PERSON, as_json: bool = JSON
) -> None:
    """List a boundary's grants, newest first."""
    rows = connect(person).get(f"{route('boundaries', boundary)}/grants")["grants"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NUMBER", "STATE", "UNTIL", "REQUESTED BY", "DECIDED BY", "PURPOSE", "ID"),
        [
            (
                r["number"],
                r["state"],
                utc(r["grant_until"]),
                r["requested_by"]["subject"],
                _subject(r["decided_by"]),
                r["purpose"],
                r["id"],
            )
            for r in rows
        ],
        f"no grants yet; ask for one: ringfence grant request {boundary} --purpose P --reason R",
    )


def _subject(person: dict[str, Any] | None) -> str:
    return str(person["subject"]) if person else ""


@grant_app.command()
def show(
    grant: str = GRANT,
    diff: bool = typer.Option(
        False, "--diff", help="what it asks for, line by line, beside what was open last"
    ),
    unchanged: bool = typer.Option(
        False, "--unchanged", help="with --diff: also the lines that are as they were"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Show one grant: who asked, who decided, until when, and what opens the role."""
    if unchanged and not diff:
        raise CommandError(
            "--unchanged: there is nothing to compare without --diff", Exit.USAGE, "add --diff"
        )
    if diff:
        asked = connect(person).get(f"{route('grants', grant)}/permissions")
        if as_json:
            print_json(asked)
        else:
            print_diff(asked, whole=unchanged)
        return
    found = connect(person).get(route("grants", grant))
    if as_json:
        print_json(found)
        return
    print_facts(
        [
            ("grant", found["id"]),
            ("state", found["state"]),
            ("role", found["role_name"]),
            ("purpose", found["purpose"]),
            ("reason", found["reason"]),
            ("ticket", found["ticket"]),
            ("requested", f"{_subject(found['requested_by'])}, {utc(found['requested_at'])}"),
            ("decided", _decision(found)),
            ("until", utc(found["grant_until"])),
            ("active since", utc(found["activated_at"])),
            ("ended", _end(found)),
            ("policy", found["policy_digest"]),
            ("stack sets", " ".join(f"{k}={v}" for k, v in found["stack_parameters"].items())),
        ]
    )


def _decision(grant: dict[str, Any]) -> str:
    if grant["decided_by"] is None:
        return "not yet"
    reason = f": {grant['decision_reason']}" if grant["decision_reason"] else ""
    return f"{_subject(grant['decided_by'])}, {utc(grant['decided_at'])}{reason}"


def _end(grant: dict[str, Any]) -> str:
    by = f", closed by {grant['closed_by']}" if grant["closed_by"] else ""
    return f"{utc(grant['ended_at'])}{by}" if grant["ended_at"] else ""
