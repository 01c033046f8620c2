"""The sealed administrator: one use, two people, thirty minutes, and everybody is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from controlplane import break_glass
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import Person, organization
from tests.postgres import DatabaseUrls

REASON = "the identity provider is down and a boundary must be stopped"


def open_with(client: TestClient, secret: str, second: str = "omar@acme.test") -> Any:
    """Try to open."""
    body = {"secret": secret, "reason": REASON, "second_person": second}
    return client.post("/v1/break-glass/open", json=body)


def events(database: DatabaseUrls, code: str) -> list[Any]:
    """Return (of an organization?, detail) of the events with a code."""
    with psycopg.connect(database.admin) as connection:
        return connection.execute(
            "SELECT organization_id IS NOT NULL, detail FROM audit_event WHERE code = %s"
            " ORDER BY organization_id NULLS FIRST",
            (code,),
        ).fetchall()


def test_the_sealed_secret_opens_once_for_thirty_minutes(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    secret = break_glass.seal(database.owner)
    answer = open_with(client, secret)
    assert answer.status_code == 201, answer.text
    admin = Person(client, answer.json()["token"])
    me = admin.get("/v1/me").json()
    assert (me["kind"], [r["role"] for r in me["roles"]]) == ("break-glass", ["platform-admin"])
    assert open_with(client, secret).status_code == 401
    with psycopg.connect(database.admin) as connection:
        lives = connection.execute(
            "SELECT max(expires_at) BETWEEN now() + interval '29 min' AND now()"
            " + interval '30 min' FROM api_token WHERE prefix LIKE 'rfb_%'"
        ).fetchone()
        assert lives == (True,)
        connection.execute("UPDATE api_token SET expires_at = now() WHERE prefix LIKE 'rfb_%'")
    assert admin.get("/v1/me").status_code == 401


def test_opening_is_told_to_the_platform_and_to_every_organization(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    document = organization()
    document["organization"] = "globex"
    document["identity_provider"] = "https://idp.globex.example"
    assert acme("max").put("/v1/organizations/globex", document).status_code == 200
    secret = break_glass.seal(database.owner)
    token = open_with(client, secret, "pia@acme.test")
    # The same subject of two issuers is not one person.
    assert (token.status_code, token.json()["error"]["field"]) == (400, "second_person")
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET disabled_at = now() WHERE issuer = 'https://idp.globex.example'"
        )
    opened = open_with(client, secret, "pia@acme.test")
    assert opened.status_code == 201
    told = events(database, "break-glass.opened")
    assert [of_organization for of_organization, _ in told] == [False, True, True]
    for _, detail in told:
        assert (detail["subject"], detail["reason"]) == ("pia@acme.test", REASON)
        assert secret not in str(detail)
        assert opened.json()["token"] not in str(detail)


def test_staff_sees_that_it_is_open_and_engineers_only_that_something_is(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    closed = {"open": False, "since": None, "ends_at": None, "by": None, "reason": None}
    assert acme("ana").get("/v1/status").json() == {"break_glass": {**closed, "sealed": False}}
    secret = break_glass.seal(database.owner)
    assert acme("ana").get("/v1/status").json() == {"break_glass": {**closed, "sealed": True}}
    open_with(client, secret)
    shown = acme("ana").get("/v1/status").json()["break_glass"]
    assert (shown["open"], shown["sealed"], shown["reason"]) == (True, False, REASON)
    assert shown["by"]["subject"] == "omar@acme.test"
    less = acme("pia").get("/v1/status").json()["break_glass"]
    assert (less["open"], less["by"], less["reason"]) == (True, None, None)
    assert acme("pia").get("/v1/me").json()["break_glass_open"] is True


def test_it_reaches_no_tenants_rows_decides_nothing_and_makes_no_tokens(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    token = open_with(client, break_glass.seal(database.owner)).json()["token"]
    admin = Person(client, token)
    for path in ("/v1/boundaries", "/v1/organizations/acme/people", "/v1/installs"):
        assert admin.get(path).status_code in (403, 404)
    assert admin.post("/v1/tokens", {"name": "for ever"}).status_code == 403


def test_it_is_closed_early_and_that_is_told_too(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    admin = Person(client, open_with(client, break_glass.seal(database.owner)).json()["token"])
    assert acme("ana").post("/v1/break-glass/close").status_code == 403
    assert admin.post("/v1/break-glass/close").status_code == 204
    assert admin.get("/v1/me").status_code == 401
    assert acme("max").post("/v1/break-glass/close").status_code == 409
    assert len(events(database, "break-glass.closed")) == 2


def test_a_wrong_secret_is_refused_recorded_and_soon_not_even_compared(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    secret = break_glass.seal(database.owner)
    for _ in range(5):
        assert open_with(client, "rfb_" + "x" * 43).status_code == 401
    refused = open_with(client, secret)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too-many-attempts")
    found = events(database, "break-glass.refused")
    assert len(found) == 5
    assert "x" * 20 not in str(found)
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE break_glass_attempt SET at = now() - interval '16 min'")
    assert open_with(client, secret).status_code == 201


def test_an_unknown_second_person_uses_nothing_up(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    secret = break_glass.seal(database.owner)
    refused = open_with(client, secret, "nobody@acme.test")
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "second_person")
    # Without the secret one learns nothing about who is known.
    assert open_with(client, "rfb_" + "x" * 43, "nobody@acme.test").status_code == 401
    assert open_with(client, secret).status_code == 201


def test_sealing_again_replaces_an_unused_secret(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    old, new = break_glass.seal(database.owner), break_glass.seal(database.owner)
    assert open_with(client, old).status_code == 401
    assert open_with(client, new).status_code == 201
    with psycopg.connect(database.admin) as connection:
        kept = connection.execute("SELECT break_glass_seal::text FROM break_glass_seal").fetchall()
    assert old not in str(kept)
    assert new not in str(kept)


def test_only_the_owner_of_the_database_seals(database: DatabaseUrls) -> None:
    with pytest.raises(Exception, match="permission denied"):
        break_glass.seal(database.api)


def test_the_command_prints_the_secret_once_and_names_what_is_missing(
    database: DatabaseUrls,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    monkeypatch.setattr("sys.argv", ["break_glass", "seal"])
    monkeypatch.delenv("RINGFENCE_OWNER_DATABASE_URL_FILE", raising=False)
    assert break_glass.main() == 2
    assert "RINGFENCE_OWNER_DATABASE_URL_FILE is not set" in capsys.readouterr().err
    file = tmp_path / "owner"
    file.write_text(database.owner)
    monkeypatch.setenv("RINGFENCE_OWNER_DATABASE_URL_FILE", str(file))
    assert break_glass.main() == 0
    assert capsys.readouterr().out.startswith("rfb_")
