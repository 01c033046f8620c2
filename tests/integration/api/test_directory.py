"""People and groups: who is listed, what gave them what, and what a boundary's admin never sees."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import organization
from tests.postgres import DatabaseUrls

PEOPLE = "/v1/organizations/acme/people"
GROUPS = "/v1/organizations/acme/groups"


def by_subject(acme: PersonOf, name: str) -> dict[str, Any]:
    """Return the people that somebody sees, by the part of the subject before the @."""
    answer = acme(name).get(PEOPLE)
    assert answer.status_code == 200, answer.text
    return {p["subject"].split("@")[0]: p for p in answer.json()["people"]}


def groups(acme: PersonOf, name: str) -> dict[str, Any]:
    """Return the groups that somebody sees, by name."""
    return {g["name"]: g for g in acme(name).get(GROUPS).json()["groups"]}


def test_a_mapped_group_gives_its_role_in_its_boundary_only(acme: PersonOf) -> None:
    assert [b["name"] for b in acme("bea").get("/v1/boundaries").json()["boundaries"]] == [
        "payments"
    ]
    roles = acme("bea").get("/v1/me").json()["roles"]
    assert [r["role"] for r in roles] == ["boundary-admin"]
    assert acme("bea").get("/v1/boundaries/payments/gateway-keys").status_code == 200
    assert acme("bea").get("/v1/boundaries/research/gateway-keys").status_code == 404


def test_each_person_is_listed_with_roles_and_the_layer_that_gave_them(acme: PersonOf) -> None:
    people = by_subject(acme, "max")
    assert set(people) == {"sam", "sam.admin", "ana", "omar", "max", "pia", "rui", "bea", "ren"}
    bea = people["bea"]
    assert bea["groups"] == ["payments-admins"]
    (role,) = bea["roles"]
    assert (role["role"], role["layer"], role["boundary"]) == (
        "boundary-admin",
        "boundary",
        "payments",
    )
    assert (role["via"], role["group"]) == ("group", "payments-admins")
    (role,) = people["ana"]["roles"]
    assert (role["role"], role["layer"], role["via"]) == ("approver", "organization", "person")
    assert {p["status"] for p in people.values()} == {"active"}
    assert {p["source"] for p in people.values()} == {"file"}


def test_groups_are_listed_with_members_source_and_roles(acme: PersonOf) -> None:
    found = groups(acme, "omar")
    assert set(found) == {
        "payments-engineers",
        "research-engineers",
        "payments-admins",
        "research-admins",
    }
    admins = found["research-admins"]
    assert admins["source"] == "file"
    assert [(m["subject"], m["sources"]) for m in admins["members"]] == [
        ("ren@acme.test", ["file"])
    ]
    assert admins["roles"] == [
        {"role": "boundary-admin", "layer": "boundary", "boundary": "research"}
    ]


def test_a_boundarys_admin_sees_nothing_of_another_boundary(acme: PersonOf) -> None:
    people = acme("ren").get(PEOPLE)
    assert {p["subject"].split("@")[0] for p in people.json()["people"]} == {
        *("sam", "ana", "omar", "max"),
        *("rui", "ren"),
    }
    listed = acme("ren").get(GROUPS)
    assert {g["name"] for g in listed.json()["groups"]} == {"research-engineers", "research-admins"}
    for text in (people.text, listed.text):
        assert "payments" not in text
        assert "pia@" not in text
        assert "bea@" not in text


def test_an_engineer_sees_no_people(acme: PersonOf) -> None:
    for path in (PEOPLE, GROUPS):
        assert acme("pia").get(path).status_code == 403


def test_another_organizations_name_is_not_found(acme: PersonOf) -> None:
    assert acme("ren").get("/v1/organizations/globex/people").status_code == 404


def test_a_disabled_person_is_listed_as_such(acme: PersonOf, database: DatabaseUrls) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET disabled_at = now() WHERE subject = 'rui@acme.test'"
        )
    assert by_subject(acme, "max")["rui"]["status"] == "disabled"


def test_a_person_of_the_issuer_without_any_role_is_listed_as_signed_in(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    document = organization()
    document["groups"][2]["members"] = []
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200
    bea = by_subject(acme, "max")["bea"]
    assert (bea["source"], bea["roles"], bea["groups"]) == ("signed-in", [], [])
    assert "bea" not in by_subject(acme, "ren")


def test_a_mapping_taken_out_ends_the_role(acme: PersonOf) -> None:
    document = organization()
    del document["role_mappings"][0]
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200
    assert acme("bea").get("/v1/boundaries").status_code == 403
    assert acme("ren").get("/v1/boundaries").status_code == 200


@pytest.mark.parametrize("place", ["members", "role_mappings"])
def test_the_architect_gives_no_role_through_a_group(place: str, acme: PersonOf) -> None:
    document = organization()
    if place == "members":
        document["groups"][2]["members"].append("sam@acme.test")
    else:
        document["role_mappings"].append({"group": "payments-engineers", "role": "approver"})
    refused = acme("sam").put("/v1/organizations/acme", document)
    assert refused.status_code == 403
    assert refused.json()["error"]["code"] == "roles-protected"
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200


def test_what_another_source_says_of_a_group_survives_the_file(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO group_member (organization_id, id, group_id, principal_id, source)"
            " SELECT g.organization_id, gen_random_uuid(), g.id, p.id, s FROM principal_group g,"
            " principal p, unnest(ARRAY['scim', 'claim']) s"
            " WHERE g.name = 'payments-admins' AND p.subject IN ('bea@acme.test', 'rui@acme.test')"
        )
    document = organization()
    document["groups"][2]["members"] = []
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200
    members = groups(acme, "max")["payments-admins"]["members"]
    assert [(m["subject"], m["sources"]) for m in members] == [
        ("bea@acme.test", ["claim", "scim"]),
        ("rui@acme.test", ["claim", "scim"]),
    ]
