"""API tokens: narrowed at each use, ending, shown once, and revocable by those who should."""

from __future__ import annotations

import threading
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import Person, organization
from tests.postgres import DatabaseUrls


def make(caller: Person, **body: Any) -> dict[str, Any]:
    """Make a token for the caller."""
    answer = caller.post("/v1/tokens", {"name": "ci", **body})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def boundaries(caller: Person) -> list[str]:
    """Return the names of the boundaries that a caller sees."""
    return [b["name"] for b in caller.get("/v1/boundaries").json()["boundaries"]]


def events(database: DatabaseUrls, code: str) -> list[Any]:
    """Return (organization known?, detail) of the audit events with a code."""
    with psycopg.connect(database.admin) as connection:
        return connection.execute(
            "SELECT organization_id IS NOT NULL, detail FROM audit_event WHERE code = %s"
            " ORDER BY at",
            (code,),
        ).fetchall()


def test_a_token_is_shown_once_and_kept_as_a_hash(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    made = make(acme("sam"))
    assert made["token"].startswith(made["prefix"])
    assert len(made["prefix"]) == 10
    assert Person(client, made["token"]).get("/v1/me").json()["subject"] == "sam@acme.test"
    listed = acme("sam").get("/v1/tokens")
    assert made["token"] not in listed.text
    (found,) = [t for t in listed.json()["tokens"] if t["id"] == made["id"]]
    assert (found["name"], found["state"], found["holder"]["subject"]) == (
        "ci",
        "active",
        "sam@acme.test",
    )
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute("SELECT api_token::text FROM api_token").fetchall()
    assert made["token"] not in str(rows)
    ((of_organization, detail),) = events(database, "token.issued")
    assert of_organization
    assert made["token"] not in str(detail)
    assert detail["prefix"] == made["prefix"]


def test_a_token_for_one_boundary_reaches_no_other(acme: PersonOf, client: TestClient) -> None:
    made = make(acme("sam"), organization="acme", boundary="payments")
    narrow = Person(client, made["token"])
    assert boundaries(acme("sam")) == ["payments", "research"]
    assert boundaries(narrow) == ["payments"]
    assert narrow.get("/v1/boundaries/research").status_code == 404
    # What needs a role of the whole organization is out of reach too.
    assert narrow.get("/v1/organizations/acme").status_code == 403
    assert narrow.put("/v1/organizations/acme", organization()).status_code == 403
    assert [r["boundary_id"] is None for r in narrow.get("/v1/me").json()["roles"]] == [False]


def test_a_token_for_one_boundary_reads_no_evidence_of_the_whole(
    acme: PersonOf, client: TestClient
) -> None:
    made = make(acme("max"), organization="acme", boundary="payments")
    narrow = Person(client, made["token"])
    whole = {c["name"] for c in acme("max").get("/v1/audit/chains").json()["chains"]}
    assert {"organization/acme", "boundary/research"} <= whole
    chains = {c["name"] for c in narrow.get("/v1/audit/chains").json()["chains"]}
    assert chains == {"boundary/payments"}
    assert narrow.get("/v1/audit/events?chain=organization/acme").status_code == 404
    assert acme("max").post("/v1/reports", {"kind": "R1"}).status_code == 202
    assert narrow.post("/v1/reports", {"kind": "R1"}).status_code == 403
    assert narrow.get("/v1/reports").json()["reports"] == []


def test_a_token_never_has_more_than_its_holder_has_now(acme: PersonOf, client: TestClient) -> None:
    document = organization()
    document["people"]["auditor"].append("ana@acme.test")
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200
    made = make(acme("ana"), organization="acme", roles=["auditor"])
    narrow = Person(client, made["token"])
    assert narrow.get("/v1/boundaries/payments/audit").status_code == 200
    assert {r["role"] for r in narrow.get("/v1/me").json()["roles"]} == {"auditor"}
    assert acme("max").put("/v1/organizations/acme", organization()).status_code == 200
    # The holder is still an approver; the token was for the role that is gone.
    assert acme("ana").get("/v1/boundaries/payments/audit").status_code == 200
    assert narrow.get("/v1/boundaries/payments/audit").status_code == 403


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        ({"roles": ["platform-admin"]}, 400, "roles"),
        ({"boundary": "payments"}, 400, "organization"),
        ({"organization": "globex"}, 404, None),
        ({"organization": "acme", "boundary": "treasury"}, 404, None),
        ({"lifetime_days": 91}, 422, "body.lifetime_days"),
        ({"lifetime_days": 0}, 422, "body.lifetime_days"),
        ({"name": ""}, 422, "body.name"),
        ({"roles": ["king"]}, 422, "body.roles.0"),
    ],
)
def test_a_token_for_what_the_caller_has_not_is_refused(
    body: dict[str, Any], status: int, field: str | None, acme: PersonOf, database: DatabaseUrls
) -> None:
    answer = acme("ana").post("/v1/tokens", {"name": "ci", **body})
    assert answer.status_code == status
    assert answer.json()["error"].get("field") == field
    assert events(database, "token.issued") == []


def test_a_boundary_that_one_has_no_role_in_is_as_unknown_as_any(acme: PersonOf) -> None:
    body = {"name": "ci", "organization": "acme"}
    hidden = acme("pia").post("/v1/tokens", {**body, "boundary": "research"}).json()["error"]
    unknown = acme("pia").post("/v1/tokens", {**body, "boundary": "treasury"}).json()["error"]
    assert hidden["message"].replace("research", "treasury") == unknown["message"]
    assert hidden["code"] == unknown["code"] == "not-found"


def test_a_narrowed_token_cannot_widen_itself(acme: PersonOf, client: TestClient) -> None:
    for scope in ({"organization": "acme"}, {"roles": ["approver"]}):
        narrow = Person(client, make(acme("ana"), **scope)["token"])
        assert narrow.post("/v1/tokens", {"name": "wider"}).status_code == 403


def test_a_narrowed_token_revokes_only_itself(acme: PersonOf, client: TestClient) -> None:
    other = make(acme("ana"))
    made = make(acme("ana"), roles=["approver"])
    narrow = Person(client, made["token"])
    assert narrow.post(f"/v1/tokens/{other['id']}/revoke").status_code == 403
    assert narrow.post(f"/v1/tokens/{made['id']}/revoke").json()["state"] == "revoked"
    assert narrow.get("/v1/me").status_code == 401


def test_a_revoked_token_is_refused_at_once_and_revoking_again_is_harmless(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    made = make(acme("pia"))
    bearer = Person(client, made["token"])
    assert bearer.get("/v1/me").status_code == 200
    for _ in range(2):
        assert acme("pia").post(f"/v1/tokens/{made['id']}/revoke").json()["state"] == "revoked"
    assert bearer.get("/v1/me").status_code == 401
    assert len(events(database, "token.revoked")) == 1


def test_the_organizations_administrator_revokes_and_nobody_else_does(
    acme: PersonOf, client: TestClient
) -> None:
    made = make(acme("pia"))
    path = f"/v1/tokens/{made['id']}/revoke"
    for name in ("ana", "omar", "bea", "rui"):
        assert acme(name).post(path).status_code == 404
    assert Person(client, made["token"]).get("/v1/me").status_code == 200
    assert acme("max").post(path).status_code == 200
    assert Person(client, made["token"]).get("/v1/me").status_code == 401


def test_all_tokens_of_the_organization_are_listed_for_its_staff_only(acme: PersonOf) -> None:
    made = make(acme("pia"))
    path = "/v1/tokens?organization=acme"
    for name in ("max", "ana", "omar"):
        assert made["id"] in {t["id"] for t in acme(name).get(path).json()["tokens"]}
    for name in ("sam", "pia", "bea"):
        assert acme(name).get(path).status_code == 403
    assert acme("max").get("/v1/tokens?organization=globex").status_code == 404
    own = {t["holder"]["subject"] for t in acme("max").get("/v1/tokens").json()["tokens"]}
    assert own == {"max@acme.test"}


def test_the_time_of_use_is_written_once_a_minute(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    made = make(acme("pia"))
    bearer = Person(client, made["token"])

    def last_used() -> Any:
        with psycopg.connect(database.admin) as connection:
            return connection.execute(
                "SELECT last_used_at FROM api_token WHERE id = %s", (made["id"],)
            ).fetchone()

    assert last_used() == (None,)
    bearer.get("/v1/me")
    first = last_used()
    assert first != (None,)
    bearer.get("/v1/me")
    assert last_used() == first
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE api_token SET last_used_at = now() - interval '61 seconds'")
    bearer.get("/v1/me")
    assert last_used() > first


def test_a_token_in_use_elsewhere_is_not_waited_for(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    made = make(acme("pia"))
    bearer = Person(client, made["token"])
    answers: list[int] = []
    with psycopg.connect(database.admin) as connection:
        connection.execute("SELECT 1 FROM api_token WHERE id = %s FOR UPDATE", (made["id"],))
        thread = threading.Thread(
            target=lambda: answers.append(bearer.get("/v1/tokens").status_code)
        )
        thread.start()
        thread.join(timeout=5)
        assert answers == [200]


def test_the_token_in_use_is_marked(acme: PersonOf, client: TestClient) -> None:
    made = make(acme("pia"))
    tokens = Person(client, made["token"]).get("/v1/tokens").json()["tokens"]
    assert [t["id"] for t in tokens if t["is_current"]] == [made["id"]]
    assert all(t["last_used_at"] for t in tokens if t["is_current"])


def test_the_database_ends_every_token_within_90_days(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    with psycopg.connect(database.api) as connection:
        connection.execute(
            "SELECT create_api_token(gen_random_uuid(), (SELECT id FROM principals_by_subject("
            "ARRAY['pia@acme.test'])), NULL, 'x', 'x', 'x', now() + interval '10 years', NULL,"
            " NULL, NULL)"
        )
    with psycopg.connect(database.admin) as connection:
        longest = connection.execute(
            "SELECT max(expires_at) <= now() + interval '90 days' FROM api_token"
        ).fetchone()
    assert longest == (True,)
