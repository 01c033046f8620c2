"""`ringfence install drift`: compare the account with the state, show and accept what differs."""

from __future__ import annotations

import typer

from ringfence.cli.output import JSON, PERSON, connect, err, out, print_json, print_table, utc
from ringfence.cli.updates import DETAILED, GRANT, PATIENCE, WAIT, start
from ringfence.client import route

app = typer.Typer(help="What was changed in the account outside of our runs.")
INSTALL = typer.Argument(help="id of the install", metavar="INSTALL")
FINDING = typer.Argument(help="id of the finding", metavar="FINDING")


@app.command()
def scan(
    install: str = INSTALL,
    grant: str = typer.Option(..., help="the active grant"),
    keep_open: bool = typer.Option(
        False, "--keep-open", help="leave the grant open; otherwise the scan ends the access"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Start a reading run that compares every resource with the account."""
    started = connect(person).post(
        f"{route('installs', install)}/drift-scans", {"grant_id": grant, "keep_open": keep_open}
    )
    if as_json:
        print_json(started)
    else:
        err.print(f"reading; watch it: ringfence run watch {started['run_id']}")
        typer.echo(started["run_id"])


@app.command()
def show(install: str = INSTALL, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Show what the last scan found, property by property."""
    found = connect(person).get(f"{route('installs', install)}/drift")
    if as_json:
        print_json(found)
        return
    print_table(
        ("RESOURCE", "CHANGE", "PROPERTY", "WAS", "IS", "ACCEPTED UNTIL", "FINDING"),
        [
            (
                f"{f['stack']}/{f['name']} ({f['cloud_id']})",
                f["change"],
                p["path"],
                p["was"],
                p["is"],
                utc(f["accepted_until"]) if f["is_accepted"] else "",
                f["id"],
            )
            for f in found["findings"]
            for p in f["properties"] or [{"path": "", "was": "", "is": ""}]
        ],
        "nothing was found",
    )
    for item in found["ended"]:
        by = f"remediated by run {item['remediated_by']}" if item["remediated_by"] else "seen right"
        what = f"{item['stack']}/{item['name']} {item['change']}"
        out.print(f"{utc(item['resolved_at'])}  {what}: {by}", markup=False)
    since = f"last compared {utc(found['drift_at'])}" if found["drift_at"] else "never compared"
    out.print(f"\ndrift  {found['drift']}, {since}", markup=False)


@app.command()
def remediate(
    install: str = INSTALL,
    grant: str = GRANT,
    reason: str = typer.Option("set drift right", help="why; it stands in the audit"),
    wait: bool = WAIT,
    detailed: bool = DETAILED,
    timeout: float = PATIENCE,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Start an update with unchanged inputs: it sets right what was changed in the account."""
    body = {"grant_id": grant, "reason": reason}
    start(person, install, body, wait, detailed, timeout, as_json)


@app.command()
def propose(
    install: str = INSTALL,
    finding: str = FINDING,
    reason: str = typer.Option(..., help="why it may stay"),
    days: int = typer.Option(..., help="for how many days"),
    person: str | None = PERSON,
) -> None:
    """Propose that a change may stay for some days; somebody else accepts it."""
    body = {"reason": reason, "days": days}
    connect(person).post(f"{route('installs', install, 'drift', finding)}/proposal", body)
    err.print(f"proposed; somebody else: ringfence install drift accept {install} {finding}")


@app.command()
def accept(install: str = INSTALL, finding: str = FINDING, person: str | None = PERSON) -> None:
    """Accept what somebody else proposed; it ends by itself."""
    path = f"{route('installs', install, 'drift', finding)}/accept"
    until = connect(person).post(path, {})["accepted_until"]
    err.print(f"accepted until {utc(until)}")
