"""Asking for a restoration, and for the list of what it can begin from."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.integration.api.conftest import PersonOf
from tests.integration.api.test_updates import active, standing
from tests.postgres import DatabaseUrls

__all__ = ["active", "standing"]


def ask(acme: PersonOf, standing: dict[str, Any], **more: Any) -> Any:
    body = {"grant_id": standing["grant_id"], "reason": "the record is lost", **more}
    return acme("sam").post(f"/v1/installs/{standing['install_id']}/restore", body)


def test_a_restoration_is_one_run_to_what_was_applied_last(
    acme: PersonOf, standing: dict[str, Any], database: DatabaseUrls
) -> None:
    asked = ask(acme, standing, snapshot=3)
    assert asked.status_code == 202, asked.text
    run = acme("ana").get(f"/v1/runs/{asked.json()['run_id']}").json()
    assert (run["kind"], run["state"]) == ("install.restore", "planning")
    revisions = acme("ana").get(f"/v1/installs/{standing['install_id']}").json()["revisions"]
    assert revisions[0]["inputs"] == revisions[1]["inputs"]
    with psycopg.connect(database.admin) as connection:
        (event,) = connection.execute(
            "SELECT detail FROM audit_event WHERE code = 'install.restore-requested'"
        ).fetchall()
    assert (event[0]["snapshot"], event[0]["empty"], event[0]["from_revision"]) == (3, False, 1)
    again = ask(acme, standing)
    assert (again.status_code, again.json()["error"]["code"]) == (409, "install-busy")


def test_two_records_at_once_are_refused_before_anything_is_written(
    acme: PersonOf, standing: dict[str, Any]
) -> None:
    asked = ask(acme, standing, snapshot=3, empty=True)
    assert (asked.status_code, asked.json()["error"]["field"]) == (400, "snapshot"), asked.text
    shown = acme("ana").get(f"/v1/installs/{standing['install_id']}").json()
    assert len(shown["revisions"]) == 1


@pytest.mark.parametrize("lifecycle", ["failed", "removed"])
def test_only_what_stands_is_restored(
    acme: PersonOf, standing: dict[str, Any], database: DatabaseUrls, lifecycle: str
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE install SET lifecycle = %s", [lifecycle])
    answer = ask(acme, standing)
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "not-installed")


def test_snapshots_are_listed_by_a_reading_run_that_is_no_part_of_the_installs_story(
    acme: PersonOf, standing: dict[str, Any], database: DatabaseUrls
) -> None:
    path = f"/v1/installs/{standing['install_id']}"
    asked = acme("sam").post(f"{path}/snapshots", {})
    assert asked.status_code == 202, asked.text
    run = asked.json()["run_id"]
    assert acme("sam").get(f"{path}/snapshots/{run}").json()["snapshots"] is None
    assert run not in acme("ana").get(path).json()["run_ids"]
    listed = [{"number": 4, "label": "before cluster", "taken_at": "2026-11-24T21:40:12+00:00",
               "run_id": standing["run_id"], "stacks": ["foundation"]}]  # fmt: skip
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO step (organization_id, boundary_id, run_id, key, title, position, after,"
            " phase, state, attempt, budget_seconds, estimate_seconds, output)"
            " SELECT organization_id, boundary_id, id, 'snapshots', 'List', 0, '{}', 'work',"
            " 'succeeded', 1, 30, 1, %s FROM run WHERE id = %s",
            [Jsonb({"snapshots": listed}), run],
        )
    (shown,) = acme("sam").get(f"{path}/snapshots/{run}").json()["snapshots"]
    assert (shown["number"], shown["label"], shown["stacks"]) == (
        4, "before cluster", ["foundation"],
    )  # fmt: skip
    assert acme("sam").get(f"{path}/snapshots/{standing['run_id']}").status_code == 404
