"""The sealed administrator: one use, two parts, thirty minutes, and everybody is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from controlplane import break_glass
from controlplane.break_glass import CustodianError, Parts
from controlplane.domains.identity.tokens import seal_hash, token_hash
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import ISSUER, Person, organization
from tests.postgres import DatabaseUrls

REASON = "the identity provider is down and a boundary must be stopped"


CUSTODIANS = ("omar@acme.test", "max@acme.test")
WRONG = "rfb_" + "x" * 43


def sealed(urls: DatabaseUrls) -> Parts:
    """Seal a secret for two custodians and return its parts."""
    parts = break_glass.new_parts()
    break_glass.seal(urls.owner, CUSTODIANS, parts)
    return parts


def open_with(client: TestClient, parts: Parts) -> Any:
    """Try to open."""
    body = {"first_part": parts[0], "second_part": parts[1], "reason": REASON}
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
    secret = sealed(database)
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
    secret = sealed(database)
    document = organization()
    document["organization"] = "globex"
    document["identity_provider"] = "https://idp.globex.example"
    assert acme("max").put("/v1/organizations/globex", document).status_code == 200
    opened = open_with(client, secret)
    assert opened.status_code == 201
    told = events(database, "break-glass.opened")
    assert [of_organization for of_organization, _ in told] == [False, True, True]
    for _, detail in told:
        assert (detail["subjects"], detail["reason"]) == (list(CUSTODIANS), REASON)
        assert not [part for part in secret if part in str(detail)]
        assert opened.json()["token"] not in str(detail)


def test_staff_sees_that_it_is_open_and_engineers_only_that_something_is(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    closed: dict[str, Any] = {
        "open": False,
        "since": None,
        "ends_at": None,
        "by": [],
        "reason": None,
    }
    assert acme("ana").get("/v1/status").json() == {"break_glass": {**closed, "sealed": False}}
    secret = sealed(database)
    assert acme("ana").get("/v1/status").json() == {"break_glass": {**closed, "sealed": True}}
    open_with(client, secret)
    shown = acme("ana").get("/v1/status").json()["break_glass"]
    assert (shown["open"], shown["sealed"], shown["reason"]) == (True, False, REASON)
    assert [p["subject"] for p in shown["by"]] == list(CUSTODIANS)
    less = acme("pia").get("/v1/status").json()["break_glass"]
    assert (less["open"], less["by"], less["reason"]) == (True, [], None)
    assert acme("pia").get("/v1/me").json()["break_glass_open"] is True


def test_it_reaches_no_tenants_rows_decides_nothing_and_makes_no_tokens(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    token = open_with(client, sealed(database)).json()["token"]
    admin = Person(client, token)
    for path in ("/v1/boundaries", "/v1/organizations/acme/people", "/v1/installs"):
        assert admin.get(path).status_code in (403, 404)
    assert admin.post("/v1/tokens", {"name": "for ever"}).status_code == 403


def test_it_is_closed_early_and_that_is_told_too(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    admin = Person(client, open_with(client, sealed(database)).json()["token"])
    assert acme("ana").post("/v1/break-glass/close").status_code == 403
    assert admin.post("/v1/break-glass/close").status_code == 204
    assert admin.get("/v1/me").status_code == 401
    assert acme("max").post("/v1/break-glass/close").status_code == 409
    assert len(events(database, "break-glass.closed")) == 2


def test_a_wrong_secret_is_refused_recorded_and_soon_not_even_compared(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    secret = sealed(database)
    for _ in range(5):
        assert open_with(client, (WRONG, WRONG)).status_code == 401
    refused = open_with(client, secret)
    assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too-many-attempts")
    assert refused.headers["Retry-After"] == "900"
    found = events(database, "break-glass.refused")
    assert len(found) == 5
    assert "x" * 20 not in str(found)
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE break_glass_attempt SET at = now() - interval '16 min'")
    assert open_with(client, secret).status_code == 201


def test_either_part_alone_or_twice_opens_nothing_and_uses_nothing_up(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    first, second = sealed(database)
    for parts in ((first, WRONG), (WRONG, second), (first, first), (second, second)):
        assert open_with(client, parts).status_code == 401
    for body in ({"first_part": first}, {"first_part": first, "second_part": "", "reason": REASON}):
        assert client.post("/v1/break-glass/open", json=body).status_code == 422
    assert len(events(database, "break-glass.refused")) == 4
    # Whoever reads the database has nothing to try one part against.
    with psycopg.connect(database.admin) as connection:
        kept = connection.execute("SELECT secret_hash FROM break_glass_seal").fetchall()
    assert kept == [(seal_hash((first, second)),)]
    assert {token_hash(first), token_hash(second)}.isdisjoint(kept[0])
    # In whichever order the two custodians come.
    assert open_with(client, (second, first)).status_code == 201


def test_a_custodian_who_was_disabled_opens_nothing(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    parts = sealed(database)
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET disabled_at = now() WHERE subject = %s", (CUSTODIANS[1],)
        )
    refused = open_with(client, parts)
    assert refused.status_code == 401
    assert "a custodian of it was disabled" in refused.json()["error"]["message"]
    assert len(events(database, "break-glass.refused")) == 1


@pytest.mark.parametrize(
    ("custodians", "reason"),
    [
        (("omar@acme.test",), "two custodians, and 1"),
        (("omar@acme.test", "omar@acme.test"), "one person"),
        (("omar@acme.test", "ana@acme.test"), "one person"),
        (("omar@acme.test", "nobody@acme.test"), "not one person who is known"),
        (("omar@acme.test", "pia@acme.test"), "write ISSUER#SUBJECT"),
        (("omar@acme.test", f"{ISSUER}#rui@acme.test"), "not one person who is known"),
    ],
    ids=["one", "same", "person-key", "unknown", "two-issuers", "disabled"],
)
def test_a_secret_is_sealed_for_two_different_known_people_only(
    acme: PersonOf, database: DatabaseUrls, custodians: tuple[str, ...], reason: str
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET person_key = '4711' WHERE subject IN"
            " ('omar@acme.test', 'ana@acme.test')"
        )
        connection.execute(
            "UPDATE principal SET disabled_at = now() WHERE subject = 'rui@acme.test'"
        )
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display) VALUES"
            " (gen_random_uuid(), 'https://idp.globex.example', 'pia@acme.test', 'human', 'Pia')"
        )
    with pytest.raises(CustodianError, match=reason):
        break_glass.seal(database.owner, custodians, break_glass.new_parts())
    break_glass.seal(
        database.owner, ("omar@acme.test", f"{ISSUER}#pia@acme.test"), break_glass.new_parts()
    )


def test_sealing_again_replaces_an_unused_secret(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    old, new = sealed(database), sealed(database)
    assert open_with(client, old).status_code == 401
    assert open_with(client, new).status_code == 201
    with psycopg.connect(database.admin) as connection:
        kept = connection.execute("SELECT break_glass_seal::text FROM break_glass_seal").fetchall()
    assert not [part for part in (*old, *new) if part in str(kept)]


def test_only_the_owner_of_the_database_seals(acme: PersonOf, database: DatabaseUrls) -> None:
    with pytest.raises(Exception, match="permission denied"):
        break_glass.seal(database.api, CUSTODIANS, break_glass.new_parts())


def test_the_command_gives_each_custodian_a_file_of_their_own(
    acme: PersonOf,
    client: TestClient,
    database: DatabaseUrls,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    # Logging is the process's: what the command sets would stay for the tests after this one.
    monkeypatch.setattr("controlplane.core.logging.configure", lambda process: None)
    files = [tmp_path / "omar.part", tmp_path / "max.part"]

    def run(*custodians: str) -> tuple[int, str, str]:
        words = [w for c, f in zip(custodians, files, strict=False) for w in
                 ("--custodian", c, "--file", str(f))]  # fmt: skip
        monkeypatch.setattr("sys.argv", ["break_glass", "seal", *words])
        code = break_glass.main()
        return code, *capsys.readouterr()

    monkeypatch.delenv("RINGFENCE_OWNER_DATABASE_URL_FILE", raising=False)
    assert "RINGFENCE_OWNER_DATABASE_URL_FILE is not set" in run(*CUSTODIANS)[2]
    file = tmp_path / "owner"
    file.write_text(database.owner)
    monkeypatch.setenv("RINGFENCE_OWNER_DATABASE_URL_FILE", str(file))
    for custodians, reason in (
        (CUSTODIANS[:1], "two custodians"),
        (("omar@acme.test", "x"), "'x'"),
    ):
        code, out, err = run(*custodians)
        assert (code, out) == (2, "")
        assert reason in err
        assert not [f for f in files if f.exists()]
    code, out, err = run(*CUSTODIANS)
    assert (code, out) == (0, "")
    assert f"omar@acme.test: {files[0]}" in err
    parts = [f.read_text().strip() for f in files]
    assert [f.stat().st_mode & 0o777 for f in files] == [0o600, 0o600]
    assert not [part for part in parts if part in err]
    # A file that is there is never overwritten, and nothing is sealed then.
    assert "File exists" in run(*CUSTODIANS)[2]
    assert [f.read_text().strip() for f in files] == parts
    assert open_with(client, (parts[0], parts[1])).status_code == 201
