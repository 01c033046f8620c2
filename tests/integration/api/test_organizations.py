"""Applying the organization's file: all problems at once, nothing written, idempotent."""

from __future__ import annotations

from typing import Any

import psycopg
from starlette.testclient import TestClient

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import organization
from tests.postgres import DatabaseUrls


def count(database: DatabaseUrls, table: str) -> int:
    """Return the number of rows of a table, of all tenants."""
    with psycopg.connect(database.admin) as connection:
        row = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
    assert row is not None
    return int(row[0])


def broken_file() -> dict[str, Any]:
    """Return the demo's file with six different mistakes."""
    document = organization()
    document["boundaries"][0]["colour"] = "blue"
    document["boundaries"][0]["blueprint"] = "gke-model-stack"
    document["boundaries"][1]["name"] = "payments"
    document["boundaries"][1]["inputs"]["cidr"] = "10.20.128.0/17"
    document["boundaries"][1]["inputs"]["acelerator"] = "gpu"
    document["accounts"][0]["account"] = "222222222222"
    return document


def test_all_problems_of_a_file_are_reported_at_once_and_nothing_is_created(
    person: PersonOf, database: DatabaseUrls
) -> None:
    answer = person("sam").put("/v1/organizations/acme", broken_file())
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid-document"
    paths = {p["path"] for p in error["problems"]}
    assert paths >= {
        "accounts[0].account",
        "boundaries[0].blueprint",
        "boundaries[0].colour",
        "boundaries[1].name",
        "boundaries[1].inputs.cidr",
        "boundaries[1].inputs.acelerator",
    }
    assert all(p["message"] and p["fix"] for p in error["problems"])
    for table in ("organization", "boundary", "cloud_connection", "role_assignment"):
        assert count(database, table) == 0


def test_validation_reports_the_same_problems_as_applying(person: PersonOf) -> None:
    checked = person("sam").post("/v1/organizations:validate", broken_file())
    applied = person("sam").put("/v1/organizations/acme", broken_file())
    assert checked.status_code == 200
    assert checked.json()["problems"] == applied.json()["error"]["problems"]
    assert person("sam").post("/v1/organizations:validate", organization()).json() == {
        "problems": []
    }


def test_a_file_is_refused_at_the_address_of_another_organization(person: PersonOf) -> None:
    answer = person("sam").put("/v1/organizations/globex", organization())
    assert answer.status_code == 400
    assert [p["path"] for p in answer.json()["error"]["problems"]] == ["organization"]


def test_applying_the_same_file_twice_changes_nothing(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    tables = ("boundary", "cloud_connection", "role_assignment", "entitlement", "model_version")
    before = {table: count(database, table) for table in tables}
    external = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    answer = acme("sam").put("/v1/organizations/acme", organization())
    assert answer.status_code == 200
    assert {table: count(database, table) for table in tables} == before
    again = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    assert again == external


def test_each_boundary_has_its_own_external_id_of_128_bits(acme: PersonOf) -> None:
    found = {
        acme("sam").get(f"/v1/boundaries/{b}/connection").json()["external_id"]
        for b in ("payments", "research")
    }
    assert len(found) == 2
    assert all(len(bytes.fromhex(i.removeprefix("ringfence-"))) == 16 for i in found)


def test_each_boundary_gets_its_base_and_its_own_adapter(acme: PersonOf) -> None:
    names = [m["name"] for m in acme("pia").get("/v1/boundaries/payments/models").json()["models"]]
    assert names == ["tiny-coder", "payments-style"]


def test_a_boundary_cannot_be_left_out_or_moved(acme: PersonOf) -> None:
    document = organization()
    document["boundaries"][0]["target"]["region"] = "eu-west-1"
    del document["boundaries"][1], document["role_mappings"][1]
    problems = acme("max").put("/v1/organizations/acme", document).json()["error"]["problems"]
    assert {p["path"] for p in problems} == {"boundaries", "boundaries[0].target.region"}


def test_the_architect_cannot_give_roles_once_the_organization_exists(acme: PersonOf) -> None:
    document = organization()
    document["people"]["approver"] = ["ana@acme.test", "sam@acme.test"]
    refused = acme("sam").put("/v1/organizations/acme", document)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "roles-protected"
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200


def test_roles_taken_away_are_kept_in_history(acme: PersonOf, database: DatabaseUrls) -> None:
    document = organization()
    document["people"]["auditor"] = []
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200
    assert acme("omar").get("/v1/boundaries").status_code == 403
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT valid_until IS NULL, superseded_at IS NULL FROM role_assignment"
            " WHERE role = 'auditor' ORDER BY recorded_at"
        ).fetchall()
    # What we knew first, superseded; and what we know now: it held until then.
    assert rows == [(True, False), (False, True)]


def test_a_guest_of_another_issuer_waits_for_the_organizations_yes(
    person: PersonOf, client: TestClient
) -> None:
    document = organization()
    document["identity_provider"] = "https://idp.acme.example"
    document["guests"] = dict.fromkeys(
        ("sam@acme.test", "ana@acme.test"), "https://sandbox.ringfence.dev"
    )
    assert person("sam").put("/v1/organizations/acme", document).status_code == 200
    refused = person("sam").get("/v1/boundaries")
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "guest-pending"
    # Another guest cannot let a guest in either.
    assert person("ana").get("/v1/organizations/acme/waivers").status_code == 403


def test_an_issuer_belongs_to_one_organization(acme: PersonOf, database: DatabaseUrls) -> None:
    document = organization()
    document["organization"] = "globex"
    answer = acme("max").put("/v1/organizations/globex", document)
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "issuer-taken"
    assert count(database, "organization") == 1
