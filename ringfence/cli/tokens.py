"""`ringfence token`: API tokens, one's own and an organization's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ringfence.cli import secret_file
from ringfence.cli.output import (
    JSON,
    PERSON,
    connect,
    err,
    print_json,
    print_table,
    utc,
)
from ringfence.client import Api, ApiError, route

token_app = typer.Typer(help="API tokens: named, narrowed, always ending.")
NAME = typer.Option(..., "--name", help="what the token is for; shown in lists")
DAYS = typer.Option(30, "--days", min=1, max=90, help="how long it lives")
FILE = typer.Option(None, "--file", help="write the token there (0600), do not print it")
ROLES = typer.Option(
    None, "--role", help="allow only this role; again for more; all of the holder's by default"
)


@token_app.command("create")
def create_token(
    name: str = NAME,
    days: int = DAYS,
    organization: str | None = typer.Option(None, help="allow only this organization"),
    boundary: str | None = typer.Option(None, help="allow only this boundary of it"),
    role: list[str] | None = ROLES,
    file: Path | None = FILE,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Make an API token for yourself. It is shown once; only its hash is kept."""
    body = {
        "name": name,
        "lifetime_days": days,
        "organization": organization,
        "boundary": boundary,
        "roles": role or None,
    }
    make(connect(person), "/v1/tokens", body, file, as_json)


def make(
    api: Api,
    path: str,
    body: dict[str, Any],
    file: Path | None,
    as_json: bool,
    *,
    end: str = "expires_at",
) -> None:
    """Make a token at a path and hand it over: into a 0600 file, else on stdout, once.

    `end` names the answer's field with the token's end.
    """
    if file is not None:
        secret_file.reserve(file)
    try:
        made = api.post(path, body)
    except ApiError:
        if file is not None:
            file.unlink()
        raise
    if file is not None:
        file.write_text(made.pop("token") + "\n")
        err.print(f"wrote {file}; it ends {utc(made[end])}", markup=False)
    else:
        err.print(f"keep this token now: it is not shown again; it ends {utc(made[end])}")
    if as_json:
        print_json(made)
    elif file is None:
        typer.echo(made["token"])


@token_app.command("list")
def list_tokens(
    organization: str | None = typer.Option(
        None, help="all tokens of this organization, for its staff; your own by default"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """List API tokens, without the tokens themselves."""
    parameters = {"organization": organization} if organization else {}
    rows = connect(person).get("/v1/tokens", **parameters)["tokens"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "TOKEN", "HOLDER", "STATE", "ALLOWS", "LAST USED", "ENDS", "ID"),
        [
            (
                r["name"],
                f"{r['prefix']}…" if r["prefix"] else "",
                r["holder"]["subject"],
                r["state"],
                _allows(r),
                utc(r["last_used_at"]),
                utc(r["expires_at"]),
                r["id"],
            )
            for r in rows
        ],
        "no tokens; make one: ringfence token create --name NAME",
    )


def _allows(token: dict[str, Any]) -> str:
    """Say what a token is narrowed to, as in `acme/payments: auditor`."""
    place = "/".join(p for p in (token["organization"], token["boundary"]) if p)
    roles = ", ".join(token["roles"] or ())
    if place and roles:
        return f"{place}: {roles}"
    return place or roles or "all of the holder's"


@token_app.command("revoke")
def revoke_token(
    token: str = typer.Argument(help="id of the token", metavar="TOKEN"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Revoke a token: its next use is refused."""
    ended = connect(person).post(f"{route('tokens', token)}/revoke")
    if as_json:
        print_json(ended)
    err.print(f"revoked: {ended['name']}", markup=False)
