"""`ringfence service`: programs that act in an organization under a name of their own."""

from __future__ import annotations

from pathlib import Path

import typer

from ringfence.cli.output import JSON, PERSON, connect, err, print_json, print_table, utc
from ringfence.cli.tokens import FILE, make
from ringfence.client import route

app = typer.Typer(help="Service identities: programs with roles and tokens of their own.")
ORGANIZATION = typer.Argument(help="name of the organization", metavar="ORGANIZATION")
SERVICE = typer.Argument(help="id of the service identity", metavar="SERVICE")


@app.command("create")
def create_service(
    organization: str = ORGANIZATION,
    name: str = typer.Option(..., "--name", help="its name, kept for ever"),
    purpose: str = typer.Option(..., help="what it does; shown to the auditor"),
    role: list[str] = typer.Option(..., "--role", help="a role it has; again for more"),
    boundary: str | None = typer.Option(
        None, help="the one boundary that it serves; the whole organization by default"
    ),
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Make a service identity; it can do nothing until it has a token."""
    body = {"name": name, "purpose": purpose, "roles": role, "boundary": boundary}
    made = connect(person).post(f"{route('organizations', organization)}/services", body)
    if as_json:
        print_json(made)
        return
    err.print(f"made; give it a token: ringfence service token {organization} {made['id']}")
    typer.echo(made["id"])


@app.command("token")
def create_token(
    organization: str = ORGANIZATION,
    service: str = SERVICE,
    name: str = typer.Option("token", "--name", help="what the token is for; shown in lists"),
    days: int = typer.Option(90, "--days", min=1, max=90, help="how long it lives"),
    file: Path | None = FILE,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Make a token for a service. It is shown once; only its hash is kept."""
    path = f"{route('organizations', organization, 'services', service)}/tokens"
    make(connect(person), path, {"name": name, "lifetime_days": days}, file, as_json)


@app.command("list")
def list_services(
    organization: str = ORGANIZATION, person: str | None = PERSON, as_json: bool = JSON
) -> None:
    """List service identities, disabled ones too."""
    rows = connect(person).get(f"{route('organizations', organization)}/services")["services"]
    if as_json:
        print_json(rows)
        return
    print_table(
        ("NAME", "ROLES", "BOUNDARY", "PURPOSE", "CREATED", "DISABLED", "ID"),
        [
            (
                r["name"],
                ", ".join(r["roles"]),
                r["boundary"],
                r["purpose"],
                utc(r["created_at"]),
                utc(r["disabled_at"]),
                r["id"],
            )
            for r in rows
        ],
        f"no services; make one: ringfence service create {organization} --name NAME",
    )


@app.command("disable")
def disable_service(
    organization: str = ORGANIZATION,
    service: str = SERVICE,
    person: str | None = PERSON,
    as_json: bool = JSON,
) -> None:
    """Disable a service for good: its tokens and roles end now."""
    path = f"{route('organizations', organization, 'services', service)}/disable"
    ended = connect(person).post(path)
    if as_json:
        print_json(ended)
    err.print(f"disabled: {ended['name']}", markup=False)
