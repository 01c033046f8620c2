"""People over SCIM: known before they sign in, gone within the second, never another's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import ISSUER, Person, organization
from tests.integration.scim.conftest import ENTERPRISE, USER, Scim
from tests.postgres import DatabaseUrls

ACTIVE_FORMS = [
    [{"op": "replace", "path": "active", "value": False}],
    [{"op": "replace", "value": {"active": False}}],
    # As Microsoft Entra sends it.
    [{"op": "Replace", "path": "active", "value": "False"}],
]


def people(acme: PersonOf) -> dict[str, Any]:
    """Return the people of the organization by subject."""
    listed = acme("max").get("/v1/organizations/acme/people").json()["people"]
    return {p["subject"]: p for p in listed}


def events(database: DatabaseUrls) -> list[str]:
    """Return the codes of the events on people, in order."""
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT code FROM audit_event WHERE code LIKE 'person.%' ORDER BY at"
        ).fetchall()
    return [row[0] for row in rows]


def test_a_pushed_person_is_listed_before_the_first_sign_in(acme: PersonOf, scim: Scim) -> None:
    scim.user("new@acme.test", displayName="New Person")
    found = people(acme)["new@acme.test"]
    assert (found["source"], found["status"], found["display"]) == ("scim", "active", "New Person")
    assert found["issuer"] == ISSUER
    assert (found["last_sign_in_at"], found["last_used_at"]) == (None, None)


@pytest.mark.parametrize("operations", ACTIVE_FORMS, ids=["path", "value", "entra"])
def test_who_is_made_inactive_loses_access_at_once(
    operations: list[dict[str, Any]],
    acme: PersonOf,
    scim: Scim,
    client: TestClient,
    database: DatabaseUrls,
) -> None:
    made = scim.user("pia@acme.test")
    token = acme("pia").post("/v1/tokens", {"name": "mine"}).json()["token"]
    key = {"group": "payments-engineers", "owner": "pia@acme.test"}
    assert acme("pia").post("/v1/boundaries/payments/gateway-keys", key).status_code == 201
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO session (id, secret_hash, principal_id, seen_at, idle_ends_at, ends_at)"
            " SELECT gen_random_uuid(), 'x', id, now(), now() + interval '1 h', now()"
            " + interval '1 h' FROM principal WHERE subject = 'pia@acme.test'"
        )
    assert Person(client, token).get("/v1/me").status_code == 200
    answer = scim.patch(f"/Users/{made['id']}", *operations)
    assert answer.status_code == 200, answer.text
    assert answer.json()["active"] is False
    assert acme("pia").get("/v1/me").status_code == 401
    assert Person(client, token).get("/v1/me").status_code == 401
    (gateway_key,) = acme("bea").get("/v1/boundaries/payments/gateway-keys").json()["keys"]
    assert gateway_key["revoked_at"] is not None
    with psycopg.connect(database.admin) as connection:
        ended = connection.execute("SELECT end_reason FROM session").fetchall()
        history = connection.execute(
            "SELECT m.valid_until IS NOT NULL FROM group_member m JOIN principal p"
            " ON p.id = m.principal_id WHERE p.subject = 'pia@acme.test'"
        ).fetchall()
    assert ended == [("principal-disabled",)]
    assert history == [(True,)]
    assert people(acme)["pia@acme.test"]["status"] == "disabled"
    assert events(database) == ["person.provisioned", "person.disabled"]


def test_who_comes_back_has_no_old_token(
    acme: PersonOf, scim: Scim, client: TestClient, database: DatabaseUrls
) -> None:
    made = scim.user("pia@acme.test")
    token = acme("pia").post("/v1/tokens", {"name": "mine"}).json()["token"]
    for active in (False, True):
        operation = {"op": "replace", "path": "active", "value": active}
        assert scim.patch(f"/Users/{made['id']}", operation).json()["active"] is active
    assert people(acme)["pia@acme.test"]["status"] == "active"
    assert Person(client, token).get("/v1/me").status_code == 401
    assert events(database) == ["person.provisioned", "person.disabled", "person.enabled"]


def test_a_deleted_person_is_gone_for_scim_and_kept_for_history(
    acme: PersonOf, scim: Scim, client: TestClient
) -> None:
    made = scim.user("pia@acme.test")
    assert scim.call("DELETE", f"/Users/{made['id']}").status_code == 204
    assert acme("pia").get("/v1/me").status_code == 401
    assert scim.call("GET", f"/Users/{made['id']}").status_code == 404
    assert scim.call("GET", "/Users").json()["totalResults"] == 0
    assert people(acme)["pia@acme.test"]["status"] == "disabled"
    again = scim.user("pia@acme.test")
    assert again["id"] != made["id"]
    assert people(acme)["pia@acme.test"]["status"] == "active"


def test_the_person_key_comes_from_the_employee_number(
    acme: PersonOf, scim: Scim, database: DatabaseUrls
) -> None:
    for name in ("sam@acme.test", "ana@acme.test"):
        scim.user(name, schemas=[USER, ENTERPRISE], **{ENTERPRISE: {"employeeNumber": "4711"}})
    asked = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "install"}).json()
    answer = acme("ana").post(f"/v1/grants/{asked['id']}/approve", {"reason": "r"})
    assert answer.json()["error"]["code"] == "four-eyes"


def test_a_person_is_found_by_name_external_id_and_both(scim: Scim) -> None:
    made = scim.user("new@acme.test", externalId="E-1")
    scim.user("other@acme.test", externalId="E-2")
    for wanted in (
        'userName eq "NEW@acme.test"',
        'externalId eq "E-1"',
        'userName eq "new@acme.test" and externalId eq "E-1"',
        f'id eq "{made["id"]}" and active eq true',
    ):
        found = scim.call("GET", f"/Users?filter={wanted}").json()
        assert [u["id"] for u in found["Resources"]] == [made["id"]], wanted
    for wanted in ('externalId eq "e-1"', 'userName eq "x"', 'userName eq "new@acme.test"'
                   ' and externalId eq "E-2"', 'id eq "no-id"'):  # fmt: skip
        found = scim.call("GET", f"/Users?filter={wanted}").json()
        assert (found["totalResults"], found["Resources"]) == (0, []), wanted


@pytest.mark.parametrize(
    "wanted", ['userName co "a"', 'not (userName eq "a")', 'userName eq "a" or active eq true',
               "userName pr", 'nickName eq "a"', "userName eq", 'colour eq "red"']
)  # fmt: skip
def test_a_filter_that_is_not_supported_is_refused_and_never_ignored(
    wanted: str, scim: Scim
) -> None:
    scim.user("new@acme.test")
    answer = scim.call("GET", f"/Users?filter={wanted}")
    assert answer.status_code == 400
    assert answer.json()["scimType"] == "invalidFilter"
    assert answer.headers["content-type"].startswith("application/scim+json")


def test_pages_cover_everybody_once(scim: Scim) -> None:
    names = [f"p{n}@acme.test" for n in range(5)]
    for name in names:
        scim.user(name)
    seen: list[str] = []
    for start in (1, 3, 5):
        page = scim.call("GET", f"/Users?startIndex={start}&count=2").json()
        assert (page["totalResults"], page["startIndex"]) == (5, start)
        assert page["itemsPerPage"] == len(page["Resources"])
        seen += [u["userName"] for u in page["Resources"]]
    assert seen == names
    assert scim.call("GET", "/Users?count=0").json()["Resources"] == []


def test_the_same_name_twice_is_a_conflict_whatever_its_case(scim: Scim) -> None:
    scim.user("new@acme.test")
    answer = scim.call("POST", "/Users", {"schemas": [USER], "userName": "New@Acme.test"})
    assert (answer.status_code, answer.json()["scimType"]) == (409, "uniqueness")


def test_a_change_of_something_stale_is_refused(scim: Scim) -> None:
    made = scim.user("new@acme.test")
    rename = {"op": "replace", "path": "displayName", "value": "A"}
    path = f"/Users/{made['id']}"
    first = scim.patch(path, rename, **{"If-Match": made["meta"]["version"]})
    assert first.headers["etag"] == first.json()["meta"]["version"] != made["meta"]["version"]
    other = {"op": "replace", "path": "displayName", "value": "B"}
    stale = scim.patch(path, other, **{"If-Match": made["meta"]["version"]})
    assert (stale.status_code, stale.json()["status"]) == (412, "412")
    assert scim.call("GET", path).json()["displayName"] == "A"


def test_a_password_is_not_kept(scim: Scim, database: DatabaseUrls) -> None:
    made = scim.user("new@acme.test", password="hunter2-canary")
    assert "password" not in made
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT attributes::text FROM provisioned_user UNION ALL"
            " SELECT detail::text FROM audit_event"
        ).fetchall()
    assert "hunter2" not in str(rows)


def test_a_new_subject_is_a_new_principal_and_the_old_one_ends(acme: PersonOf, scim: Scim) -> None:
    made = scim.user("pia@acme.test")
    scim.group("payments-engineers", made)
    rename = {"op": "replace", "path": "userName", "value": "pia.married@acme.test"}
    answer = scim.patch(f"/Users/{made['id']}", rename)
    assert (answer.status_code, answer.json()["id"]) == (200, made["id"])
    assert acme("pia").get("/v1/me").status_code == 401
    found = people(acme)
    assert found["pia@acme.test"]["status"] == "disabled"
    renamed = found["pia.married@acme.test"]
    assert (renamed["status"], renamed["groups"]) == ("active", ["payments-engineers"])


def test_the_subject_may_be_the_external_id(acme: PersonOf, client: TestClient, scim: Scim) -> None:
    document = {**organization(), "provisioning": {"subject": "externalId"}}
    assert acme("max").put("/v1/organizations/acme", document).status_code == 200
    scim.user("Long Name", externalId="ext-1")
    assert people(acme)["ext-1"]["source"] == "scim"
    without = scim.call("POST", "/Users", {"schemas": [USER], "userName": "nobody"})
    assert (without.status_code, without.json()["scimType"]) == (400, "invalidValue")


def test_one_organizations_connector_sees_and_changes_nothing_of_another(
    acme: PersonOf, scim: Scim, scim_of: Callable[..., Scim], database: DatabaseUrls
) -> None:
    document = organization()
    document["organization"] = "globex"
    document["identity_provider"] = "https://idp.globex.example"
    document["guests"] = {"max@acme.test": ISSUER}
    assert acme("max").put("/v1/organizations/globex", document).status_code == 200
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE waiver SET state = 'approved', first_approver = gen_random_uuid(),"
            " first_approved_at = now(), second_approver = gen_random_uuid(),"
            " second_approved_at = now()"
        )
    other = scim_of("globex", "max")
    mine = scim.user("pia@acme.test")
    group = scim.group("payments-engineers", mine)
    theirs = other.user("pia@acme.test")
    for path in (f"/Users/{mine['id']}", f"/Groups/{group['id']}"):
        assert other.call("GET", path).status_code == 404
        assert other.call("DELETE", path).status_code == 404
        assert other.patch(path, {"op": "replace", "path": "active", "value": False}
                           ).status_code == 404  # fmt: skip
    assert [u["id"] for u in other.call("GET", "/Users").json()["Resources"]] == [theirs["id"]]
    assert other.call("GET", "/Groups").json()["totalResults"] == 0
    # The same subject of another issuer is another person.
    assert other.call("DELETE", f"/Users/{theirs['id']}").status_code == 204
    assert acme("pia").get("/v1/me").status_code == 200
    stolen = {"schemas": [USER], "displayName": "x", "members": [{"value": mine["id"]}]}
    refused = other.call("POST", "/Groups", stolen)
    assert refused.status_code == 400


def test_only_a_provisioner_may_push_and_it_may_do_nothing_else(
    acme: PersonOf, scim: Scim, client: TestClient
) -> None:
    for name in ("max", "sam", "ana", "bea"):
        answer = acme(name).get("/scim/v2/Users")
        assert answer.status_code == 403
        assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
    nobody = client.get("/scim/v2/Users")
    assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
    for path in ("/../../v1/boundaries", "/../../v1/organizations/acme/people"):
        assert scim.call("GET", path).status_code in (403, 404)


@pytest.mark.parametrize(
    "body", [b"{", b"[]", b"null", b'{"schemas": []}', b'{"userName": 5}', b""], ids=repr
)
def test_a_broken_body_is_answered_in_scims_own_shape(
    body: bytes, acme: PersonOf, client: TestClient, scim: Scim
) -> None:
    headers = {**scim._headers, "Content-Type": "application/scim+json"}
    answer = client.post("/scim/v2/Users", content=body, headers=headers)
    assert answer.status_code == 400
    assert answer.json()["schemas"] == ["urn:ietf:params:scim:api:messages:2.0:Error"]
