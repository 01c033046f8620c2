"""An auditor asks what decides on somebody's access, and gets what a request would get."""

from __future__ import annotations

from typing import Any

import psycopg

from tests.integration.api.conftest import PersonOf
from tests.postgres import DatabaseUrls

GRANTS = "/v1/boundaries/{boundary}/grants"


def ask(acme: PersonOf, who: str = "omar", **question: Any) -> Any:
    """Ask as the auditor about a route; the answer."""
    body = {"subject": "pia@acme.test", "method": "GET", "path": GRANTS, **question}
    return acme(who).post("/v1/access/explain", body)


def test_an_allowed_route_names_the_policy_and_the_layer_of_the_role(acme: PersonOf) -> None:
    found = ask(acme, subject="ana@acme.test", boundary="payments").json()
    assert (found["allowed"], found["status"], found["deciding_layer"]) == (
        True,
        200,
        "organization",
    )
    assert [p["effect"] for p in found["policies"]] == ["permit"]
    assert found["route"] == f"GET {GRANTS}"
    assert [r["role"] for r in found["roles"]] == ["approver"]


def test_what_is_explained_is_what_happens(acme: PersonOf) -> None:
    paths = (
        ("GET", "/v1/boundaries/payments"),
        ("GET", "/v1/boundaries/payments/grants"),
        ("GET", "/v1/boundaries/payments/audit"),
        ("GET", "/v1/organizations/acme"),
        ("GET", "/v1/me"),
    )
    for subject in ("pia", "rui", "sam", "ana", "omar", "max"):
        for method, path in paths:
            said = ask(
                acme, subject=f"{subject}@acme.test", method=method, path=path, boundary="payments"
            ).json()
            happened = acme(subject).get(path).status_code
            assert said["status"] == happened, f"{subject} {path}: {said}"
            assert said["allowed"] == (happened == 200)


def test_a_refusal_is_explained_by_its_forbid(acme: PersonOf, database: DatabaseUrls) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET disabled_at = now() WHERE subject = 'ana@acme.test'"
        )
    found = ask(acme, subject="ana@acme.test", boundary="payments").json()
    assert not found["allowed"]
    assert found["deciding_layer"] == "platform"
    assert [p["id"] for p in found["policies"]] == ["disabled-principal"]
    assert found["policies"][0]["message"] == "this identity is disabled"


def test_only_administrators_and_auditors_may_ask(acme: PersonOf) -> None:
    asked = {who: ask(acme, who).status_code for who in ("max", "omar", "sam", "ana", "pia")}
    assert asked == {"max": 200, "omar": 200, "sam": 403, "ana": 403, "pia": 403}


def test_nobody_is_told_of_people_boundaries_or_routes_that_are_not_theirs(acme: PersonOf) -> None:
    for question, status, field in (
        ({"subject": "nobody@acme.test"}, 404, "subject"),
        ({"boundary": "treasury"}, 404, "boundary"),
        ({"path": "/v1/secrets"}, 400, "path"),
        ({"path": "/healthz"}, 400, "path"),
        ({"path": "/agent/v1/desired"}, 400, "path"),
    ):
        answer = ask(acme, **question)
        assert answer.status_code == status, question
        assert answer.json()["error"]["field"] == field


def test_asking_is_an_audit_event(acme: PersonOf, database: DatabaseUrls) -> None:
    assert ask(acme, boundary="payments").status_code == 200
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT detail->>'route', detail->>'allowed' FROM audit_event"
            " WHERE code = 'access.explained'"
        ).fetchall()
    assert rows == [(f"GET {GRANTS}", "false")]


def test_a_denial_records_what_decided_and_tells_staff(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    refused = acme("ana").post("/v1/installs", {}).json()["error"]
    assert "decided at layer action by policy deny-by-default" in refused["fix"]
    engineer = acme("pia").get("/v1/installs").json()["error"]
    assert "policy" not in engineer["fix"]
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT detail->>'layer', detail->>'policy' FROM audit_event"
            " WHERE code = 'access.denied'"
        ).fetchall()
    assert rows == [("action", "deny-by-default")] * 2


def test_a_service_of_the_organization_is_at_home_in_it(acme: PersonOf) -> None:
    made = acme("max").post(
        "/v1/organizations/acme/services",
        {"name": "robot", "purpose": "nightly", "roles": ["auditor"], "boundary": None},
    )
    assert made.status_code == 201, made.text
    answer = acme("omar").post(
        "/v1/access/explain",
        {"subject": "robot", "method": "GET", "path": "/v1/installs", "boundary": "payments"},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["allowed"] is True, answer.text
