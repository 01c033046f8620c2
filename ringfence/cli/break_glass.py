"""`ringfence break-glass`: two custodians open the sealed administrator, for the day of no sign-in.

Needs no context and no token: only the API's address. Each custodian gives the own part at a prompt
that shows nothing, or as a file that nobody else can read; a part is never an argument.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from pathlib import Path
from typing import Any

import typer

from ringfence.cli.output import JSON, PERSON, CommandError, Exit, connect, err, print_json, utc
from ringfence.cli.tokens import FILE, make
from ringfence.client import Api, Context, ContextError, route
from ringfence.client.context import read_context_file

app = typer.Typer(help="The sealed administrator that two custodians open when nobody can sign in.")
PART = re.compile(r"rfb_[A-Za-z0-9_-]{43}")
PARTS = typer.Option(
    None, "--part", help="file (0600) with one custodian's part; give two, or be asked for both"
)


@app.command("open")
def open_break_glass(
    reason: str = typer.Option(..., "--reason", help="why; every organization is told"),
    part: list[Path] | None = PARTS,
    api: str | None = typer.Option(
        None, "--api", help="address of the control plane", metavar="URL"
    ),
    file: Path | None = FILE,
    as_json: bool = JSON,
) -> None:
    """Open platform operations for 30 minutes. Both custodians answer for it by their parts.

    Without --part each is asked for in turn, on the terminal, and nothing that is typed is shown.
    """
    if part and len(part) != 2:
        raise CommandError(
            f"--part: two files are needed, and {len(part)} given",
            Exit.USAGE,
            "give --part twice, or leave it out to be asked",
        )
    first, second = [_read(path) for path in part] if part else _ask()
    body = {"first_part": first, "second_part": second, "reason": reason}
    make(_anyone(api), route("break-glass", "open"), body, file, as_json, end="ends_at")


@app.command("close")
def close_break_glass(person: str | None = PERSON) -> None:
    """End an open session before its time, with its own token or as a platform-admin."""
    connect(person).post(route("break-glass", "close"))
    err.print("closed; seal a new secret, each works once")


@app.command("status")
def show_status(person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Say whether a secret is sealed, and whether one is open, by whom and why."""
    found: dict[str, Any] = connect(person).get(route("status"))["break_glass"]
    if as_json:
        print_json(found)
        return
    if found["open"]:
        people = ", ".join(p["subject"] for p in found["by"])
        who = f" by {people}: {found['reason']}" if people else ""
        typer.echo(f"open since {utc(found['since'])} until {utc(found['ends_at'])}{who}")
    else:
        typer.echo("sealed" if found["sealed"] else "closed, and no secret is sealed")


def _anyone(api: str | None) -> Api:
    """Return the API without a token. Raises: CommandError when no address is known."""
    url = api or os.environ.get("RINGFENCE_API_URL")
    try:
        return Api(Context(url or str(read_context_file().get("api_url")), "", "nobody"))
    except ContextError as error:
        raise CommandError(f"--api: {error}", Exit.USAGE) from error


def _ask() -> list[str]:
    """Return both parts, asked for in turn. Raises: CommandError where there is no terminal."""
    if not sys.stdin.isatty():
        raise CommandError(
            "the two parts are asked for on a terminal, and this is none",
            Exit.USAGE,
            "give two files that only their owner can read: --part FILE --part FILE",
        )
    parts = []
    for custodian in ("first", "second"):
        typed = getpass.getpass(f"Part of the {custodian} custodian (it is not shown): ")
        parts.append(_sound(typed, f"the {custodian} part"))
    return parts


def _read(path: Path) -> str:
    """Return the part in a file that nobody but its owner can read. Raises: CommandError."""
    if PART.fullmatch(path.name):
        raise CommandError(
            "--part: this takes a file, never the part itself",
            Exit.USAGE,
            "seal a new secret: others on this machine could read that one",
        )
    try:
        if path.stat().st_mode & 0o077:
            raise CommandError(
                f"--part: {path} can be read by others", Exit.USAGE, f"run: chmod 600 {path}"
            )
        return _sound(path.read_text(), f"--part: {path}")
    except OSError as error:
        raise CommandError(f"--part: {path}: {error.strerror}", Exit.USAGE) from error
    except UnicodeDecodeError as error:
        raise CommandError(f"--part: {path} is no text", Exit.USAGE) from error


def _sound(text: str, source: str) -> str:
    """Return what looks like a part; the message of a refusal never shows it."""
    if PART.fullmatch(text.strip()) is None:
        raise CommandError(
            f"{source} is no part of a sealed secret: it begins with rfb_ and has 47 characters",
            Exit.USAGE,
        )
    return text.strip()
