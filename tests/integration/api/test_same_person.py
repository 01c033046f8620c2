"""One person under two identities is one pair of eyes: for grants and for guests.

Plans are decided in the run engine; `tests/sagas/test_engine.py` has the same test for them.
"""

from __future__ import annotations

from typing import Any

import psycopg

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import ISSUER, organization
from tests.postgres import DatabaseUrls

VENDOR = "https://idp.vendor.example"


def same_person(database: DatabaseUrls, *subjects: str) -> None:
    """Give several identities the employee number of one person."""
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET person_key = '4711' WHERE subject = ANY (%s)", (list(subjects),)
        )


def guests(person: PersonOf, database: DatabaseUrls) -> list[dict[str, Any]]:
    """Apply the file with sam as a vendor's guest, and return the waiting guests."""
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET issuer = %s WHERE subject = 'sam@acme.test'", (VENDOR,)
        )
    document = organization()
    document["guests"] = {"sam@acme.test": VENDOR}
    assert person("sam").put("/v1/organizations/acme", document).status_code == 200
    found: list[dict[str, Any]] = (
        person("ana").get("/v1/organizations/acme/guests").json()["guests"]
    )
    return found


def test_a_grant_is_not_approved_by_the_requesters_other_identity(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    same_person(database, "sam@acme.test", "ana@acme.test")
    asked = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "install"}).json()
    for decision in ("approve", "deny"):
        answer = acme("ana").post(f"/v1/grants/{asked['id']}/{decision}", {"reason": "r"})
        assert answer.json()["error"]["code"] == "four-eyes"
    assert acme("sam").get(f"/v1/grants/{asked['id']}").json()["state"] == "requested"


def test_a_guest_is_not_let_in_by_the_own_other_identity(
    person: PersonOf, database: DatabaseUrls
) -> None:
    (guest,) = guests(person, database)
    path = f"/v1/organizations/acme/guests/{guest['id']}/approve"
    same_person(database, "sam@acme.test", "ana@acme.test")
    refused = person("ana").post(path)
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "four-eyes")
    assert person("sam").get("/v1/boundaries").status_code == 403
    assert person("max").post(path).status_code == 200
    assert person("sam").get("/v1/boundaries").status_code == 200


def test_an_administrator_who_is_the_guest_does_not_let_the_guest_in_by_naming(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO principal (id, issuer, subject, kind, display, person_key)"
            " VALUES (gen_random_uuid(), %s, 'max@vendor.test', 'human', 'Max', '4711')",
            (VENDOR,),
        )
    document = organization()
    document["guests"] = {"max@vendor.test": VENDOR}
    same_person(database, "max@acme.test")
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200
    (guest,) = acme("max").get("/v1/organizations/acme/guests").json()["guests"]
    assert guest["approved_at"] is None
    path = f"/v1/organizations/acme/guests/{guest['id']}/approve"
    assert acme("max").post(path).json()["error"]["code"] == "four-eyes"
    assert acme("ana").post(path).json()["approved_by"]["subject"] == "ana@acme.test"


def test_two_people_without_any_key_are_two_people(acme: PersonOf, database: DatabaseUrls) -> None:
    asked = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "install"}).json()
    answer = acme("ana").post(f"/v1/grants/{asked['id']}/approve", {"reason": "r"})
    assert answer.status_code == 200
    with psycopg.connect(database.admin) as connection:
        keys = connection.execute(
            "SELECT DISTINCT person_key FROM principal WHERE issuer = %s", (ISSUER,)
        ).fetchall()
    assert keys == [(None,)]
