"""`ringfence install update` and `apply`: what an update would change, then do exactly that.

Registered by `installs`; `drift remediate` starts the same kind of run. Separate from `installs`
because these commands wait for a plan and print it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ringfence.cli import runs
from ringfence.cli.output import JSON, PERSON, CommandError, Exit, connect, err, out, print_json
from ringfence.cli.plans import changes_something, print_plan
from ringfence.client import Api, WatchTimeoutError, route

GRANT = typer.Option(..., help="the active grant")
WAIT = typer.Option(True, "--wait/--no-wait", help="wait for the plan and print it")
DETAILED = typer.Option(
    False, "--detailed-exitcode", help="end with 5 when the plan would change something"
)
PATIENCE = typer.Option(300.0, "--timeout", min=1, help="wait for the plan for SECONDS")
_PLAN = "plan"
_PLANNED = ("succeeded", "failed")


def update(
    install: str = typer.Argument(help="id of the install", metavar="INSTALL"),
    grant: str = GRANT,
    reason: str = typer.Option("update", help="why; it stands in the plan and in the audit"),
    inputs: Path | None = typer.Option(
        None, "--file", "-f", help="JSON file with all inputs, instead of those applied last"
    ),
    change: list[str] = typer.Option(
        [], "--set", help="one input, as key=value with a JSON value; key= takes it out"
    ),
    version: str | None = typer.Option(None, help="another version of the blueprint"),
    revision: int | None = typer.Option(
        None, min=1, help="start from this revision instead of the one applied last"
    ),
    wait: bool = WAIT,
    detailed: bool = DETAILED,
    timeout: float = PATIENCE,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Show what an update of an install would change; `apply` then does it.

    Without any change it sets right what was changed in the account, and takes on the boundary's
    present models and this release of operator, agent and gateway.
    """
    body = {
        "grant_id": grant,
        "reason": reason,
        "version": version,
        "revision": revision,
        "inputs": _read(inputs) if inputs else None,
        "change": dict(_parse(item) for item in change),
    }
    start(person, install, body, wait, detailed, timeout, as_json)


def apply(
    run: str = typer.Argument(help="id of the run whose plan you have read", metavar="RUN"),
    digest: str = typer.Option(..., help="digest of the plan you have read"),
    reason: str = typer.Option("", "--reason", help="why; kept with the decision"),
    timeout: float | None = typer.Option(None, min=1, help="give up watching after SECONDS"),
    person: str | None = PERSON,
    as_json: bool = typer.Option(False, "--json", help="print one JSON document per event"),
) -> None:
    """Approve a plan that somebody else asked for, and watch it being applied to its end."""
    api = connect(person)
    api.post(f"{route('runs', run)}/approve", {"digest": digest, "reason": reason})
    after = int(api.get(route("runs", run))["last_seq"])
    runs.watch(run, after, timeout, person, as_json)


def start(
    person: str | None,
    install: str,
    body: dict[str, Any],
    wait: bool,
    detailed: bool,
    timeout: float,
    as_json: bool,
    *,
    to: str = "update",
) -> None:
    """Start an update or a restore and print its plan. Raises: CommandError."""
    api = connect(person)
    started = api.post(f"{route('installs', install)}/{to}", body)
    run = started["run_id"]
    if not wait:
        if as_json:
            print_json(started)
        else:
            err.print(f"comparing with the account; read it: ringfence run plan {run} --summary")
            typer.echo(run)
        return
    err.print(f"comparing with the account; the run is {run}", markup=False)
    document = _planned(api, run, timeout)
    if as_json:
        print_json(document)
    else:
        print_plan(document["view"])
        out.print(f"\nrun     {run}\ndigest  {document['digest']}", markup=False)
    changes = changes_something(document["view"])
    then = f"ringfence install apply {run} --digest {document['digest']} --as PERSON"
    idle = "nothing to change: nothing is applied, and the run ends the access"
    err.print(f"as another person: {then}" if changes else idle, markup=False)
    if changes and detailed:
        raise typer.Exit(Exit.CHANGES)


def _planned(api: Api, run: str, timeout: float) -> dict[str, Any]:
    """Wait until the run has a plan and return it. Raises: CommandError when it gets none."""
    again = f"the run goes on; read it later: ringfence run plan {run} --summary"
    try:
        for event in api.run_events(run, 0, timeout):
            if event.get("step") == _PLAN and event.get("state") in _PLANNED:
                break
            if event["kind"] == "run.state" and event["state"] in runs.NEEDS_A_PERSON:
                break
    except KeyboardInterrupt as error:
        raise CommandError("detached", Exit.INTERRUPTED, again, notice=True) from error
    except WatchTimeoutError as error:
        raise CommandError(str(error), Exit.TIMED_OUT, again, notice=True) from error
    shown = api.get(route("runs", run))
    if shown["plan"] is None:
        said = [*(s["error_message"] for s in shown["steps"]), shown["error_message"]]
        why = next((text for text in said if text), shown["parked_reason"])
        raise CommandError(
            f"there is no plan: {why}"
            if why
            else f"there is no plan: run {run} is {shown['state']}",
            Exit.DEPLOYMENT_FAILED,
            f"see: ringfence run show {run}",
        )
    document: dict[str, Any] = api.get(f"{route('runs', run)}/plan")
    return document


def _read(file: Path) -> dict[str, Any]:
    try:
        given = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"--file: {file}: {error}", Exit.USAGE) from error
    if not isinstance(given, dict):
        raise CommandError(f"--file: {file}: must hold one JSON object with all inputs", Exit.USAGE)
    return given


def _parse(item: str) -> tuple[str, Any]:
    """Return one `--set`: the value as JSON, or as text where it is no JSON; none takes it out."""
    key, is_set, text = item.partition("=")
    if not is_set or not key:
        raise CommandError(f"--set {item}: write key=value", Exit.USAGE)
    if not text:
        return key, None
    try:
        return key, json.loads(text)
    except ValueError:
        return key, text
