"""A real PostgreSQL for tests: one server per test process, migrated once, emptied per test.

Used through the fixtures of `tests/conftest.py`. Each pytest-xdist worker is a process of its own
and so has its own server and database.
"""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg import sql

from sandbox import postgres as embedded
from sandbox.home import free_port

START_SECONDS = 30.0
SEEDED = ("role", "alembic_version")
"""Tables that the migrations fill; emptying a database leaves them."""


@dataclass(frozen=True)
class PostgresServer:
    """A running server on a loopback port with the control plane's roles."""

    port: int
    password: str

    def url(self, role: str = "postgres", database: str = "postgres") -> str:
        """Return the address of a database for a role; all roles share the test's password."""
        return embedded.conninfo(self.port, role, self.password, database)

    def create_database(self, owner: str = embedded.OWNER) -> str:
        """Create a database under a fresh name and return the name."""
        name = f"test_{secrets.token_hex(6)}"
        with psycopg.connect(self.url(), autocommit=True) as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(
                    sql.Identifier(name), sql.Identifier(owner)
                )
            )
        return name


@dataclass(frozen=True)
class DatabaseUrls:
    """The addresses of one migrated database, one per role."""

    admin: str
    owner: str
    api: str
    worker: str
    scheduler: str
    auditor: str

    def empty(self) -> None:
        """Remove all rows that a test left.

        DELETE with foreign keys off and not TRUNCATE, which makes new files for every table and
        index and takes a hundred times longer on tables with a few rows.
        """
        with psycopg.connect(self.admin) as connection:
            found = connection.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tablename <> ALL"
                "(%s)",
                (list(SEEDED),),
            ).fetchall()
            connection.execute("SET session_replication_role = replica")
            for (name,) in found:
                connection.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(name)))


class ServerProcess:
    """Starts and stops the server; keeps its files in a short folder of its own."""

    def __init__(self, *, durable: bool = False, crash_safe: bool = False) -> None:
        """`durable` keeps what survives a power cut, as production does; for benchmarks.

        `crash_safe` keeps what survives `crash`, the end of the server but not of the machine.
        """
        self._durable = durable
        self._crash_safe = crash_safe or durable
        self.folder = Path(tempfile.mkdtemp(prefix="rf-pg-"))
        self.password = secrets.token_urlsafe(16)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> PostgresServer:
        """Initialise and start; return once it answers."""
        embedded.initialise(self.folder / "data", self.password)
        self._spawn()
        server = PostgresServer(self.port, self.password)
        self._wait_until_it_answers(server)
        roles = (
            embedded.OWNER,
            *embedded.PROCESS_ROLES,
            embedded.AUDITOR_ROLE,
            embedded.STATE_ROLE,
        )
        embedded.ensure_roles(server.url(), dict.fromkeys(roles, self.password))
        return server

    def _spawn(self) -> None:
        argv = embedded.server_argv(self.folder / "data", self.port, self.folder)
        if not self._durable:
            argv += [
                "-c",
                "fsync=off",
                "-c",
                "full_page_writes=off",
            ]
        if not self._crash_safe:
            argv += ["-c", "synchronous_commit=off"]
        with (self.folder / "server.log").open("wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, stdin=subprocess.DEVNULL)

    def _wait_until_it_answers(self, server: PostgresServer) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not embedded.accepts(server.url()):
            is_over = self._process is None or self._process.poll() is not None
            if is_over or time.monotonic() > deadline:
                log_text = (self.folder / "server.log").read_text()[-2000:]
                self.stop()
                raise RuntimeError(f"the test PostgreSQL did not start:\n{log_text}")
            time.sleep(0.05)

    def crash(self) -> None:
        """End the server at once, without a checkpoint; `restart` makes it recover."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=10)

    def restart(self) -> None:
        """Start the server again on its files and port; return once it answers."""
        self._spawn()
        self._wait_until_it_answers(PostgresServer(self.port, self.password))

    def stop(self) -> None:
        """Stop the server and remove its files."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=10)
        shutil.rmtree(self.folder, ignore_errors=True)


def migrated(server: PostgresServer) -> DatabaseUrls:
    """Create a database, apply all migrations as the owner, and return its addresses."""
    from controlplane.migrate import upgrade

    name = server.create_database()
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for role in (*embedded.PROCESS_ROLES, embedded.AUDITOR_ROLE):
            connection.execute(
                sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(
                    sql.Identifier(name), sql.Identifier(role)
                )
            )
    urls = DatabaseUrls(
        admin=server.url("postgres", name),
        owner=server.url(embedded.OWNER, name),
        api=server.url("ringfence_api", name),
        worker=server.url("ringfence_worker", name),
        scheduler=server.url("ringfence_scheduler", name),
        auditor=server.url(embedded.AUDITOR_ROLE, name),
    )
    upgrade(urls.owner)
    return urls
