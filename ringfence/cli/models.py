"""`ringfence key`, `ringfence chat`: the boundary's models in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import typer

from ringfence.cli import secret_file
from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    print_json,
    print_table,
    utc,
)
from ringfence.client import ApiError, route
from ringfence.client.context import home

key_app = typer.Typer(help="Keys for a boundary's gateway.")
BOUNDARY = typer.Argument(help="name or id of the security boundary", metavar="BOUNDARY")


@key_app.command("create")
def create_key(
    boundary: str = BOUNDARY,
    group: str = typer.Option(..., help="the group whose models the key may use"),
    owner: str = typer.Option(..., help="whose key it is"),
    file: Path | None = typer.Option(None, help="write the key there (0600), do not print it"),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Create a gateway key. It is shown once; only its hash is kept."""
    api = connect(person)
    if file is not None:
        secret_file.reserve(file)
    try:
        made = api.post(
            f"{route('boundaries', boundary)}/gateway-keys", {"group": group, "owner": owner}
        )
    except ApiError:
        if file is not None:
            file.unlink()
        raise
    if file is not None:
        file.write_text(made.pop("key") + "\n")
        err.print(f"wrote {file}; use it: ringfence chat {boundary} PROMPT --key-file {file}")
    else:
        err.print("keep this key now: it is not shown again")
    if as_json:
        print_json(made)
    elif file is None:
        typer.echo(made["key"])


@key_app.command("list")
def list_keys(boundary: str = BOUNDARY, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """List a boundary's gateway keys, without the keys themselves."""
    rows = connect(person).get(f"{route('boundaries', boundary)}/gateway-keys")["keys"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("GROUP", "OWNER", "CREATED", "REVOKED", "ID"),
        [
            (r["group"], r["owner"]["subject"], utc(r["created_at"]), utc(r["revoked_at"]), r["id"])
            for r in rows
        ],
        f"no keys yet; make one: ringfence key create {boundary} --group GROUP --owner YOU",
    )


@key_app.command("revoke")
def revoke_key(
    boundary: str = BOUNDARY,
    key: str = typer.Argument(help="id of the key; see ringfence key list"),
    person: str | None = PERSON,
) -> None:
    """End a gateway key for good."""
    connect(person).post(
        f"{route('boundaries', boundary)}/gateway-keys/{quote(key, safe='')}/revoke"
    )
    err.print("revoked; the gateway learns of it with its next bundle")


def chat(
    boundary: str = BOUNDARY,
    prompt: str = typer.Argument(help="what to ask"),
    model: str | None = typer.Option(
        None, help="model or adapter; by default the boundary's first adapter, else its base"
    ),
    key_file: str | None = typer.Option(None, help="file with the gateway key"),
    max_tokens: int = typer.Option(128, min=1, help="longest answer, in tokens"),
    person: str | None = PERSON,
) -> None:
    """Ask a boundary's model through its gateway and stream the answer."""
    found = connect(person).get(f"{route('boundaries', boundary)}/agent")
    url = found.get("gateway_url")
    if not url:
        raise CommandError(
            f"{boundary} has no gateway yet", Exit.BLOCKED, "install a blueprint into it first"
        )
    headers = {"Authorization": f"Bearer {read_key(boundary, key_file)}"}
    try:
        with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
            _converse(client, prompt, model, max_tokens)
    except httpx2.HTTPError as error:
        raise CommandError(
            f"the gateway of {boundary} at {url} does not answer ({error})",
            Exit.FAILURE,
            "see its state: ringfence install list",
        ) from error


def _converse(client: httpx2.Client, prompt: str, model: str | None, max_tokens: int) -> None:
    models = [m["id"] for m in _checked(client.get("/v1/models"))["data"]]
    if not models:
        raise CommandError("this key may use no model", Exit.FORBIDDEN, "use another group's key")
    body = {
        "model": model or next((m for m in models if m.endswith("-style")), models[0]),
        "messages": [{"role": "user", "content": prompt}],
        "stream": True,
        "max_tokens": max_tokens,
        # The same answer to the same question: this command is for trying a stack out.
        "temperature": 0,
    }
    err.print(f"{body['model']}:", markup=False)
    with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        if not answer.is_success:
            answer.read()
            _checked(answer)
        for line in answer.iter_lines():
            _echo_chunk(line)
    typer.echo()


def read_key(boundary: str, key_file: str | None) -> str:
    """Return the key of a file, by default the sandbox's own. Raises: CommandError."""
    path = home() / "secrets" / "gateway-keys" / boundary if key_file is None else key_file
    try:
        key = Path(path).read_text().strip()
        if not key.isascii() or not key.isprintable() or not key:
            raise CommandError(f"{path}: this is no gateway key", Exit.USAGE)
        return key
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(
            f"no gateway key at {path}",
            Exit.USAGE,
            f"ringfence key create {boundary} --group GROUP --owner YOU --file FILE;"
            " then --key-file FILE",
        ) from error


def _checked(answer: httpx2.Response) -> Any:
    """Return the gateway's document. Raises: CommandError with the gateway's own message."""
    try:
        document = answer.json()
    except ValueError:
        document = None
    if answer.is_success and isinstance(document, dict):
        return document
    try:
        message = document["error"]["message"]
    except (KeyError, TypeError):
        message = answer.text[:200]
    codes = {401: Exit.FORBIDDEN, 403: Exit.FORBIDDEN, 404: Exit.USAGE, 400: Exit.USAGE}
    raise CommandError(
        f"the gateway answered {answer.status_code}: {message}",
        codes.get(answer.status_code, Exit.FAILURE),
    )


def _echo_chunk(line: str) -> None:
    data = line.removeprefix("data:").strip()
    if not line.startswith("data:") or not data or data == "[DONE]":
        return
    for choice in json.loads(data).get("choices", ()):
        typer.echo(choice.get("delta", {}).get("content") or "", nl=False)
