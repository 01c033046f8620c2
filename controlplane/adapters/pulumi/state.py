"""The engine's state in PostgreSQL: one schema per boundary, fenced by a trigger.

Called by `engine.py` for the backend's address, by the sagas before an apply (`claim`, `snapshot`),
and by `recovery.py`. Separate from the control plane's own tables: the engine's CLI writes here
itself, with a role of its own, in a table whose shape belongs to Pulumi.

The fence: a run's worker claims the boundary's state with (run, fence). The engine's connections
carry both as session settings, and a trigger refuses every write of anybody but the present holder.
Pulumi writes a checkpoint before each mutation, so a stale engine stops before its next effect.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit
from uuid import UUID

import psycopg
from psycopg import sql

from controlplane.adapters.pulumi.errors import StaleFenceError
from controlplane.core.errors import InternalError, NotFoundError, UnavailableError

# The first table is Pulumi's own (pulumi/pkg backend/diy/postgres/schema.sql, v3.255.0).
_SCHEMA = """
CREATE SCHEMA IF NOT EXISTS {schema};
CREATE TABLE IF NOT EXISTS {schema}.pulumi_state (
    key text PRIMARY KEY,
    data json NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS pulumi_state_key_prefix_idx
    ON {schema}.pulumi_state (key text_pattern_ops);
CREATE TABLE IF NOT EXISTS {schema}.engine_writer (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL UNIQUE,
    fence bigint NOT NULL CHECK (fence > 0),
    claimed_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS {schema}.state_snapshot (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id uuid NOT NULL,
    label text NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT now(),
    key text NOT NULL,
    data json NOT NULL
);
CREATE OR REPLACE FUNCTION {schema}.refuse_stale_fence() RETURNS trigger
LANGUAGE plpgsql AS $body$
DECLARE
    mine_run text := coalesce(current_setting('ringfence.run', true), '');
    mine_fence text := coalesce(current_setting('ringfence.fence', true), '');
    holder record;
BEGIN
    -- FOR SHARE: a write that has begun ends before a claim, or starts after it and is refused.
    SELECT run_id, fence INTO holder FROM {schema}.engine_writer
        ORDER BY seq DESC LIMIT 1 FOR SHARE;
    IF holder IS NULL OR mine_run <> holder.run_id::text OR mine_fence <> holder.fence::text THEN
        RAISE EXCEPTION 'ringfence: stale fence: run % fence % may not write; held by % %',
            mine_run, mine_fence, holder.run_id, holder.fence USING ERRCODE = 'RF001';
    END IF;
    RETURN coalesce(NEW, OLD);
END $body$;
CREATE OR REPLACE TRIGGER fence BEFORE INSERT OR UPDATE OR DELETE ON {schema}.pulumi_state
    FOR EACH ROW EXECUTE FUNCTION {schema}.refuse_stale_fence();
"""

_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True)
class StateLock:
    """The lock of an engine that is, or was, working on a stack."""

    key: str
    data: dict[str, Any]


@dataclass(frozen=True)
class Snapshot:
    """The stacks of a boundary as they were put aside at one moment."""

    number: int
    run_id: UUID
    label: str
    taken_at: datetime
    stacks: tuple[str, ...]


class StateStore:
    """The state database: a schema per boundary, who may write in it, and its snapshots."""

    def __init__(self, url: str) -> None:
        """`url` is a PostgreSQL address with its password; it never leaves this object."""
        self._url = urlsplit(url.replace("postgresql+psycopg://", "postgresql://"))
        if self._url.scheme not in ("postgres", "postgresql") or not self._url.hostname:
            raise InternalError(
                "the state database's address is not postgresql://user:password@host/database",
                fix="correct the file named by RINGFENCE_STATE_DATABASE_URL_FILE",
            )

    @classmethod
    def from_file(cls, path: Path) -> StateStore:
        """Read the address from a 0600 file."""
        return cls(path.read_text().strip())

    def ensure(self, boundary_id: UUID) -> None:
        """Create the boundary's schema, tables and trigger; safe to repeat and to race."""
        with self._connection() as connection, connection.transaction():
            # CREATE … IF NOT EXISTS still collides when two sessions run it at the same moment.
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", [str(boundary_id)])
            connection.execute(_sql(_SCHEMA, boundary_id))

    def claim(self, boundary_id: UUID, run_id: UUID, fence: int) -> None:
        """Make (run, fence) the only writer from now on; repeating the same claim is harmless.

        Raises: StaleFenceError when the run has a higher fence, or a later run has claimed.
        """
        with self._connection() as connection, connection.transaction():
            connection.execute(_sql("LOCK TABLE {schema}.engine_writer", boundary_id))
            rows = connection.execute(
                _sql("SELECT run_id, fence FROM {schema}.engine_writer ORDER BY seq", boundary_id)
            ).fetchall()
            known: dict[UUID, int] = dict(rows)
            if run_id in known and (rows[-1][0] != run_id or known[run_id] > fence):
                raise StaleFenceError(
                    f"run {run_id} with fence {fence} may not take the state: "
                    f"run {rows[-1][0]} holds it with fence {rows[-1][1]}"
                )
            connection.execute(
                _sql(
                    "INSERT INTO {schema}.engine_writer (run_id, fence) VALUES (%s, %s) "
                    "ON CONFLICT (run_id) DO UPDATE SET fence = excluded.fence, claimed_at = now()",
                    boundary_id,
                ),
                [run_id, fence],
            )

    def snapshot(self, boundary_id: UUID, run_id: UUID, label: str) -> int:
        """Copy the boundary's present stacks aside; returns how many were copied."""
        with self._connection() as connection:
            done = connection.execute(
                _sql(
                    "INSERT INTO {schema}.state_snapshot (run_id, label, key, data) "
                    "SELECT %s, %s, key, data FROM {schema}.pulumi_state "
                    "WHERE key LIKE %s AND key NOT LIKE '%%.bak'",
                    boundary_id,
                ),
                [run_id, label, self._key("stacks/%")],
            )
            return done.rowcount

    def snapshots(self, boundary_id: UUID) -> list[Snapshot]:
        """Return what was put aside of the boundary, newest first; a number is for good."""
        with self._connection() as connection:
            rows = connection.execute(
                _sql(
                    "SELECT min(id), run_id, label, taken_at,"
                    " array_agg(substring(key from '([^/]+)[.]json$') ORDER BY key)"
                    " FROM {schema}.state_snapshot GROUP BY run_id, label, taken_at"
                    " ORDER BY min(id) DESC",
                    boundary_id,
                )
            ).fetchall()
        return [Snapshot(number, run, label, at, tuple(s)) for number, run, label, at, s in rows]

    def put_back(
        self, boundary_id: UUID, run_id: UUID, fence: int, number: int | None
    ) -> tuple[str, ...]:
        """Make the stacks those of a snapshot, or none at all, as (run, fence); return which.

        One transaction: the record is the old one or the new one, whoever dies. Raises:
        NotFoundError for a number that was never given; StaleFenceError.
        """
        known = {one.number: one for one in self.snapshots(boundary_id)}
        if number is not None and number not in known:
            raise NotFoundError(
                f"there is no snapshot {number} of the boundary's state",
                field="snapshot",
                fix=f"take one of {', '.join(str(n) for n in known) or 'none: there is no other'}",
            )
        with self._fenced(run_id, fence) as connection:
            connection.execute(
                _sql("DELETE FROM {schema}.pulumi_state WHERE key LIKE %s", boundary_id),
                [self._key("stacks/%")],
            )
            if number is None:
                return ()
            chosen = known[number]
            connection.execute(
                _sql(
                    "INSERT INTO {schema}.pulumi_state (key, data) SELECT key, data"
                    " FROM {schema}.state_snapshot"
                    " WHERE run_id = %s AND label = %s AND taken_at = %s",
                    boundary_id,
                ),
                [chosen.run_id, chosen.label, chosen.taken_at],
            )
            return chosen.stacks

    def has_stack(self, boundary_id: UUID, project: str, stack: str) -> bool:
        """Say whether a stack exists."""
        key = self._key(f"stacks/{project}/{stack}.json")
        with self._connection() as connection:
            found = connection.execute(
                _sql("SELECT 1 FROM {schema}.pulumi_state WHERE key = %s", boundary_id), [key]
            ).fetchone()
        return found is not None

    def has_pending(self, boundary_id: UUID, project: str, stack: str) -> bool:
        """Say whether a stack's last checkpoint holds an operation that never ended."""
        found = self.read_stack(boundary_id, project, stack)
        return found is not None and bool(found[0].get("pending_operations"))

    def export_stack(self, boundary_id: UUID, project: str, stack: str) -> dict[str, Any] | None:
        """Return a stack as an exported state, without any claim; None when there is none.

        For runs that only read. Secrets in it stay encrypted.
        """
        found = self.read_stack(boundary_id, project, stack)
        return None if found is None else {"version": 3, "deployment": found[0]}

    def read_stack(
        self, boundary_id: UUID, project: str, stack: str
    ) -> tuple[dict[str, Any], datetime] | None:
        """Return a stack's newest deployment and when it was written, or None.

        Reads the row and claims nothing, so that no running engine is disturbed.
        """
        key = self._key(f"stacks/{project}/{stack}.json")
        with self._connection() as connection:
            row = connection.execute(
                _sql(
                    "SELECT data, updated_at FROM {schema}.pulumi_state WHERE key = %s",
                    boundary_id,
                ),
                [key],
            ).fetchone()
        return None if row is None else (_latest(row[0]), row[1])

    def identifiers(self, boundary_id: UUID, project: str) -> set[str]:
        """Return the cloud's ids of everything that a project's stacks hold."""
        with self._connection() as connection:
            rows = connection.execute(
                _sql(
                    "SELECT data FROM {schema}.pulumi_state "
                    "WHERE key LIKE %s AND key NOT LIKE '%%.bak'",
                    boundary_id,
                ),
                [self._key(f"stacks/{project}/%.json")],
            ).fetchall()
        return {
            str(resource["id"])
            for row in rows
            for resource in _latest(row[0]).get("resources") or []
            if resource.get("id")
        }

    def locks(self, boundary_id: UUID) -> list[StateLock]:
        """Return the engine's lock files of the boundary."""
        with self._connection() as connection:
            rows = connection.execute(
                _sql("SELECT key, data FROM {schema}.pulumi_state WHERE key LIKE %s", boundary_id),
                [self._key("locks/%")],
            ).fetchall()
        return [StateLock(key, data) for key, data in rows]

    def clear_locks(self, boundary_id: UUID, run_id: UUID, fence: int) -> int:
        """Delete lock files as (run, fence), after their engines were proven dead.

        Raises: StaleFenceError when somebody else holds the state.
        """
        with self._fenced(run_id, fence) as connection:
            done = connection.execute(
                _sql("DELETE FROM {schema}.pulumi_state WHERE key LIKE %s", boundary_id),
                [self._key("locks/%")],
            )
            return done.rowcount

    def backend_url(self, boundary_id: UUID, run_id: UUID, fence: int) -> str:
        """Return the address for Pulumi: schema, run and fence in it, no password."""
        options = (
            f"-c search_path={schema_name(boundary_id)} "
            f"-c ringfence.run={run_id} -c ringfence.fence={fence}"
        )
        query = dict(parse_qsl(self._url.query))
        # Plain text only on loopback: elsewhere the server must prove who it is.
        local = self._url.hostname in _LOOPBACK
        query.setdefault("sslmode", "disable" if local else "verify-full")
        query["options"] = options
        user = quote(unquote(self._url.username or ""), safe="")
        address = f"{user}@{self._host()}:{self._port()}"
        return urlunsplit(
            ("postgres", address, self._url.path, urlencode(query, quote_via=quote), "")
        )

    def pgpass_line(self) -> str:
        """Return the line of a password file (libpq, "The Password File") for this database."""
        fields = (
            str(self._url.hostname),
            str(self._port()),
            self._url.path.lstrip("/"),
            unquote(self._url.username or ""),
            unquote(self._url.password or ""),
        )
        return ":".join(f.replace("\\", "\\\\").replace(":", "\\:") for f in fields) + "\n"

    def _key(self, path: str) -> str:
        # The engine puts the address's path before every key of its bucket.
        return f"{self._url.path.strip('/')}/.pulumi/{path}"

    def _host(self) -> str:
        host = str(self._url.hostname)
        return f"[{host}]" if ":" in host else host

    def _port(self) -> int:
        return self._url.port or 5432

    @contextmanager
    def _fenced(self, run_id: UUID, fence: int) -> Iterator[psycopg.Connection[Any]]:
        """Open one transaction that writes as (run, fence). Raises: StaleFenceError."""
        with self._connection() as connection, connection.transaction():
            connection.execute(
                "SELECT set_config('ringfence.run', %s, true), "
                "set_config('ringfence.fence', %s, true)",
                [str(run_id), str(fence)],
            )
            try:
                yield connection
            except psycopg.Error as error:
                if error.sqlstate == "RF001":
                    raise StaleFenceError(str(error.diag.message_primary)) from error
                raise

    @contextmanager
    def _connection(self) -> Iterator[psycopg.Connection[Any]]:
        conninfo = urlunsplit(self._url._replace(scheme="postgresql"))
        try:
            connection = psycopg.connect(conninfo, autocommit=True, connect_timeout=10)
        except psycopg.OperationalError as error:
            raise UnavailableError(
                f"the state database at {self._host()}:{self._port()} does not answer",
                internal_context={"error": type(error).__name__},
            ) from error
        with connection:
            yield connection


def schema_name(boundary_id: UUID) -> str:
    """Return the schema of a boundary's state."""
    return f"boundary_{boundary_id.hex}"


def _latest(data: dict[str, Any]) -> dict[str, Any]:
    """Return the newest deployment of a stack's row; empty for a stack that holds nothing yet."""
    # The backend stores files: base64 in a JSON object (backend/diy/postgres, blobData).
    document = json.loads(base64.b64decode(data["data"]))
    return (document.get("checkpoint") or {}).get("latest") or {}


def _sql(text: str, boundary_id: UUID) -> sql.Composed:
    # The template's only placeholder is the schema; its name is hexadecimal digits by construction.
    return sql.SQL(text).format(schema=sql.Identifier(schema_name(boundary_id)))
