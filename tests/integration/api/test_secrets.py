"""No secret in logs, errors or rows: planted canaries prove it."""

from __future__ import annotations

import json
import logging

import psycopg
import pytest
from psycopg import sql
from starlette.testclient import TestClient

from controlplane.core.logging import configure
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import PEOPLE, organization, token_of
from tests.postgres import DatabaseUrls


def all_text(database: DatabaseUrls) -> str:
    """Return every row of every table as text."""
    parts = []
    with psycopg.connect(database.admin) as connection:
        names = connection.execute(
            "SELECT tablename FROM pg_tables WHERE schemaname = 'public'"
        ).fetchall()
        for (name,) in names:
            rows = connection.execute(sql.SQL("SELECT * FROM {}").format(sql.Identifier(name)))
            parts += [repr(row) for row in rows]
    return "\n".join(parts)


def test_tokens_and_keys_are_in_no_row_log_or_error(
    acme: PersonOf,
    client: TestClient,
    database: DatabaseUrls,
    capfd: pytest.CaptureFixture[str],
) -> None:
    root = logging.getLogger()
    handlers = list(root.handlers)
    configure("api")
    try:
        made = acme("max").post(
            "/v1/boundaries/payments/gateway-keys",
            {"group": "payments-engineers", "owner": "pia@acme.test"},
        )
        key = made.json()["key"]
        canary = token_of("sam@acme.test")
        answers = [
            # Secrets where they do not belong: in a body, a query, a path, a wrong header.
            acme("sam").post("/v1/boundaries/payments/grants", {"purpose": 1, "token": canary}),
            acme("sam").post("/v1/installs", {"boundary": key, "grant_id": canary}),
            acme("sam").get(f"/v1/boundaries/{key}/usage?limit={canary}"),
            acme("sam").put("/v1/organizations/acme", {**organization(), "password": canary}),
            client.get("/v1/me", headers={"Authorization": f"Bearer {key}"}),
            client.post("/agent/v1/enrol", json={"token": key, "public_key": canary}),
        ]
    finally:
        root.handlers = handlers
    assert made.status_code == 201
    logs = "".join(capfd.readouterr())
    assert '"route": "/v1/boundaries/{boundary}/usage"' in logs
    secrets = [key, *(token_of(subject) for subject in PEOPLE)]
    rows = all_text(database)
    for secret in secrets:
        assert secret not in logs
        assert secret not in rows
    for answer in answers:
        assert 400 <= answer.status_code < 500, answer.text
        assert canary not in answer.text


def test_a_gateway_key_is_shown_once_and_kept_as_a_hash(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    made = acme("pia").post(
        "/v1/boundaries/payments/gateway-keys",
        {"group": "payments-engineers", "owner": "pia@acme.test"},
    )
    assert made.status_code == 201, made.text
    assert len(made.json()["key"]) > 40
    listed = acme("max").get("/v1/boundaries/payments/gateway-keys").json()["keys"]
    assert [set(k) & {"key", "key_hash"} for k in listed] == [set()]
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute("SELECT key_hash FROM gateway_key").fetchall()
    assert all(row[0].startswith("sha256:") for row in rows)


def test_an_engineer_makes_keys_for_nobody_else(acme: PersonOf) -> None:
    body = {"group": "payments-engineers", "owner": "rui@acme.test"}
    answer = acme("pia").post("/v1/boundaries/payments/gateway-keys", body)
    # Not a member of the group at all: said as such.
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "owner"
    other = {"group": "research-engineers", "owner": "rui@acme.test"}
    answer = acme("max").post("/v1/boundaries/payments/gateway-keys", other)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "group"


def test_an_internal_error_says_nothing_of_its_cause(
    acme: PersonOf, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("password=hunter2 in postgresql://user:hunter2@host/db")

    monkeypatch.setattr("controlplane.domains.boundaries.repository.list_boundaries", broken)
    answer = acme("sam").get("/v1/boundaries")
    assert answer.status_code == 500
    assert json.loads(answer.text)["error"]["code"] == "internal"
    assert "hunter2" not in answer.text
    assert answer.headers["ringfence-request"] == answer.json()["error"]["request_id"]
