"""How the command line speaks: data on stdout, everything else on stderr, errors as exit codes.

Used by every command module. No colour and no redrawing on a pipe; `NO_COLOR` is honoured by rich.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

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


class CommandError(Exception):
    """Ends the command with a message on stderr and an exit code."""

    def __init__(self, message: str, code: Exit = Exit.FAILURE, fix: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.fix = fix


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
    if error.status in (400, 404, 422):
        return Exit.USAGE
    if error.status == 409:
        return Exit.BLOCKED
    return Exit.FAILURE


def print_json(document: Any) -> None:
    """Print a document for scripts: stable, indented, nothing else."""
    typer.echo(json.dumps(document, indent=2, sort_keys=True))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], empty: str) -> None:
    """Print rows as a table, or say what to do when there are none."""
    listed = list(rows)
    if not listed:
        err.print(empty)
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column)
    for row in listed:
        table.add_row(*("" if value is None else str(value) for value in row))
    out.print(table)
