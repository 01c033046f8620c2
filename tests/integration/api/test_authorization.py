"""Every route by role: the table is complete, deny by default, and what it says is what happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from controlplane.app import make_routes
from controlplane.core.http import StreamRoute, TransactionRoute
from controlplane.domains.identity.agent_edge import AgentRoute, AgentStreamRoute
from controlplane.domains.identity.route_table import ROUTES, Rule
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import PEOPLE, organization, token_of
from tests.postgres import DatabaseUrls

ROLE_OF = {subject.split("@")[0]: role for subject, role in PEOPLE.items()}

OF_THE_PLATFORM = ("max",)
"""Who holds the role at the platform's layer."""
OF_ONE_BOUNDARY = ("bea", "pia", "ren", "rui")
OF_THE_OTHER_BOUNDARY = ("ren", "rui")


def api_routes(app: FastAPI) -> Iterator[APIRoute]:
    """Return every route of the application, also of included routers."""
    pending: list[Any] = list(app.routes)
    while pending:
        route = pending.pop()
        if isinstance(route, APIRoute):
            yield route
        included = getattr(route, "original_router", None)
        if included is not None:
            pending += included.routes


def keys(app: FastAPI) -> set[tuple[str, str]]:
    """Return (method, path) of every route."""
    return {(method, r.path_format) for r in api_routes(app) for method in r.methods or ()}


def test_every_route_is_in_the_route_table_and_no_other() -> None:
    listed = set(ROUTES) - {("GET", "/v1/openapi.json")}
    assert keys(make_routes()) == listed


def test_every_route_is_guarded_by_the_class_of_its_layer() -> None:
    for route in api_routes(make_routes()):
        (method,) = tuple(route.methods or ())
        rule = ROUTES[method, route.path_format]
        if rule.layer == "public":
            continue
        wanted = (
            (AgentRoute, AgentStreamRoute)
            if rule.layer == "agent"
            else (
                TransactionRoute,
                StreamRoute,
            )
        )
        assert isinstance(route, wanted), f"{method} {route.path_format}"


def concrete(path: str) -> str:
    """Fill a route's parameters: real names for boundary and organization, else unknown ids."""
    path = path.replace("{boundary}", "payments").replace("{name}", "acme")
    parts = [str(uuid4()) if part.startswith("{") else part for part in path.split("/")]
    return "/".join(parts)


def people_routes() -> list[tuple[str, str, Rule]]:
    """Return all routes of the table that ask who calls."""
    return [
        (method, path, rule)
        for (method, path), rule in ROUTES.items()
        if rule.layer not in ("public", "agent")
    ]


def test_nobody_uses_a_route_without_a_known_token(acme: PersonOf, client: TestClient) -> None:
    for method, path, _ in people_routes():
        for headers in (
            {},
            {"Authorization": "Bearer " + "x" * 60},
            {"Authorization": "Basic eA=="},
        ):
            answer = client.request(method, concrete(path), headers=headers, json={})
            assert answer.status_code == 401, f"{method} {path}"
            assert answer.headers["www-authenticate"] == "Bearer"


def test_each_role_may_use_exactly_the_routes_of_the_table(
    acme: PersonOf, client: TestClient
) -> None:
    wrong = []
    for method, path, rule in people_routes():
        if rule.layer == "authenticated" or path.endswith("/events"):
            continue
        for name, role in ROLE_OF.items():
            token = token_of(f"{name}@acme.test")
            answer = client.request(
                method, concrete(path), headers={"Authorization": f"Bearer {token}"}, json={}
            )
            # What is allowed may still be wrong in shape or not be there.
            allowed = answer.status_code not in (401, 403)
            expected = role in rule.roles
            if rule.layer == "platform":
                expected = expected and name in OF_THE_PLATFORM
            if name in OF_ONE_BOUNDARY and rule.layer == "organization":
                # A role in one boundary says nothing about the whole organization.
                expected = False
            if name in OF_THE_OTHER_BOUNDARY and rule.layer == "boundary" and expected:
                # Of the other boundary: not even its existence.
                expected = allowed
                if "{boundary}" in path:
                    assert answer.status_code in (404, 422), f"{name} {method} {path}"
            if allowed != expected:
                wrong.append(f"{name} ({role}) {method} {path}: {answer.status_code}")
    assert wrong == []


def test_what_is_not_in_the_table_answers_nobody(acme: PersonOf) -> None:
    app = make_routes()
    assert ("DELETE", "/v1/boundaries/{boundary}") not in keys(app)
    answer = acme("max").get("/v1/boundaries/payments/secrets")
    assert answer.status_code == 404


def test_an_engineer_sees_the_own_boundary_only(acme: PersonOf) -> None:
    for name, own, other in (("pia", "payments", "research"), ("rui", "research", "payments")):
        names = [b["name"] for b in acme(name).get("/v1/boundaries").json()["boundaries"]]
        assert names == [own]
        hidden = acme(name).get(f"/v1/boundaries/{other}")
        unknown = acme(name).get("/v1/boundaries/treasury")
        assert hidden.status_code == unknown.status_code == 404
        by_id = acme("max").get(f"/v1/boundaries/{other}").json()["id"]
        assert acme(name).get(f"/v1/boundaries/{by_id}").status_code == 404


def test_another_organizations_people_see_nothing_of_this_one(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    document = organization()
    document["organization"] = "globex"
    document["identity_provider"] = "https://idp.globex.example"
    assert acme("max").put("/v1/organizations/globex", document).status_code == 200
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE api_token SET principal_id = p.id FROM principal p, principal old"
            " WHERE old.id = api_token.principal_id AND old.subject = 'omar@acme.test'"
            " AND p.subject = 'omar@acme.test' AND p.issuer = 'https://idp.globex.example'"
        )
    seen = acme("omar").get("/v1/boundaries").json()["boundaries"]
    theirs = {b["id"] for b in acme("ana").get("/v1/boundaries").json()["boundaries"]}
    assert len(seen) == 2
    assert theirs.isdisjoint({b["id"] for b in seen})
    for boundary in theirs:
        assert acme("omar").get(f"/v1/boundaries/{boundary}/audit").status_code == 404
    assert acme("omar").get("/v1/organizations/acme").status_code == 404


def test_a_denied_call_is_an_audit_event_of_its_own(acme: PersonOf, database: DatabaseUrls) -> None:
    assert acme("pia").get("/v1/installs").status_code == 403
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute(
            "SELECT target, actor->>'subject' FROM audit_event WHERE code = 'access.denied'"
        ).fetchall()
    assert rows == [("route/GET /v1/installs", "pia@acme.test")]


@pytest.mark.parametrize(
    "change",
    ["expires_at = now() - interval '1 second'", "revoked_at = now()"],
    ids=["expired", "revoked"],
)
def test_an_ended_token_is_refused(change: str, acme: PersonOf, database: DatabaseUrls) -> None:
    assert acme("sam").get("/v1/me").status_code == 200
    with psycopg.connect(database.admin) as connection:
        connection.execute(f"UPDATE api_token SET {change}")
    assert acme("sam").get("/v1/me").status_code == 401


def test_no_operation_takes_a_role_or_an_arn(acme: PersonOf) -> None:
    """The confused deputy: only ids, resolved under row-level security, name what is acted on."""
    described = make_routes().openapi()
    fields = {
        field
        for name, schema in described["components"]["schemas"].items()
        if name.endswith("In")
        for field, kind in schema.get("properties", {}).items()
        # Roles of people are names of our own catalogue, never a cloud's.
        if "/RoleName'" not in str(kind)
    }
    assert fields
    assert not {f for f in fields if "arn" in f or "external" in f or "role" in f}


def test_a_body_beyond_the_limit_is_refused_without_being_kept(acme: PersonOf) -> None:
    document = {**organization(), "display_name": "x" * 9_000_000}
    answer = acme("max").post("/v1/organizations:validate", document)
    assert answer.status_code == 400
    assert acme("max").get("/v1/me").status_code == 200
