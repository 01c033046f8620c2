"""PostgreSQL: declarative base, engine, and transactions that carry a tenant scope.

Every process uses `Database.transaction(scope)`: one request or task is one transaction, committed
here at the edge. The scope becomes two transaction-local settings that the row-level security
policies of the migrations read; without them a tenant table raises.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, DateTime, Engine, MetaData, Text, create_engine, event, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import UUID as PGUUID
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Session, sessionmaker
from sqlalchemy.pool import ConnectionPoolEntry

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """The base of all tables; times are aware, dicts are JSONB, text has no length."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {  # noqa: RUF012 - SQLAlchemy reads it from the class
        UUID: PGUUID(as_uuid=True),
        datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB(),
        list[Any]: JSONB(),
        str: Text(),
    }


@dataclass(frozen=True)
class Scope:
    """The rows a transaction may see: one organization and a set of its boundaries.

    `boundary_ids=None` means organization tables only: a boundary table raises. An empty set
    sees no rows there. Platform scope opens the platform tables and raises on all others.
    """

    organization_id: UUID | None
    boundary_ids: frozenset[UUID] | None = None
    is_platform: bool = False

    @classmethod
    def platform(cls) -> Scope:
        """Return the scope of platform tables only."""
        return cls(None, None, is_platform=True)

    @classmethod
    def boundary(cls, organization_id: UUID, boundary_id: UUID) -> Scope:
        """Return the scope of one boundary."""
        return cls(organization_id, frozenset({boundary_id}))

    def settings(self) -> dict[str, str]:
        """Return the transaction-local settings that carry this scope."""
        boundaries = ""
        if self.boundary_ids is not None:
            boundaries = "{" + ",".join(sorted(str(b) for b in self.boundary_ids)) + "}"
        return {
            "app.organization": str(self.organization_id or ""),
            "app.boundaries": boundaries,
            "app.platform": "on" if self.is_platform else "",
        }


_DEAD_PEER = {
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""Without these a statement waits up to two hours for a server that a network cut took away.
Units: seconds, but `tcp_user_timeout` in milliseconds. Source: libpq, "Connection Strings"."""
STALLED_SECONDS = 30.0
"""How long a transaction may stand still between two statements, unless a process says less."""


def make_engine(
    url: str, *, pool_size: int = 10, stalled_seconds: float = STALLED_SECONDS
) -> Engine:
    """Return an engine for a `postgresql://` URL; a connection that lay idle is tried before use.

    One that was used a moment ago is not: the try is a round trip in every transaction, and a
    server that went away since then ends the transaction either way.
    Units: `stalled_seconds`. A process that was frozen or cut off in the middle of a transaction
    holds its locks, on a run and on an audit chain among others; the server ends it after so long.
    """
    driver_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
    engine = create_engine(
        driver_url,
        pool_size=pool_size,
        max_overflow=pool_size,
        # The one that was good a moment ago, and not one that may have died since.
        pool_use_lifo=True,
        # Parameters may hold hashes and tokens: never in an error's text.
        hide_parameters=True,
        connect_args={
            "options": "-c statement_timeout=15000 -c lock_timeout=8000"
            f" -c idle_in_transaction_session_timeout={stalled_seconds * 1000:.0f}",
            **_DEAD_PEER,
        },
    )
    event.listen(engine, "checkin", _note_use)
    event.listen(engine, "checkout", partial(_try_idle, engine))
    return engine


IDLE_SECONDS = 0.2
"""A connection that lay longer than this is tried before it is used. Short, because a worker writes
a step's end only once: on a connection that died meanwhile the step would have to run again."""


def _note_use(_: DBAPIConnection | None, record: ConnectionPoolEntry) -> None:
    record.info["used_at"] = time.monotonic()


def _try_idle(
    engine: Engine, connection: DBAPIConnection, record: ConnectionPoolEntry, _: Any
) -> None:
    """Make the pool replace its connections when one of them is dead. Raises: InvalidatePoolError.

    Source: SQLAlchemy, "Custom / Legacy Pessimistic Ping".
    """
    used_at = record.info.get("used_at")
    if used_at is None or time.monotonic() - used_at < IDLE_SECONDS:
        return
    try:
        engine.dialect.do_ping(connection)
    except engine.dialect.loaded_dbapi.Error as error:
        raise InvalidatePoolError from error


def apply_scope(session: Session, scope: Scope, fence: int | None = None) -> None:
    """Set the scope for the rest of the session's transaction, and a worker's fence with it."""
    values = scope.settings()
    parameters = {f"v{i}": values[key] for i, key in enumerate(_KEYS)}
    if fence is None:
        session.execute(_SET_SCOPE, parameters)
    else:
        session.execute(_SET_SCOPE_AND_FENCE, {**parameters, "fence": str(fence)})
    session.info["scope"] = scope


_KEYS = ("app.organization", "app.boundaries", "app.platform")
_SETTINGS = ", ".join(f"set_config('{key}', :v{i}, true)" for i, key in enumerate(_KEYS))
_SET_SCOPE = text(f"SELECT {_SETTINGS}")
_SET_SCOPE_AND_FENCE = text(f"SELECT {_SETTINGS}, set_config('ringfence.fence', :fence, true)")


class Database:
    """One database as one process sees it, with the rights of that process's role."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self._sessions = sessionmaker(engine, expire_on_commit=False)
        self._alone = engine.execution_options(isolation_level="AUTOCOMMIT")

    @classmethod
    def connect(
        cls, url: str, *, pool_size: int = 10, stalled_seconds: float = STALLED_SECONDS
    ) -> Database:
        """Return a database for a URL; the rest is as in `make_engine`."""
        return cls(make_engine(url, pool_size=pool_size, stalled_seconds=stalled_seconds))

    @contextmanager
    def transaction(self, scope: Scope, fence: int | None = None) -> Iterator[Session]:
        """Open one transaction under `scope`; commit at the end, roll back on any error.

        `fence` is what a worker announces that writes to a run; see `run_engine.fence`.
        """
        with self._sessions() as session, session.begin():
            apply_scope(session, scope, fence)
            yield session

    @contextmanager
    def statements(self) -> Iterator[Connection]:
        """Give a connection on which each statement is a transaction, and a single round trip.

        It has no scope: for functions of the migrations that need none or set their own.
        """
        with self._alone.connect() as connection:
            yield connection

    @contextmanager
    def snapshot(self, scope: Scope, *, statement_seconds: int) -> Iterator[Session]:
        """Open one read-only transaction that sees one moment throughout; nothing is kept.

        Units: `statement_seconds` replaces the usual limits, also of the time between statements,
        since whoever needs a snapshot reads much.
        Source: PostgreSQL, "Repeatable Read Isolation Level".
        """
        with self._sessions() as session, session.begin():
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            session.execute(text("SET TRANSACTION READ ONLY"))
            for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
                session.execute(text(f"SET LOCAL {limit} = {statement_seconds * 1000:d}"))
            apply_scope(session, scope)
            yield session

    def begin(self, scope: Scope) -> Session:
        """Return a session with an open scoped transaction, for an edge that commits itself."""
        session = self._sessions()
        try:
            apply_scope(session, scope)
        except BaseException:  # edge: closed and raised again
            session.close()
            raise
        return session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()
