"""The platform's chain, for who has a role at the platform and in no organization."""

from __future__ import annotations

import json

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from starlette.testclient import TestClient

from controlplane.core.audit import PLATFORM_CHAIN
from controlplane.core.db import Database
from controlplane.core.ids import new_id
from controlplane.domains.audit.tasks import sign_checkpoint
from controlplane.domains.identity.tokens import new_token, token_hash
from proof.audit_log import verify_export
from proof.keys import fingerprint
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import Person
from tests.integration.audit.test_reading import Key
from tests.postgres import DatabaseUrls

PATHS = tuple(f"/v1/platform/audit{part}" for part in ("", "/events", "/checkpoints", "/export"))


def keeper(urls: DatabaseUrls, client: TestClient, role: str) -> Person:
    """Return a person of the vendor with a role at the platform only."""
    token, principal = new_token("rfp"), new_id()
    with psycopg.connect(urls.admin) as connection:
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display)"
            " VALUES (%s, 'https://idp.vendor.example', %s, 'human', 'Keeper')",
            (principal, f"{role}@vendor.example"),
        )
        connection.execute(
            "INSERT INTO platform_role (id, principal_id, role) VALUES (%s, %s, %s)",
            (new_id(), principal, role),
        )
        connection.execute(
            "INSERT INTO api_token (id, principal_id, token_hash, expires_at)"
            " VALUES (%s, %s, %s, now() + interval '1 hour')",
            (new_id(), principal, token_hash(token)),
        )
    return Person(client, token)


@pytest.mark.parametrize("role", ["platform-admin", "auditor"])
def test_who_keeps_the_platform_reads_exports_and_verifies_its_chain(
    acme: PersonOf,
    client: TestClient,
    database: DatabaseUrls,
    control_plane_key: Ed25519PrivateKey,
    role: str,
) -> None:
    person = keeper(database, client, role)
    page = person.get("/v1/platform/audit/events?limit=2")
    assert page.status_code == 200, page.text
    assert page.json()["chain"] == "platform"
    assert len(page.json()["events"]) == 2
    worker = Database.connect(database.worker, pool_size=1)
    sign_checkpoint(worker, Key(control_plane_key), chain_id=str(PLATFORM_CHAIN))
    worker.close()
    state = person.get("/v1/platform/audit").json()
    assert (state["name"], state["chain_id"]) == ("platform", str(PLATFORM_CHAIN))
    assert state["checkpoint"]["size"] == state["size"]
    (checkpoint,) = person.get("/v1/platform/audit/checkpoints").json()["checkpoints"]
    assert checkpoint["size"] == state["size"]
    lines = person.get("/v1/platform/audit/export").content.splitlines()
    verdict = verify_export(lambda: iter(lines), frozenset({fingerprint(control_plane_key)}), [])
    assert verdict.holds, verdict
    events = [json.loads(line)["event"] for line in lines if b'"type":"event"' in line]
    # Reading and exporting are events of the same chain, by who did it.
    assert [e["code"] for e in events[-2:]] == ["audit.read", "audit.exported"]
    assert {e["actor"]["subject"] for e in events[-2:]} == {f"{role}@vendor.example"}


def test_who_keeps_the_platform_sees_nothing_of_organizations(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    person = keeper(database, client, "platform-admin")
    exported = person.get("/v1/platform/audit/export").text
    with psycopg.connect(database.admin) as connection:
        ids = connection.execute("SELECT id FROM organization").fetchall()
    assert ids
    for line in exported.splitlines():
        event = json.loads(line).get("event", {})
        assert event.get("organization_id") is None
        assert event.get("boundary_id") is None
    for chain in ("organization/acme", "boundary/payments"):
        for path in ("events", "checkpoints", "export"):
            answer = person.get(f"/v1/audit/{path}?chain={chain}")
            assert answer.status_code == 403, answer.text
    assert person.get("/v1/audit/chains").status_code == 403


def test_a_role_in_an_organization_or_another_role_does_not_open_it(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    for person in (acme("omar"), acme("ana"), keeper(database, client, "approver")):
        for path in PATHS:
            answer = person.get(path)
            assert answer.status_code == 403, answer.text
    for path in PATHS:
        assert client.get(path).status_code == 401
