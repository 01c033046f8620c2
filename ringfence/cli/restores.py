"""`ringfence install restore` and `snapshots`: make an install whole again, and from what.

Registered by `installs`. Separate from `updates`, with which it shares how a plan is waited for.
"""

from __future__ import annotations

import typer

from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    print_json,
    print_table,
    utc,
)
from ringfence.cli.updates import DETAILED, GRANT, PATIENCE, WAIT, start
from ringfence.client import WatchTimeoutError, route

INSTALL = typer.Argument(help="id of the install", metavar="INSTALL")


def restore(
    install: str = INSTALL,
    grant: str = GRANT,
    reason: str = typer.Option(..., help="why; it stands in the plan and in the audit"),
    snapshot: int | None = typer.Option(
        None, min=1, help="begin from this snapshot of the record (`snapshots` lists them)"
    ),
    empty: bool = typer.Option(
        False, "--empty", help="begin without a record: look for everything in the account"
    ),
    wait: bool = WAIT,
    detailed: bool = DETAILED,
    timeout: float = PATIENCE,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Show what it takes to make an install whole again; `apply` then does it.

    What the account still holds is adopted, never made twice; what is lost is made anew. The
    present record is put aside first, so that a restore can itself be undone.
    """
    if empty and snapshot is not None:
        raise CommandError("--snapshot and --empty: leave one of them out", Exit.USAGE)
    body = {"grant_id": grant, "reason": reason, "snapshot": snapshot, "empty": empty}
    start(person, install, body, wait, detailed, timeout, as_json, to="restore")


def snapshots(
    install: str = INSTALL,
    timeout: float = typer.Option(60.0, "--timeout", min=1, help="wait for the list for SECONDS"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """List the snapshots of an install's record that a restore can begin from; needs no grant."""
    api = connect(person)
    run = api.post(f"{route('installs', install)}/snapshots", {})["run_id"]
    try:
        for event in api.run_events(run, 0, timeout):
            if event["kind"] == "run.state" and event["state"] in ("succeeded", "failed"):
                break
    except WatchTimeoutError as error:
        again = f"is a worker running? see: ringfence run show {run}"
        raise CommandError(str(error), Exit.TIMED_OUT, again) from error
    found = api.get(route("installs", install, "snapshots", run))["snapshots"]
    if found is None:
        raise CommandError(
            "the list was not made", Exit.DEPLOYMENT_FAILED, f"see: ringfence run show {run}"
        )
    if as_json:
        print_json(found)
        return
    print_table(
        ("NUMBER", "TAKEN", "LABEL", "STACKS", "RUN"),
        [
            (s["number"], utc(s["taken_at"]), s["label"], ", ".join(s["stacks"]), s["run_id"])
            for s in found
        ],
        "no snapshots: the record was lost, or no run has applied anything yet;"
        " restore with --empty looks for everything in the account",
    )
