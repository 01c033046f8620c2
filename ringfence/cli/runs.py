"""`ringfence run`: watch a run live, decide on its plan, cancel or retry it."""

from __future__ import annotations

import json
from typing import Any

import typer

from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    out,
    print_json,
    print_table,
)

app = typer.Typer(help="One attempt at an operation on an install.")
RUN = typer.Argument(help="id of the run", metavar="RUN")
REASON = typer.Option("", "--reason", help="why; kept with the decision")
FAILED = ("failed", "unwound", "stuck", "cancelled", "needs-attention")
NEEDS_A_PERSON = ("stuck", "needs-attention", "waiting-for-grant", "paused")
"""States from which a run does not go on by itself."""


@app.command()
def show(run: str = RUN, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Show a run's steps with measured and budgeted seconds."""
    document = connect(person).get(f"/v1/runs/{run}")
    if as_json:
        print_json(document)
        return
    out.print(f"run {run}: {document['state']}", markup=False)
    if document["error_message"]:
        out.print(f"  why   {document['at_fault']}: {document['error_message']}", markup=False)
    print_table(
        ("STEP", "STATE", "SECONDS", "BUDGET", ""),
        [
            (
                step["key"],
                step["state"],
                "" if step["elapsed_seconds"] is None else f"{step['elapsed_seconds']:.1f}",
                f"{step['budget_seconds']:.0f}",
                _note(step),
            )
            for step in document["steps"]
        ],
        "no steps yet: the run is being planned",
    )


def _note(step: dict[str, Any]) -> str:
    if step["error_message"]:
        return str(step["error_message"])
    return "critical path" if step["on_critical_path"] else ""


@app.command()
def watch(
    run: str = RUN,
    after: int = typer.Option(0, help="only events after this number"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Follow a run, one line per change. Ctrl-C detaches; the run goes on."""
    api = connect(person)
    try:
        for event in api.run_events(run, after):
            if as_json:
                typer.echo(json.dumps(event, sort_keys=True))
            elif event["kind"] in ("run.state", "step.state"):
                what = event.get("step") or "run"
                error = event.get("detail", {}).get("error_message", "")
                out.print(
                    f"{event['at'][11:19]}  {what:<16} {event.get('state') or ''}  {error}",
                    markup=False,
                )
            if event["kind"] == "run.state" and event["state"] in NEEDS_A_PERSON:
                break
    except KeyboardInterrupt as error:
        err.print(f"detached; the run goes on. Watch again: ringfence run watch {run}")
        raise typer.Exit(Exit.INTERRUPTED) from error
    state = api.get(f"/v1/runs/{run}")["state"]
    if state in FAILED:
        raise CommandError(f"run {run} ended {state}", Exit.DEPLOYMENT_FAILED)


@app.command()
def plan(run: str = RUN, person: str | None = PERSON) -> None:
    """Print the plan that is to be approved, with its digest."""
    print_json(connect(person).get(f"/v1/runs/{run}/plan"))


@app.command()
def approve(
    run: str = RUN,
    digest: str = typer.Option(..., help="digest of the plan you have read"),
    reason: str = REASON,
    person: str | None = PERSON,
) -> None:
    """Approve a plan that somebody else asked for; only what was approved is applied."""
    connect(person).post(f"/v1/runs/{run}/approve", {"digest": digest, "reason": reason})
    err.print(f"approved; watch it: ringfence run watch {run}")


@app.command()
def deny(run: str = RUN, reason: str = REASON, person: str | None = PERSON) -> None:
    """Deny a plan; nothing is created."""
    connect(person).post(f"/v1/runs/{run}/deny", {"reason": reason})
    err.print("denied")


@app.command()
def cancel(run: str = RUN, person: str | None = PERSON) -> None:
    """Ask a run to stop: it unwinds what it made, then closes its access."""
    connect(person).post(f"/v1/runs/{run}/cancel")
    err.print(f"asked to cancel; watch it: ringfence run watch {run}")


@app.command()
def retry(run: str = RUN, person: str | None = PERSON) -> None:
    """Go on with a run that stopped at a failed step."""
    connect(person).post(f"/v1/runs/{run}/retry")
    err.print(f"retrying; watch it: ringfence run watch {run}")
