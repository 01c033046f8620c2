"""Two organizations, boundaries with an object of each kind, a caller for each role and place.

Used by the tests of the published table. The organizations are applied through the API; callers and
objects are rows, because most states of theirs take a whole install to reach.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb
from starlette.testclient import TestClient

from controlplane.core.ids import new_id
from controlplane.domains.identity.tokens import token_hash
from controlplane.tables import metadata
from controlplane.tables.identity import RoleName
from tests.integration.api.people import ISSUER, organization, register, token_of
from tests.integration.database.rows import insert_row
from tests.postgres import DatabaseUrls

GLOBEX_ISSUER, VENDOR_ISSUER = "https://idp.globex.example", "https://idp.vendor.example"
HELD_AT = (
    "platform",
    "organization",
    "own boundary",
    "other boundary",
    "guest pending",
    "other organization",
)
OBJECTS = {
    "connection_id": "cloud_connection",
    "verification_id": "connection_verification",
    "grant_id": "access_grant",
    "install_id": "install",
    "run_id": "run",
    "key_id": "gateway_key",
    "finding_id": "drift_finding",
}
"""Path parameter -> table; a parameter that is not here gets an id that does not exist."""


@dataclass
class Spot:
    """One boundary: its name, ids, and an object of each kind in it."""

    name: str
    organization: str
    organization_id: UUID
    boundary_id: UUID
    objects: dict[str, UUID] = field(default_factory=dict)


@dataclass
class World:
    """What the tests ask about, and who asks."""

    client: TestClient
    own: Spot
    other: Spot
    foreign: Spot
    callers: dict[tuple[str, str], str]
    """(role, where it is held) -> token."""

    def ask(
        self, method: str, path: str, token: str | None, body: Any = None, organization: str = ""
    ) -> Any:
        """Send one request, naming the organization by header when there is one."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if organization:
            headers["Ringfence-Organization"] = organization
        if isinstance(body, bytes):
            return self.client.request(method, path, headers=headers, content=body)
        return self.client.request(method, path, headers=headers, json=body)


def build(client: TestClient, urls: DatabaseUrls, folder: Path) -> World:
    """Fill the database and return the world."""
    register(urls, folder)
    for name, document in (("acme", organization()), ("globex", globex())):
        answer = client.put(
            f"/v1/organizations/{name}",
            json=document,
            headers={"Authorization": f"Bearer {token_of('sam@acme.test')}"},
        )
        assert answer.status_code == 200, answer.text
    with psycopg.connect(urls.admin) as connection:
        spots = {
            row[0]: Spot(*row)
            for row in connection.execute(
                "SELECT b.name, o.name, o.id, b.id FROM boundary b"
                " JOIN organization o ON o.id = b.organization_id"
            ).fetchall()
        }
    own, other, foreign = spots["payments"], spots["research"], spots["treasury"]
    for spot in (own, other, foreign):
        fill(urls, spot)
    callers = {
        (str(role), where): caller(urls, str(role), where, own, other, foreign)
        for role in RoleName
        for where in HELD_AT
    }
    return World(client, own, other, foreign, callers)


def globex() -> dict[str, Any]:
    """Return the file of another organization, whose boundaries have names of their own."""
    document = copy.deepcopy(organization())
    document |= {"organization": "globex", "identity_provider": GLOBEX_ISSUER}
    del document["role_mappings"]  # they name boundaries of the other organization
    for boundary, name in zip(document["boundaries"], ("treasury", "lending"), strict=True):
        boundary["name"] = name
    return document


def fill(urls: DatabaseUrls, spot: Spot) -> None:
    """Put one object of each kind into a boundary, in states in which they can be shown."""
    place = (spot.organization_id, spot.boundary_id)
    for table in OBJECTS.values():
        if table != "cloud_connection":
            insert_row(urls, metadata.tables[table], *place)
    insert_row(urls, metadata.tables["permission_document"], *place)
    with psycopg.connect(urls.admin) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE run SET state = 'succeeded', finished_at = now(), actor = %s, install_id ="
            " (SELECT id FROM install WHERE boundary_id = %s) WHERE boundary_id = %s",
            (Jsonb({"display": "Sam", "subject": "sam"}), spot.boundary_id, spot.boundary_id),
        )
        for table in ("access_grant", "connection_verification"):
            connection.execute(
                f"UPDATE {table} SET connection_id = (SELECT id FROM cloud_connection c"
                f" WHERE c.boundary_id = {table}.boundary_id) WHERE boundary_id = %s",
                (spot.boundary_id,),
            )
        connection.execute(
            "UPDATE access_grant SET permission_document_id = (SELECT id FROM permission_document d"
            " WHERE d.boundary_id = access_grant.boundary_id) WHERE boundary_id = %s",
            (spot.boundary_id,),
        )
        connection.execute(
            "UPDATE connection_verification SET attempts = '[]' WHERE boundary_id = %s",
            (spot.boundary_id,),
        )
        somebody = connection.execute(
            "SELECT id FROM principal WHERE subject = 'sam@acme.test' LIMIT 1"
        ).fetchone()
        assert somebody is not None
        for table, column in (
            ("access_grant", "requested_by"),
            ("run", "requested_by"),
            ("install", "created_by"),
            ("gateway_key", "owner_id"),
        ):
            connection.execute(
                f"UPDATE {table} SET {column} = %s WHERE boundary_id = %s",
                (somebody[0], spot.boundary_id),
            )
        connection.execute(
            "UPDATE gateway_key SET group_id = (SELECT id FROM principal_group WHERE"
            " organization_id = %s LIMIT 1) WHERE boundary_id = %s",
            place,
        )
        for parameter, table in OBJECTS.items():
            found = connection.execute(
                f"SELECT id FROM {table} WHERE boundary_id = %s", (spot.boundary_id,)
            ).fetchone()
            assert found is not None, table
            spot.objects[parameter] = found[0]
        spot.objects["service_id"] = _service(connection, spot)
        spot.objects["report_id"] = _report(connection, spot, somebody[0])


def _service(connection: psycopg.Connection[Any], spot: Spot) -> UUID:
    """Write a service identity of a boundary and return its id."""
    identifier, principal = new_id(), new_id()
    connection.execute(
        "INSERT INTO principal (id, issuer, subject, kind, display, organization_id)"
        " VALUES (%s, 'ringfence', %s, 'service', 'robot', %s)",
        (principal, f"service/{identifier}", spot.organization_id),
    )
    connection.execute(
        "INSERT INTO service_identity (organization_id, id, principal_id, boundary_id, name,"
        " purpose) VALUES (%s, %s, %s, %s, %s, 'test')",
        (spot.organization_id, identifier, principal, spot.boundary_id, f"robot-{spot.name}"),
    )
    return identifier


def _report(connection: psycopg.Connection[Any], spot: Spot, somebody: UUID) -> UUID:
    """Write a finished report on a boundary, without rows, and return its id."""
    identifier, covers = new_id(), [spot.boundary_id]
    connection.execute(
        "INSERT INTO report (organization_id, id, boundary_id, covers, kind, parameters, state,"
        " requested_by, finished_at, row_count, findings, root)"
        " VALUES (%s, %s, %s, %s, 'R1', '{}', 'ready', %s, now(), 0, 0, 'sha256:x')",
        (spot.organization_id, identifier, spot.boundary_id, covers, somebody),
    )
    connection.execute(
        "INSERT INTO report_file (organization_id, report_id, format, covers, digest, size_bytes)"
        " VALUES (%s, %s, 'json', %s, 'sha256:x', 2)",
        (spot.organization_id, identifier, covers),
    )
    connection.execute(
        "INSERT INTO report_piece (organization_id, report_id, format, position, covers, data)"
        " VALUES (%s, %s, 'json', 0, %s, '{}')",
        (spot.organization_id, identifier, covers),
    )
    return identifier


def caller(urls: DatabaseUrls, role: str, where: str, own: Spot, other: Spot, foreign: Spot) -> str:
    """Make a principal with one role at one place and return its token."""
    token = f"rfp_canary-{role}-{where.replace(' ', '-')}-{'y' * 40}"
    issuer = {"guest pending": VENDOR_ISSUER, "other organization": GLOBEX_ISSUER}.get(
        where, ISSUER
    )
    who = new_id()
    with psycopg.connect(urls.admin) as connection:
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display)"
            " VALUES (%s, %s, %s, 'human', %s)",
            (who, issuer, f"{role}@{where}", f"{role} at {where}"),
        )
        connection.execute(
            "INSERT INTO api_token (id, principal_id, token_hash, expires_at)"
            " VALUES (%s, %s, %s, now() + interval '1 hour')",
            (new_id(), who, token_hash(token)),
        )
        if where == "platform":
            connection.execute(
                "INSERT INTO platform_role (id, principal_id, role) VALUES (%s, %s, %s)",
                (new_id(), who, role),
            )
            return token
        spot = foreign if where == "other organization" else own
        boundary = {"own boundary": own.boundary_id, "other boundary": other.boundary_id}.get(where)
        connection.execute(
            "INSERT INTO role_assignment (organization_id, id, boundary_id, principal_id, role,"
            " valid_from, reason) VALUES (%s, %s, %s, %s, %s, now(), 'test')",
            (spot.organization_id, new_id(), boundary, who, role),
        )
    return token
