"""`ringfence run`: watch a run live, decide on its plan, pause, cancel or retry it."""

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
    print_facts,
    print_json,
    print_table,
    utc,
)
from ringfence.cli.plans import print_plan
from ringfence.client import Api, WatchTimeoutError, route

app = typer.Typer(help="One attempt at an operation on an install.")
RUN = typer.Argument(help="id of the run", metavar="RUN")
REASON = typer.Option("", "--reason", help="why; kept with the decision")
DENIAL = typer.Option(..., "--reason", help="why; the requester reads it")
JSON_LINES = typer.Option(False, "--json", help="print one JSON document per event")
PAUSE = typer.Option(..., "--reason", help="why; shown while it waits")
FAILED = ("failed", "unwound", "cancelled")
WAITING = ("awaiting-approval", "waiting-for-grant", "paused")
NEEDS_A_PERSON = ("stuck", "needs-attention")
"""Together with WAITING the states from which a run does not go on by itself."""


@app.command()
def show(run: str = RUN, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Show a run's steps with measured and budgeted seconds."""
    document = connect(person).get(route("runs", run))
    if as_json:
        print_json(document)
        return
    critical = document["critical_path"]
    print_facts(
        [
            ("run", document["id"]),
            ("state", document["state"]),
            ("why", _why(document)),
            ("resource", (document["failure"] or {}).get("resource")),
            ("likely cause", (document["failure"] or {}).get("cause")),
            ("next", (document["failure"] or {}).get("next_action")),
            ("goes on", utc(document["resume_at"])),
            ("requested", f"{document['requested_by_name']}, {utc(document['created_at'])}"),
            ("finished", utc(document["finished_at"])),
            ("plan", (document["plan"] or {}).get("digest")),
            ("critical path", f"{critical['seconds']:.1f} s"),
            ("you may", ", ".join(document["can"])),
        ]
    )
    out.print()
    print_table(
        ("STEP", "STATE", "SECONDS", "BUDGET", "NOTE"),
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


def _why(document: dict[str, Any]) -> str:
    if document["error_message"]:
        fault = f"{document['at_fault']}: " if document["at_fault"] else ""
        return f"{fault}{document['error_message']}"
    return str(document["parked_reason"] or "")


def _note(step: dict[str, Any]) -> str:
    if step["error_message"]:
        return str(step["error_message"])
    path = "critical path" if step["on_critical_path"] else ""
    return ", ".join(part for part in (str(step.get("summary") or ""), path) if part)


@app.command()
def watch(
    run: str = RUN,
    after: int = typer.Option(0, min=0, help="only events after this number"),
    timeout: float | None = typer.Option(None, min=1, help="give up watching after SECONDS"),
    person: str | None = PERSON,
    as_json: bool = JSON_LINES,
) -> None:
    """Follow a run, one line per change, until it ends or waits for a person.

    Ctrl-C detaches; the run goes on. Watching again begins at the first event.
    """
    api = connect(person)
    again = f"the run goes on; watch again: ringfence run watch {run}"
    try:
        for event in api.run_events(run, after, timeout):
            _print_event(event, as_json)
            if event["kind"] == "run.state" and event["state"] in (*WAITING, *NEEDS_A_PERSON):
                # The event may be an old one: only the run itself says where it stands now.
                state = api.get(route("runs", run))["state"]
                if state in (*WAITING, *NEEDS_A_PERSON):
                    break
    except KeyboardInterrupt as error:
        raise CommandError("detached", Exit.INTERRUPTED, again, notice=True) from error
    except WatchTimeoutError as error:
        raise CommandError(str(error), Exit.TIMED_OUT, again, notice=True) from error
    _end_watch(api, run)


def _print_event(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(event, sort_keys=True))
    elif event["kind"] in ("run.state", "step.state"):
        detail = event.get("detail") or {}
        why = detail.get("message") or detail.get("reason") or detail.get("summary") or ""
        seconds = f"{detail['seconds']:7.1f} s" if "seconds" in detail else ""
        line = f"{event['at'][11:19]}Z  {event.get('step') or 'run':<14} {event.get('state') or ''}"
        out.print(f"{line:<42}{seconds}  {why}".rstrip(), markup=False)


def _end_watch(api: Api, run: str) -> None:
    """Say how the watching ended. Raises: CommandError unless the run succeeded."""
    document = api.get(route("runs", run))
    state = document["state"]
    if state == "awaiting-approval":
        digest = (document["plan"] or {}).get("digest", "DIGEST")
        raise CommandError(
            f"run {run} waits for the approval of its plan",
            Exit.BLOCKED,
            f"read it: ringfence run plan {run}; then, as another person:"
            f" ringfence run approve {run} --digest {digest} --as PERSON",
            notice=True,
        )
    why = document["error_message"] or document["parked_reason"] or ""
    message = f"run {run} is {state}" + (f": {why}" if why else "")
    if state in WAITING:
        again = "resume" if state == "paused" else "retry"
        raise CommandError(message, Exit.BLOCKED, f"then: ringfence run {again} {run}")
    if state in NEEDS_A_PERSON:
        raise CommandError(message, Exit.DEPLOYMENT_FAILED, f"see: ringfence run show {run}")
    if state in FAILED:
        raise CommandError(message, Exit.DEPLOYMENT_FAILED, f"see: ringfence run show {run}")


@app.command()
def plan(
    run: str = RUN,
    person: str | None = PERSON,
    summary: bool = typer.Option(
        False, "--summary", help="for people: what, why, how long, what it costs"
    ),
) -> None:
    """Print the plan that is to be approved, as JSON, with its digest."""
    document = connect(person).get(f"{route('runs', run)}/plan")
    if not summary:
        print_json(document)
        return
    print_plan(document["view"])
    out.print(f"\ndigest  {document['digest']}", markup=False)


@app.command()
def approve(
    run: str = RUN,
    digest: str = typer.Option(..., help="digest of the plan you have read"),
    reason: str = REASON,
    person: str | None = PERSON,
) -> None:
    """Approve a plan that somebody else asked for; only what was approved is applied."""
    connect(person).post(f"{route('runs', run)}/approve", {"digest": digest, "reason": reason})
    err.print(f"approved; watch it: ringfence run watch {run}")


@app.command()
def deny(run: str = RUN, reason: str = DENIAL, person: str | None = PERSON) -> None:
    """Deny a plan; nothing is created."""
    connect(person).post(f"{route('runs', run)}/deny", {"reason": reason})
    err.print("denied")


@app.command()
def cancel(
    run: str = RUN,
    keep: bool = typer.Option(
        False, "--keep/--unwind", help="leave what exists by then, instead of taking it back"
    ),
    person: str | None = PERSON,
) -> None:
    """Ask a run to stop: it unwinds what it made unless --keep, then closes its access."""
    connect(person).post(f"{route('runs', run)}/cancel", {"keep": keep})
    what = "what exists stays" if keep else "what it made is taken back"
    err.print(f"asked to cancel, {what}; watch it: ringfence run watch {run}")


@app.command()
def unwind(run: str = RUN, person: str | None = PERSON) -> None:
    """Take back what a run has made and close its access; as `cancel --unwind`."""
    cancel(run, keep=False, person=person)


@app.command()
def pause(run: str = RUN, reason: str = PAUSE, person: str | None = PERSON) -> None:
    """Let a run begin no further step; steps that are under way end first."""
    connect(person).post(f"{route('runs', run)}/pause", {"reason": reason})
    err.print(f"asked to pause; go on with: ringfence run resume {run}")


@app.command()
def resume(run: str = RUN, person: str | None = PERSON) -> None:
    """Go on with a paused run."""
    connect(person).post(f"{route('runs', run)}/resume")
    err.print(f"resumed; watch it: ringfence run watch {run}")


@app.command()
def retry(
    run: str = RUN,
    step: str | None = typer.Option(None, "--step", help="only this failed step"),
    person: str | None = PERSON,
) -> None:
    """Go on with a run that stopped at a failed step."""
    connect(person).post(f"{route('runs', run)}/retry", {"step": step})
    err.print(f"retrying; watch it: ringfence run watch {run}")


@app.command()
def skip(
    run: str = RUN,
    step: str = typer.Option(..., "--step", help="the step to go on without"),
    reason: str = typer.Option(..., "--reason", help="why; kept with the run"),
    person: str | None = PERSON,
) -> None:
    """Decide, as a second person, that a waiting run goes on without a step."""
    connect(person).post(f"{route('runs', run)}/skip", {"step": step, "reason": reason})
    err.print(f"skipped {step}; go on with: ringfence run resume {run}, or retry")
