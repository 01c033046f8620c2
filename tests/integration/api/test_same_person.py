"""One person under two identities is one pair of eyes, for grants.

Plans are decided in the run engine; `tests/sagas/test_engine.py` has the same test for them, and
`test_waivers.py` has it for waivers.
"""

from __future__ import annotations

import psycopg

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import ISSUER
from tests.postgres import DatabaseUrls


def same_person(database: DatabaseUrls, *subjects: str) -> None:
    """Give several identities the employee number of one person."""
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET person_key = '4711' WHERE subject = ANY (%s)", (list(subjects),)
        )


def test_a_grant_is_not_approved_by_the_requesters_other_identity(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    same_person(database, "sam@acme.test", "ana@acme.test")
    asked = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "install"}).json()
    for decision in ("approve", "deny"):
        answer = acme("ana").post(f"/v1/grants/{asked['id']}/{decision}", {"reason": "r"})
        assert answer.json()["error"]["code"] == "four-eyes"
    assert acme("sam").get(f"/v1/grants/{asked['id']}").json()["state"] == "requested"


def test_two_people_without_any_key_are_two_people(acme: PersonOf, database: DatabaseUrls) -> None:
    asked = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "install"}).json()
    answer = acme("ana").post(f"/v1/grants/{asked['id']}/approve", {"reason": "r"})
    assert answer.status_code == 200
    with psycopg.connect(database.admin) as connection:
        keys = connection.execute(
            "SELECT DISTINCT person_key FROM principal WHERE issuer = %s", (ISSUER,)
        ).fetchall()
    assert keys == [(None,)]
