"""What waits for a person, how boundaries stand, and what an engineer may see of a boundary."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb
from sqlalchemy import event

from controlplane.core.db import Database
from tests.integration.api.conftest import PersonOf
from tests.integration.api.test_grants import RoleStub, approved, probe, request
from tests.postgres import DatabaseUrls

DIGEST = "sha256:" + "d" * 64


@pytest.fixture
def waiting(acme: PersonOf, database: DatabaseUrls) -> dict[str, Any]:
    """A run of boundary payments whose plan waits, under an active grant."""
    grant = approved(acme)
    external = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    worker = Database.connect(database.worker, pool_size=1)
    probe(acme, worker, RoleStub({external}), "open", grant["id"])
    worker.close()
    answer = acme("sam").post("/v1/installs", {"boundary": "payments", "grant_id": grant["id"]})
    made: dict[str, Any] = answer.json()
    plan = {"blueprint": "eks-model-stack", "blueprint_version": "0.1.0",
            "counts": {"foundation": {"create": 11}}}  # fmt: skip
    with psycopg.connect(database.admin) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE run SET state = 'awaiting-approval', parked_at = now(), plan = %s,"
            " plan_digest = %s WHERE id = %s",
            (Jsonb(plan), DIGEST, made["run_id"]),
        )
    return {**made, "grant": grant}


def pending(acme: PersonOf, name: str) -> list[dict[str, Any]]:
    """Return what waits, as a person sees it."""
    answer = acme(name).get("/v1/approvals?state=pending")
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["approvals"]
    return found


def test_a_requested_grant_waits_with_what_exactly_is_asked(acme: PersonOf) -> None:
    grant = request(acme)
    (item,) = pending(acme, "ana")
    assert (item["kind"], item["id"], item["digest"]) == (
        "grant",
        grant["id"],
        grant["policy_digest"],
    )
    assert (item["boundary"]["name"], item["title"]) == ("payments", "first install")
    assert item["requested_by"]["subject"] == "sam@acme.test"
    assert (item["duration_seconds"], item["may_decide"], item["why_not"]) == (7200, True, None)
    acme("ana").post(f"/v1/grants/{grant['id']}/approve")
    assert pending(acme, "ana") == []


def test_a_plan_waits_with_its_counts_its_digest_and_the_end_of_the_access(
    acme: PersonOf, waiting: dict[str, Any]
) -> None:
    (item,) = pending(acme, "ana")
    assert (item["kind"], item["id"], item["digest"]) == ("plan", waiting["run_id"], DIGEST)
    assert item["title"] == "Install eks-model-stack 0.1.0"
    assert item["counts"] == {"foundation": {"create": 11}}
    assert item["grant_until"] is not None
    assert item["grant_until"].startswith(waiting["grant"]["grant_until"][:19])
    assert item["grant_id"] == waiting["grant"]["id"]
    assert item["permissions"]["digest"] == waiting["grant"]["policy_digest"]


def test_whoever_may_not_decide_is_told_why(acme: PersonOf, database: DatabaseUrls) -> None:
    request(acme)
    assert [(i["may_decide"], i["why_not"]) for i in pending(acme, "omar")] == [(False, "role")]
    assert [(i["may_decide"], i["why_not"]) for i in pending(acme, "sam")] == [(False, "four-eyes")]
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO role_assignment (organization_id, id, principal_id, role, valid_from,"
            " reason) SELECT o.id, gen_random_uuid(), p.id, 'approver', now(), 'test'"
            " FROM organization o, principal p WHERE p.subject = 'sam@acme.test'"
        )
    assert [(i["may_decide"], i["why_not"]) for i in pending(acme, "sam")] == [(False, "four-eyes")]


def test_an_administrator_of_one_boundary_sees_nothing_of_another(acme: PersonOf) -> None:
    request(acme, "research")
    assert len(pending(acme, "ren")) == 1
    assert pending(acme, "bea") == []
    assert acme("pia").get("/v1/approvals").status_code == 403


def test_an_unknown_state_is_refused_by_name(acme: PersonOf) -> None:
    answer = acme("ana").get("/v1/approvals?state=all")
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "query.state"


def test_a_boundary_says_how_it_stands_to_those_who_run_it(
    acme: PersonOf, waiting: dict[str, Any]
) -> None:
    shown = {b["name"]: b for b in acme("sam").get("/v1/boundaries").json()["boundaries"]}
    standing = shown["payments"]["standing"]
    (install,) = standing["installs"]
    assert install["id"] == waiting["install_id"]
    assert (install["lifecycle"], install["health"], install["drift"], install["access"]) == (
        "requested", "unknown", "unknown", "open",
    )  # fmt: skip
    assert install["newest_run"]["state"] == "awaiting-approval"
    assert (standing["live_grant"]["state"], standing["live_grant"]["number"]) == ("active", 1)
    assert standing["connection_state"] == "open"
    assert shown["research"]["standing"]["installs"] == []
    assert shown["research"]["standing"]["live_grant"] is None
    assert shown["payments"]["roles"] == ["solution-architect"]
    assert acme("sam").get("/v1/boundaries/payments").json()["standing"] == standing


def test_an_engineer_sees_no_standing_of_a_boundary(
    acme: PersonOf, waiting: dict[str, Any]
) -> None:
    (shown,) = acme("pia").get("/v1/boundaries").json()["boundaries"]
    assert (shown["name"], shown["standing"], shown["roles"]) == ("payments", None, ["engineer"])


def test_lists_ask_the_database_as_often_for_many_as_for_one(
    acme: PersonOf, api_database: Database, waiting: dict[str, Any]
) -> None:
    def queries(path: str) -> int:
        asked: list[str] = []

        def note(_c: Any, _cur: Any, statement: str, *_rest: Any) -> None:
            asked.append(statement)

        event.listen(api_database.engine, "before_cursor_execute", note)
        assert acme("sam").get(path).status_code == 200
        event.remove(api_database.engine, "before_cursor_execute", note)
        return len(asked)

    paths = ("/v1/boundaries", "/v1/approvals", "/v1/installs")
    before = [queries(path) for path in paths]
    request(acme, "research")
    after = [queries(path) for path in paths]
    assert after == before


def test_an_install_names_its_boundary_and_its_runs(
    acme: PersonOf, waiting: dict[str, Any]
) -> None:
    shown = acme("omar").get(f"/v1/installs/{waiting['install_id']}").json()
    assert shown["boundary"] == "payments"
    assert [(r["id"], r["state"]) for r in shown["runs"]] == [
        (waiting["run_id"], "awaiting-approval")
    ]
    assert shown["run_ids"] == [waiting["run_id"]]


def test_an_engineer_sees_and_revokes_the_own_keys_only(acme: PersonOf) -> None:
    path = "/v1/boundaries/payments/gateway-keys"
    asked = {"group": "payments-engineers", "owner": "pia@acme.test"}
    mine = acme("pia").post(path, asked).json()
    assert [k["id"] for k in acme("pia").get(path).json()["keys"]] == [mine["id"]]
    entitled = acme("pia").get("/v1/boundaries/payments/entitlements").json()["entitlements"]
    assert {e["group"] for e in entitled} == {"payments-engineers"}
    with_all = acme("max").get(path).json()["keys"]
    assert mine["id"] in {k["id"] for k in with_all}
    assert acme("pia").post(f"{path}/{mine['id']}/revoke").status_code == 200


def test_an_engineer_cannot_revoke_another_persons_key(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    path = "/v1/boundaries/payments/gateway-keys"
    key = acme("max").post(path, {"group": "payments-engineers", "owner": "pia@acme.test"}).json()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE gateway_key SET owner_id = p.id FROM principal p"
            " WHERE p.subject = 'max@acme.test'"
        )
    assert acme("pia").get(path).json()["keys"] == []
    assert acme("pia").post(f"{path}/{key['id']}/revoke").status_code == 404
