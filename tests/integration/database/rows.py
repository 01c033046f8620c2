"""One row per tenant table, made from the metadata: so that a new table is covered at once.

Written as the server's administrator with foreign keys off; checks and not-null still hold.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb
from sqlalchemy import Table

from controlplane.core.ids import new_id
from controlplane.tables import metadata
from proof.canonical import digest
from tests.postgres import DatabaseUrls

VALUES: dict[str, Any] = {
    "artifact.digest": "sha256:" + "a" * 64,
    "permission_document.digest": digest({}),
    "model_version.kind": "base",
    "approval.subject_kind": "grant",
    "approval.decision": "approved",
    "cloud_connection.external_id": "ringfence-" + "0" * 32,
    "cloud_connection.state": "unverified",
    "connection_verification.expect": "closed",
    "connection_verification.state": "queued",
    "access_grant.state": "requested",
    "access_grant.duration_seconds": 3600,
    "install.lifecycle": "requested",
    "install.health": "unknown",
    "install.drift": "unknown",
    "drift_finding.change": "changed",
    "install.access": "unknown",
    "verb.kind": "close",
    "waiver.kind": "guest",
    "waiver.ends_at": datetime.now(UTC) + timedelta(days=1),
    "usage_bucket.grain": "hour",
    "usage_export.export": "none",
    "run.state": "planning",
    "step.state": "pending",
    "step.position": 1,
    "maintenance_window.minutes": 60,
    "window_override.minutes": 60,
    "role_assignment.principal_id": UUID(int=1),
    "vendor_session.purpose": "work",
    "vendor_session.outcome": "opened",
}


def boundary_tables() -> list[Table]:
    """Return all tables whose rows belong to one boundary."""
    return [table for table in metadata.sorted_tables if table.info.get("tenancy") == "boundary"]


def insert_row(urls: DatabaseUrls, table: Table, organization_id: UUID, boundary_id: UUID) -> None:
    """Write one row of a table for a boundary, or for its organization."""
    values = {
        column.name: _value(table, column.name, column.type.python_type)
        for column in table.columns
        if (not column.nullable and column.server_default is None)
        or f"{table.name}.{column.name}" in VALUES
    }
    places = {
        "organization_id": organization_id,
        "boundary_id": boundary_id,
        "chain_id": boundary_id,
        "issuer": str(organization_id),
    }
    nullable = table.info.get("tenancy") == "organization"
    values |= {
        name: value
        for name, value in places.items()
        if name in table.columns and not (nullable and name == "boundary_id")
    }
    if "requested_by" in values and "decided_by" in table.columns:
        values["requested_by"] = new_id()
    statement = sql.SQL("INSERT INTO {} ({}) VALUES ({})").format(
        sql.Identifier(table.name),
        sql.SQL(", ").join(sql.Identifier(name) for name in values),
        sql.SQL(", ").join(sql.Placeholder() for _ in values),
    )
    with psycopg.connect(urls.admin) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(statement, list(values.values()))


def _value(table: Table, column: str, kind: type) -> Any:
    known = VALUES.get(f"{table.name}.{column}")
    if known is not None:
        return known
    made: dict[type, Any] = {
        UUID: new_id(),
        str: "x",
        int: 1,
        float: 1.0,
        bool: False,
        datetime: datetime.now(UTC),
        date: datetime.now(UTC).date(),
        object: Jsonb({}),
        bytes: b"x",
    }
    return made[kind]
