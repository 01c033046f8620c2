"""Maintenance windows over HTTP, and a run of the product's engine that they hold back."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from controlplane.core import clock
from controlplane.core.db import Database
from controlplane.core.run_engine.executor import EngineSettings, RunExecutor
from controlplane.core.run_engine.fence import resume_due_runs
from controlplane.domains.windows import service as windows
from tests.integration.api.conftest import PersonOf
from tests.integration.runs.test_run_routes import DIGEST, SAGA, Faults, run_id, worker
from tests.postgres import DatabaseUrls
from tests.sagas.bench import claim_soon

__all__ = ["run_id", "worker"]
"""Fixtures, which pytest finds here."""

WINDOWS = "/v1/boundaries/payments/windows"
OVERRIDES = "/v1/boundaries/payments/window-overrides"


def closed_now() -> dict[str, Any]:
    """Return a window that opens in about three days."""
    day = (datetime.now(UTC) + timedelta(days=3)).strftime("%a").lower()
    return {"days": [day], "starts": "12:00", "minutes": 60, "zone": "UTC"}


def execute(worker: Database) -> None:
    claim = claim_soon(worker, 5)
    RunExecutor(
        worker, SAGA, claim, Faults(), EngineSettings(lease_seconds=5), threading.Event(),
        clock.elapsed(), windows.gate,
    ).run()  # fmt: skip


def test_windows_are_set_by_the_boundarys_admin_and_shown(acme: PersonOf) -> None:
    none = acme("sam").get(WINDOWS).json()
    assert (none["windows"], none["is_open"], none["until"]) == ([], True, None)
    body = {"windows": [closed_now()]}
    assert acme("sam").put(WINDOWS, body).status_code == 403
    found = acme("bea").put(WINDOWS, body)
    assert found.status_code == 200, found.text
    assert (found.json()["windows"], found.json()["is_open"]) == ([closed_now()], False)
    opens = datetime.fromisoformat(found.json()["until"])
    assert timedelta(days=1) < opens - datetime.now(UTC) < timedelta(days=4)
    assert acme("ren").get(WINDOWS).status_code == 404
    assert acme("bea").put(WINDOWS, {"windows": []}).json()["is_open"] is True


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"zone": "Mars/Olympus"}, "Mars/Olympus"),
        ({"starts": "25:00"}, "starts"),
        ({"days": ["mon", "mon"]}, "each day once"),
        ({"minutes": 5}, "minutes"),
    ],
)
def test_a_wrong_window_is_refused_by_name(
    acme: PersonOf, change: dict[str, Any], said: str
) -> None:
    refused = acme("bea").put(WINDOWS, {"windows": [{**closed_now(), **change}]})
    assert refused.status_code == 422
    assert said in refused.text
    assert "Value error" not in refused.text
    assert refused.json()["error"]["field"].startswith("body.windows.0.")
    assert acme("bea").get(WINDOWS).json()["windows"] == []


def test_a_run_waits_outside_the_windows_and_goes_on_under_an_override_by_two_people(
    acme: PersonOf, run_id: str, worker: Database, database: DatabaseUrls
) -> None:
    assert acme("bea").put(WINDOWS, {"windows": [closed_now()]}).status_code == 200
    execute(worker)
    # Planning goes on: only effects wait.
    assert acme("sam").get(f"/v1/runs/{run_id}").json()["state"] == "awaiting-approval"
    acme("ana").post(f"/v1/runs/{run_id}/approve", {"digest": DIGEST})
    execute(worker)
    run = acme("sam").get(f"/v1/runs/{run_id}").json()
    assert run["state"] == "paused"
    assert "maintenance windows; the next one opens" in run["parked_reason"]
    assert run["resume_at"] == acme("sam").get(WINDOWS).json()["until"]
    assert "resume" in run["can"]

    asked = acme("sam").post(OVERRIDES, {"reason": "the release cannot wait", "minutes": 60})
    assert asked.status_code == 201, asked.text
    (override,) = asked.json()["requested"]
    path = f"{OVERRIDES}/{override['id']}/approve"
    assert asked.json()["is_open"] is False
    assert acme("sam").post(path).status_code == 403
    scheduler = Database.connect(database.scheduler, pool_size=1)
    assert resume_due_runs(scheduler) == []
    allowed = acme("ana").post(path).json()
    assert (allowed["is_open"], allowed["requested"]) == (True, [])
    assert allowed["override"]["reason"] == "the release cannot wait"
    assert [str(each) for each in resume_due_runs(scheduler)] == [run_id]
    scheduler.close()
    execute(worker)
    assert acme("sam").get(f"/v1/runs/{run_id}").json()["state"] == "succeeded"
    again = acme("ana").post(path)
    assert (again.status_code, "approved already" in again.text) == (409, True)


def test_the_requesters_other_identity_cannot_approve_an_override(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    asked = acme("sam").post(OVERRIDES, {"reason": "in a hurry", "minutes": 15}).json()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET person_key = '4711'"
            " WHERE subject IN ('sam@acme.test', 'ana@acme.test')"
        )
    refused = acme("ana").post(f"{OVERRIDES}/{asked['requested'][0]['id']}/approve")
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "four-eyes")


def test_an_override_that_nobody_approved_for_a_day_is_gone(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    asked = acme("sam").post(OVERRIDES, {"reason": "some time", "minutes": 15}).json()
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE window_override SET requested_at = now() - interval '25 hours'")
    assert acme("ana").get(WINDOWS).json()["requested"] == []
    late = acme("ana").post(f"{OVERRIDES}/{asked['requested'][0]['id']}/approve")
    assert (late.status_code, "ask for a new one" in late.text) == (409, True)


def test_an_override_ends_by_itself(acme: PersonOf, database: DatabaseUrls) -> None:
    acme("bea").put(WINDOWS, {"windows": [closed_now()]})
    asked = acme("sam").post(OVERRIDES, {"reason": "just once", "minutes": 15}).json()
    acme("ana").post(f"{OVERRIDES}/{asked['requested'][0]['id']}/approve")
    assert acme("ana").get(WINDOWS).json()["is_open"] is True
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE window_override SET ends_at = now()")
    ended = acme("ana").get(WINDOWS).json()
    assert (ended["is_open"], ended["override"]) == (False, None)


def test_an_override_waits_among_the_approvals_until_somebody_else_approves_it(
    acme: PersonOf,
) -> None:
    acme("bea").put(WINDOWS, {"windows": [closed_now()]})
    asked = acme("sam").post(OVERRIDES, {"reason": "the release of Monday", "minutes": 90}).json()
    (override,) = asked["requested"]
    assert (override["requested_by_name"], override["approved_by_name"]) == ("Sam", None)

    def waiting(name: str) -> list[dict[str, Any]]:
        found = acme(name).get("/v1/approvals").json()["approvals"]
        return [item for item in found if item["kind"] == "override"]

    (item,) = waiting("ana")
    assert (item["id"], item["reason"]) == (override["id"], "the release of Monday")
    assert (item["duration_seconds"], item["boundary"]["name"]) == (5400, "payments")
    assert (item["may_decide"], item["why_not"]) == (True, None)
    assert waiting("sam")[0]["why_not"] == "four-eyes"
    assert waiting("omar")[0]["why_not"] == "role"
    assert waiting("ren") == []
    approved = acme("ana").post(f"{OVERRIDES}/{override['id']}/approve")
    assert approved.json()["override"]["approved_by_name"] == "Ana"
    assert waiting("ana") == []


def test_an_override_that_can_no_longer_be_approved_waits_for_nobody(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    acme("sam").post(OVERRIDES, {"reason": "the release of Monday", "minutes": 90})
    with psycopg.connect(database.admin) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute("UPDATE window_override SET requested_at = now() - interval '25 hours'")
    assert acme("ana").get("/v1/approvals").json()["approvals"] == []
    assert acme("ana").get(WINDOWS).json()["requested"] == []
