"""`ringfence key`, `ringfence chat`, `ringfence usage`: the boundary's models in use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2
import typer

from ringfence.cli.output import (
    JSON,
    PERSON,
    CommandError,
    Exit,
    connect,
    err,
    print_json,
    print_table,
)
from ringfence.client.context import home

key_app = typer.Typer(help="Keys for a boundary's gateway.")
BOUNDARY = typer.Argument(help="name or id of the security boundary", metavar="BOUNDARY")


@key_app.command("create")
def create_key(
    boundary: str = BOUNDARY,
    group: str = typer.Option(..., help="the group whose models the key may use"),
    owner: str = typer.Option(..., help="whose key it is"),
    person: str | None = PERSON,
) -> None:
    """Create a gateway key. It is printed once; only its hash is kept."""
    made = connect(person).post(
        f"/v1/boundaries/{boundary}/gateway-keys", {"group": group, "owner": owner}
    )
    err.print("keep this key now: it is not shown again")
    typer.echo(made["key"])


def chat(
    boundary: str = BOUNDARY,
    prompt: str = typer.Argument(help="what to ask"),
    model: str | None = typer.Option(None, help="model or adapter; the first one by default"),
    key_file: str | None = typer.Option(None, help="file with the gateway key"),
    person: str | None = PERSON,
) -> None:
    """Ask a boundary's model through its gateway and stream the answer."""
    found = connect(person).get(f"/v1/boundaries/{boundary}/agent")
    url = found.get("gateway_url")
    if not url:
        raise CommandError(
            f"{boundary} has no gateway yet", Exit.BLOCKED, "install a blueprint into it first"
        )
    headers = {"Authorization": f"Bearer {_key(boundary, key_file)}"}
    with httpx2.Client(base_url=url, headers=headers, timeout=60, trust_env=False) as client:
        models = [m["id"] for m in _checked(client.get("/v1/models"))["data"]]
        body = {
            "model": model or next((m for m in models if m.endswith("-style")), models[0]),
            "messages": [{"role": "user", "content": prompt}],
            "stream": True,
            "max_tokens": 64,
        }
        with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            if answer.status_code >= 400:
                answer.read()
                _checked(answer)
            for line in answer.iter_lines():
                _echo_chunk(line)
    typer.echo()


def _key(boundary: str, key_file: str | None) -> str:
    path = home() / "secrets" / "gateway-keys" / boundary if key_file is None else key_file
    try:
        return Path(path).read_text().strip()
    except OSError as error:
        raise CommandError(
            f"no gateway key at {path}",
            Exit.USAGE,
            f"ringfence key create {boundary} --group G --owner YOU > FILE; then --key-file FILE",
        ) from error


def _checked(answer: httpx2.Response) -> Any:
    if answer.status_code >= 400:
        try:
            message = answer.json()["error"]["message"]
        except (ValueError, KeyError, TypeError):
            message = answer.text[:200]
        raise CommandError(f"the gateway answered {answer.status_code}: {message}")
    return answer.json()


def _echo_chunk(line: str) -> None:
    data = line.removeprefix("data:").strip()
    if not data or data == "[DONE]":
        return
    for choice in json.loads(data).get("choices", ()):
        typer.echo(choice.get("delta", {}).get("content") or "", nl=False)


def usage(boundary: str = BOUNDARY, person: str | None = PERSON, as_json: bool = JSON) -> None:
    """Show what left the boundary about its use: aggregates only."""
    rows = connect(person).get(f"/v1/boundaries/{boundary}/usage")["items"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("HOUR", "GROUP", "MODEL", "ADAPTER", "REQUESTS", "TOKENS IN", "TOKENS OUT"),
        [
            (
                row["hour"],
                row["group_id"],
                row["model_version"],
                row.get("adapter_id") or "",
                row["requests"],
                row["input_tokens"],
                row["output_tokens"],
            )
            for row in rows
        ],
        "no use yet; ask something: ringfence chat " + boundary + " 'write a test'",
    )
