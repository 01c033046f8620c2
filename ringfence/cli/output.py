"""How the command line speaks: data on stdout, everything else on stderr, errors as exit codes.

Used by every command module. No colour and no redrawing on a pipe; `NO_COLOR` is honoured by rich.
A table is never cut: ids and names must survive a pipe and a narrow terminal.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape

from ringfence.client import Api, ApiError, Context, ContextError

out = Console(highlight=False, soft_wrap=True)
err = Console(stderr=True, highlight=False, soft_wrap=True)

PERSON = typer.Option(None, "--as", help="act as this person of the context", metavar="PERSON")
JSON = typer.Option(False, "--json", help="print the API's document instead of a table")


class Exit(IntEnum):
    """Exit codes; the same in every command."""

    OK = 0
    FAILURE = 1
    USAGE = 2
    FORBIDDEN = 3
    DEPLOYMENT_FAILED = 4
    CHANGES = 5
    BLOCKED = 6
    TIMED_OUT = 7
    INTERRUPTED = 130


MEANINGS: Mapping[Exit, str] = {
    Exit.OK: "done",
    Exit.FAILURE: "it failed, or the control plane or the gateway did not answer",
    Exit.USAGE: "wrong use: an unknown option, a bad file, a name or id that is not there",
    Exit.FORBIDDEN: "not known, not allowed, or the same person on both sides of an approval",
    Exit.DEPLOYMENT_FAILED: "the run ended other than succeeded, or stopped and needs a person",
    Exit.CHANGES: "with --detailed-exitcode: the plan would change something",
    Exit.BLOCKED: "blocked by the present state, or waiting for an approval or a grant",
    Exit.TIMED_OUT: "not finished in the time that was given; it goes on",
    Exit.INTERRUPTED: "Ctrl-C: only the watching ended",
}


class CommandError(Exception):
    """Ends the command with a message on stderr and an exit code."""

    def __init__(
        self, message: str, code: Exit = Exit.FAILURE, fix: str = "", *, notice: bool = False
    ) -> None:
        super().__init__(message)
        self.code = code
        self.fix = fix
        self.notice = notice
        """True when nothing went wrong: the command only ends before what it was asked for."""


def connect(person: str | None) -> Api:
    """Return the API as that person. Raises: CommandError."""
    try:
        return Api(Context.load(person))
    except ContextError as error:
        raise CommandError(str(error), Exit.USAGE) from error


def code_for(error: ApiError) -> Exit:
    """Return the exit code of an API error."""
    if error.status in (401, 403):
        return Exit.FORBIDDEN
    if error.status in (400, 404, 405, 413, 422):
        return Exit.USAGE
    if error.status in (409, 410):
        return Exit.BLOCKED
    return Exit.FAILURE


def describe(error: ApiError) -> tuple[str, str]:
    """Return an API error's message and what to do about it."""
    message, fix = str(error), str(error.body.get("fix") or "")
    problems = error.body.get("problems") or []
    if problems:
        # The fields are named as the API names them: path.grant_id, body.digest.
        message = "; ".join(
            f"{str(p.get('path', '')).split('.', 1)[-1]}: {p.get('message')}" for p in problems
        )
        if all(str(p.get("path", "")).startswith("path.") for p in problems):
            fix = "give the id as the `list` and `show` commands print it"
    elif field := error.body.get("field"):
        message = f"{field}: {message}"
    if error.code == "four-eyes":
        fix = f"{fix}; in the sandbox, add --as and that person" if fix else "add --as PERSON"
    if error.status == 401:
        fix = fix or "check the token's file, or choose a person with --as"
    if error.status >= 500 and "request_id" in error.body:
        message += f" (request {error.body['request_id']})"
    return message, fix


def print_json(document: Any) -> None:
    """Print a document for scripts: stable, indented, nothing else."""
    typer.echo(json.dumps(document, indent=2, sort_keys=True))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print rows as aligned columns, or say what to do when there are none."""
    listed = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not listed:
        err.print(empty, markup=False)
        return
    widths = [max(len(line[i]) for line in (columns, *listed)) for i in range(len(columns))]
    out.print(f"[bold]{escape(_aligned(columns, widths))}[/bold]")
    for row in listed:
        out.print(_aligned(row, widths), markup=False)


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(c.ljust(w) for c, w in zip(cells, widths, strict=True)).rstrip()


def print_facts(facts: Sequence[tuple[str, Any]]) -> None:
    """Print one thing as lines of name and value; what has no value is left out."""
    shown = [(name, value) for name, value in facts if value not in (None, "")]
    width = max(len(name) for name, _ in shown)
    for name, value in shown:
        out.print(f"{name.ljust(width)}  {value}", markup=False)


def utc(moment: str | None) -> str:
    """Return a moment of the API for people, always in UTC; empty for None."""
    if moment is None:
        return ""
    return f"{datetime.fromisoformat(moment).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
