"""Asking for an install: inputs first, then the grant, then one run with its outbox row."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from controlplane.core.db import Database
from controlplane.core.ids import new_id
from tests.integration.api.conftest import PersonOf
from tests.integration.api.test_grants import RoleStub, approved, probe
from tests.postgres import DatabaseUrls


@pytest.fixture
def active(acme: PersonOf, database: DatabaseUrls) -> dict[str, Any]:
    """An active grant of boundary payments."""
    grant = approved(acme)
    external = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    worker = Database.connect(database.worker, pool_size=1)
    probe(acme, worker, RoleStub({external}), "open", grant["id"])
    worker.close()
    return grant


def runs(database: DatabaseUrls) -> list[Any]:
    """Return all runs of all tenants."""
    with psycopg.connect(database.admin) as connection:
        return connection.execute("SELECT id, kind, state FROM run").fetchall()


def test_an_install_writes_run_revision_and_outbox_in_one_transaction(
    acme: PersonOf, active: dict[str, Any], database: DatabaseUrls
) -> None:
    answer = acme("sam").post("/v1/installs", {"boundary": "payments", "grant_id": active["id"]})
    assert answer.status_code == 202, answer.text
    ids = answer.json()
    shown = acme("ana").get(f"/v1/installs/{ids['install_id']}").json()
    assert shown["run_ids"] == [ids["run_id"]]
    assert shown["revisions"][0]["inputs"]["cidr"] == "10.20.0.0/16"
    assert shown["revisions"][0]["grant_id"] == active["id"]
    assert acme("sam").get(f"/v1/runs/{ids['run_id']}").json()["state"] == "planning"
    with psycopg.connect(database.admin) as connection:
        jobs = connection.execute("SELECT args FROM outbox WHERE task = 'run.advance'").fetchall()
    assert [job[0]["run_id"] for job in jobs] == [ids["run_id"]]


def test_wrong_inputs_are_all_named_before_any_effect(
    acme: PersonOf, active: dict[str, Any], database: DatabaseUrls
) -> None:
    answer = acme("sam").post(
        "/v1/installs",
        {
            "boundary": "payments",
            "grant_id": active["id"],
            "inputs": {"cidr": 7, "egress": "tunnel", "node_count": 0, "speed": "fast"},
        },
    )
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert error["code"] == "invalid-inputs"
    assert {p["path"] for p in error["problems"]} == {
        "inputs",
        "inputs.cidr",
        "inputs.egress",
        "inputs.node_count",
        "inputs.speed",
    }
    assert runs(database) == []


@pytest.mark.parametrize(
    ("body", "field", "fix"),
    [
        ({"grant_id": "g-1"}, "body.grant_id", "give the whole id"),
        ({}, "body.grant_id", "send the field"),
        ({"grant_id": str(new_id()), "inputs": 7}, "body.inputs", "docs/reference/openapi.json"),
    ],
    ids=["no-id", "missing", "of-another-kind"],
)
def test_a_request_of_another_shape_is_told_the_field_and_the_fix(
    acme: PersonOf, body: dict[str, Any], field: str, fix: str
) -> None:
    answer = acme("sam").post("/v1/installs", {"boundary": "payments", **body})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["field"]) == ("invalid-shape", field)
    assert fix in error["fix"]
    assert fix in error["problems"][0]["fix"]


def test_inputs_that_the_server_fills_in_cannot_be_given(
    acme: PersonOf, active: dict[str, Any]
) -> None:
    answer = acme("sam").post(
        "/v1/installs",
        {"boundary": "payments", "grant_id": active["id"], "inputs": {"account": "999988887777"}},
    )
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "inputs.account"


def test_an_install_needs_an_active_grant_of_its_own_boundary(
    acme: PersonOf, active: dict[str, Any], database: DatabaseUrls
) -> None:
    body = {"boundary": "research", "grant_id": active["id"]}
    answer = acme("sam").post("/v1/installs", body)
    assert answer.status_code == 400
    assert answer.json()["error"]["field"] == "grant_id"
    other = approved(acme, "research")
    early = acme("sam").post("/v1/installs", {"boundary": "research", "grant_id": other["id"]})
    assert early.status_code == 409
    assert early.json()["error"]["code"] == "grant-not-active"
    assert runs(database) == []


def test_a_second_install_waits_for_the_first(acme: PersonOf, active: dict[str, Any]) -> None:
    body = {"boundary": "payments", "grant_id": active["id"]}
    first = acme("sam").post("/v1/installs", body).json()
    second = acme("sam").post("/v1/installs", body)
    assert second.status_code == 409
    assert second.json()["error"]["install_id"] == first["install_id"]


def test_an_unknown_blueprint_names_those_that_exist(
    acme: PersonOf, active: dict[str, Any]
) -> None:
    answer = acme("sam").post(
        "/v1/installs",
        {"boundary": "payments", "grant_id": active["id"], "blueprint": "x", "version": "9.9.9"},
    )
    assert answer.status_code == 404
    assert "eks-model-stack 0.4.0" in answer.json()["error"]["fix"]


def settled(
    acme: PersonOf, grant: dict[str, Any], database: DatabaseUrls, lifecycle: str
) -> dict[str, Any]:
    """Ask for an install and write its run's end, as a worker would have; return its ids."""
    body = {"boundary": "payments", "grant_id": grant["id"]}
    ids: dict[str, Any] = acme("sam").post("/v1/installs", body).json()
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE run SET state = 'succeeded', finished_at = now()")
        connection.execute("UPDATE install SET lifecycle = %s", [lifecycle])
    return ids


@pytest.mark.parametrize("lifecycle", ["installed", "partial", "failed"])
def test_a_removal_is_one_run_with_its_reason_in_the_audit(
    acme: PersonOf, active: dict[str, Any], database: DatabaseUrls, lifecycle: str
) -> None:
    ids = settled(acme, active, database, lifecycle)
    path = f"/v1/installs/{ids['install_id']}/removal"
    asked = acme("sam").post(path, {"grant_id": active["id"], "reason": "the pilot is over"})
    assert asked.status_code == 202, asked.text
    run = acme("ana").get(f"/v1/runs/{asked.json()['run_id']}").json()
    assert (run["kind"], run["state"]) == ("install.deprovision", "planning")
    with psycopg.connect(database.admin) as connection:
        events = connection.execute(
            "SELECT detail FROM audit_event WHERE code = 'install.removal-requested'"
        ).fetchall()
    assert [event[0]["reason"] for event in events] == ["the pilot is over"]
    second = acme("sam").post(path, {"grant_id": active["id"], "reason": "again"})
    assert second.status_code == 409
    assert second.json()["error"]["code"] == "install-busy"


def test_only_what_a_removal_retained_can_be_purged(
    acme: PersonOf, active: dict[str, Any], database: DatabaseUrls
) -> None:
    ids = settled(acme, active, database, "installed")
    path = f"/v1/installs/{ids['install_id']}/removal"
    purge = {"grant_id": active["id"], "reason": "the contract ended", "purge": True}
    early = acme("sam").post(path, purge)
    assert (early.status_code, early.json()["error"]["code"]) == (409, "not-removed")
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE install SET lifecycle = 'removed'")
    empty = acme("sam").post(path, purge)
    assert (empty.status_code, empty.json()["error"]["code"]) == (409, "nothing-retained")
    again = acme("sam").post(path, {**purge, "purge": False})
    assert (again.status_code, again.json()["error"]["code"]) == (409, "removed")
    kept = {"stack": "foundation", "type": "aws:s3/bucket:Bucket", "name": "artifacts",
            "id": "a-bucket", "reason": "the customer's"}  # fmt: skip
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE install SET retained = %s", [Jsonb([kept])])
    assert acme("ana").get(f"/v1/installs/{ids['install_id']}").json()["retained"] == [kept]
    asked = acme("sam").post(path, purge)
    assert asked.status_code == 202, asked.text
    run = acme("ana").get(f"/v1/runs/{asked.json()['run_id']}").json()
    assert run["kind"] == "install.purge"


def test_a_change_in_the_account_is_accepted_by_a_second_person_for_a_time(
    acme: PersonOf, active: dict[str, Any], database: DatabaseUrls
) -> None:
    ids = settled(acme, active, database, "installed")
    path = f"/v1/installs/{ids['install_id']}"
    finding = new_id()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO drift_finding (organization_id, boundary_id, id, install_id, run_id,"
            " digest, stack, urn, type, name, cloud_id, change, properties)"
            " SELECT organization_id, boundary_id, %s, install_id, id, 'sha256:1', 'foundation',"
            " 'urn:vpc', 'aws:ec2/vpc:Vpc', 'vpc', 'vpc-1', 'changed', %s FROM run",
            [finding, Jsonb([{"path": "tags.owner", "was": "us", "is": "them"}])],
        )
        connection.execute("UPDATE install SET drift_at = now(), drift = 'found'")
    shown = acme("ana").get(f"{path}/drift").json()
    assert shown["drift"] == "found"
    assert shown["findings"][0]["properties"] == [{"path": "tags.owner", "was": "us", "is": "them"}]
    early = acme("ana").post(f"{path}/drift/{finding}/accept", {})
    assert (early.status_code, early.json()["error"]["code"]) == (409, "not-proposed")
    body = {"reason": "the customer's own tag policy", "days": 30}
    assert acme("sam").post(f"{path}/drift/{finding}/proposal", body).status_code == 200
    assert acme("sam").post(f"{path}/drift/{finding}/accept", {}).status_code == 403
    accepted = acme("ana").post(f"{path}/drift/{finding}/accept", {})
    assert accepted.status_code == 200, accepted.text
    assert accepted.json()["is_accepted"]
    assert acme("ana").get(path).json()["drift"] == "none"
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE drift_finding SET accepted_until = now() - interval '1 s'")
    assert acme("ana").get(path).json()["drift"] == "found"


def test_that_nothing_has_changed_is_known_only_while_somebody_may_look(
    acme: PersonOf, active: dict[str, Any], database: DatabaseUrls
) -> None:
    ids = settled(acme, active, database, "installed")
    path = f"/v1/installs/{ids['install_id']}"
    assert acme("ana").get(path).json()["drift"] == "unknown"
    asked = acme("sam").post(f"{path}/drift-scans", {"grant_id": active["id"]})
    assert asked.status_code == 202, asked.text
    run = acme("ana").get(f"/v1/runs/{asked.json()['run_id']}").json()
    assert run["kind"] == "install.drift"
    with psycopg.connect(database.admin) as connection:
        lanes = connection.execute("SELECT lane FROM run WHERE kind = 'install.drift'").fetchall()
        connection.execute("UPDATE install SET drift_at = now(), drift = 'none'")
    assert lanes == [("read",)]
    assert acme("ana").get(path).json()["drift"] == "none"
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE install SET access = 'closed'")
    shown = acme("ana").get(path).json()
    assert shown["drift"] == "unknown"
    assert shown["drift_at"] is not None
