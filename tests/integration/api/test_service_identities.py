"""Service identities: who makes them, what they can do, and that they never decide."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import Person, organization
from tests.postgres import DatabaseUrls

SERVICES = "/v1/organizations/acme/services"


def make(caller: Person, *roles: str, name: str = "robot", boundary: str | None = None) -> Any:
    """Ask for a service identity."""
    body = {"name": name, "purpose": "nightly", "roles": list(roles), "boundary": boundary}
    return caller.post(SERVICES, body)


def token(caller: Person, service: dict[str, Any], client: TestClient) -> Person:
    """Make a token for a service and return the service as a caller."""
    answer = caller.post(f"{SERVICES}/{service['id']}/tokens", {"name": "first"})
    assert answer.status_code == 201, answer.text
    assert answer.json()["token"].startswith("rfs_")
    return Person(client, answer.json()["token"])


def test_a_service_has_its_roles_and_no_more(acme: PersonOf, client: TestClient) -> None:
    service = make(acme("max"), "auditor").json()
    robot = token(acme("max"), service, client)
    me = robot.get("/v1/me").json()
    assert (me["kind"], me["subject"]) == ("service", "robot")
    assert [r["role"] for r in me["roles"]] == ["auditor"]
    assert robot.get("/v1/boundaries/payments/audit").status_code == 200
    assert robot.post("/v1/boundaries/payments/grants", {"purpose": "p"}).status_code == 403


def test_a_service_survives_the_organizations_file(acme: PersonOf, client: TestClient) -> None:
    robot = token(acme("max"), make(acme("max"), "auditor").json(), client)
    assert acme("sam").put("/v1/organizations/acme", organization()).status_code == 200
    assert robot.get("/v1/boundaries/payments/audit").status_code == 200


@pytest.mark.parametrize("role", ["approver"])
def test_a_service_cannot_be_given_a_role_that_decides(role: str, acme: PersonOf) -> None:
    answer = make(acme("max"), role)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "roles"
    assert "only people decide" in answer.json()["error"]["message"]


def test_a_service_never_approves_even_with_the_role(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    robot = token(acme("max"), make(acme("max"), "auditor").json(), client)
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE role_assignment SET role = 'approver' WHERE role = 'auditor'")
    asked = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "install"}).json()
    for decision in ("approve", "deny"):
        answer = robot.post(f"/v1/grants/{asked['id']}/{decision}", {"reason": "r"})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "service-never-approves"
    assert acme("sam").get(f"/v1/grants/{asked['id']}").json()["state"] == "requested"


def test_a_boundarys_administrator_makes_services_of_the_own_boundary_only(
    acme: PersonOf, client: TestClient
) -> None:
    made = make(acme("bea"), "engineer", boundary="payments")
    assert made.status_code == 201
    robot = token(acme("bea"), made.json(), client)
    names = [b["name"] for b in robot.get("/v1/boundaries").json()["boundaries"]]
    assert names == ["payments"]
    for roles, boundary, status, field in (
        (("engineer",), None, 400, "boundary"),
        (("auditor",), "payments", 400, "roles"),
        (("platform-admin",), "payments", 400, "roles"),
        (("engineer",), "research", 404, None),
    ):
        answer = make(acme("bea"), *roles, name="other", boundary=boundary)
        assert (answer.status_code, answer.json()["error"].get("field")) == (status, field)


def test_services_of_another_boundary_are_not_there(acme: PersonOf) -> None:
    made = make(acme("bea"), "engineer", name="payments-robot", boundary="payments").json()
    everywhere = make(acme("max"), "auditor", name="reader").json()
    assert [s["name"] for s in acme("bea").get(SERVICES).json()["services"]] == ["payments-robot"]
    assert acme("ren").get(SERVICES).json() == {"services": []}
    assert {s["name"] for s in acme("omar").get(SERVICES).json()["services"]} == {
        *("payments-robot", "reader")
    }
    for service in (made, everywhere):
        for action in ("tokens", "disable"):
            answer = acme("ren").post(f"{SERVICES}/{service['id']}/{action}", {"name": "x"})
            assert answer.status_code == 404
    assert acme("pia").get(SERVICES).status_code == 403


def test_a_disabled_service_is_refused_at_once_and_stays_in_the_list(
    acme: PersonOf, client: TestClient, database: DatabaseUrls
) -> None:
    service = make(acme("max"), "auditor").json()
    robot = token(acme("max"), service, client)
    for _ in range(2):
        ended = acme("max").post(f"{SERVICES}/{service['id']}/disable")
        assert ended.status_code == 200
    assert robot.get("/v1/me").status_code == 401
    (listed,) = acme("max").get(SERVICES).json()["services"]
    assert listed["disabled_at"] is not None
    assert listed["roles"] == []
    refused = acme("max").post(f"{SERVICES}/{service['id']}/tokens", {"name": "again"})
    assert refused.status_code == 409
    assert make(acme("max"), "auditor").json()["error"]["code"] == "name-taken"
    people = acme("max").get("/v1/organizations/acme/people").json()["people"]
    (robot_row,) = [p for p in people if p["kind"] == "service"]
    assert (robot_row["status"], robot_row["source"]) == ("disabled", "service")
    with psycopg.connect(database.admin) as connection:
        codes = connection.execute(
            "SELECT code FROM audit_event WHERE code LIKE 'service.%' OR code LIKE 'token.%'"
            " ORDER BY chain_id, seq"
        ).fetchall()
    assert codes == [
        ("service.created",),
        ("token.issued",),
        ("token.revoked",),
        ("service.disabled",),
    ]


def test_a_service_belongs_to_one_organization(acme: PersonOf, client: TestClient) -> None:
    document = organization()
    document["organization"] = "globex"
    document["identity_provider"] = "https://idp.globex.example"
    document["guests"] = {"max@acme.test": "https://sandbox.ringfence.dev"}
    assert acme("max").put("/v1/organizations/globex", document).status_code == 200
    robot = token(acme("max"), make(acme("max"), "auditor").json(), client)
    assert robot.get("/v1/organizations/globex").status_code == 404
    assert robot.get("/v1/organizations/acme").status_code == 200
