"""The boundary's own PostgreSQL: connection pool, migrations, the boundary's key.

Opened by `main`. Separate because `gateway/` owns this database: nobody else migrates or writes it.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

from psycopg import AsyncConnection
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool

MIGRATIONS = Path(__file__).resolve().parent / "migrations"
_MIGRATION_LOCK = 0x52494E47  # "RING": any number, the same in every replica
Pool = AsyncConnectionPool[AsyncConnection[TupleRow]]


class MigrationError(RuntimeError):
    """The database does not fit this gateway; the message says how and what to do."""


def open_pool(url_file: Path) -> Pool:
    """Return an unopened pool for the URL in a file."""
    url = url_file.read_text().strip()
    return AsyncConnectionPool(
        url,
        min_size=1,
        max_size=8,
        open=False,
        timeout=5,
        kwargs={"application_name": "ringfence-gateway", "options": "-c timezone=UTC"},
    )


async def migrate(pool: Pool, folder: Path = MIGRATIONS) -> None:
    """Apply the SQL files that are new, in order, in one transaction under an advisory lock.

    Raises: MigrationError when an applied file has changed or the database is newer than we are.
    """
    files = sorted(folder.glob("*.sql"))
    async with pool.connection() as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", [_MIGRATION_LOCK])
        await connection.execute("SET LOCAL lock_timeout = '5s'")
        await connection.execute(
            "CREATE TABLE IF NOT EXISTS gateway_schema_version ("
            " name text PRIMARY KEY, digest text NOT NULL,"
            " applied_at timestamptz NOT NULL DEFAULT now())"
        )
        rows = await connection.execute("SELECT name, digest FROM gateway_schema_version")
        applied = {str(name): str(digest) for name, digest in await rows.fetchall()}
        if unknown := sorted(applied.keys() - {f.name for f in files}):
            raise MigrationError(
                f"the database was migrated by a newer gateway ({', '.join(unknown)}); "
                "run that version or restore a backup"
            )
        for file in files:
            sql = file.read_bytes()
            digest = hashlib.sha256(sql).hexdigest()
            if file.name in applied:
                if applied[file.name] != digest:
                    raise MigrationError(
                        f"{file.name} has changed since it was applied; restore it"
                    )
                continue
            await connection.execute(sql)
            await connection.execute(
                "INSERT INTO gateway_schema_version (name, digest) VALUES (%s, %s)",
                [file.name, digest],
            )


async def pseudonymizer(pool: Pool) -> Callable[[str], str]:
    """Return the function from owner to pseudonym; its key is made at first start."""
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO boundary_key (name, value) VALUES ('subject', %s) ON CONFLICT DO NOTHING",
            [secrets.token_bytes(32)],
        )
        rows = await connection.execute("SELECT value FROM boundary_key WHERE name = 'subject'")
        row = await rows.fetchone()
    if row is None:
        raise MigrationError("the boundary's key is missing right after it was written")
    key = bytes(row[0])
    return lambda owner: hmac.new(key, owner.encode(), hashlib.sha256).hexdigest()
