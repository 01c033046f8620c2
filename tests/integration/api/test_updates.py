"""Asking for an update: what stands, inputs and version, the grant, then one run."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from controlplane.core.ids import new_id
from tests.integration.api.conftest import PersonOf
from tests.integration.api.test_installs import active, settled
from tests.postgres import DatabaseUrls

__all__ = ["active"]


@pytest.fixture
def standing(acme: PersonOf, active: dict[str, Any], database: DatabaseUrls) -> dict[str, Any]:
    """An install that a run has brought about, and the grant that is open now."""
    ids = settled(acme, active, database, "installed")
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE run SET params = '{\"revision\": 1}'")
    return {**ids, "grant_id": active["id"], "path": f"/v1/installs/{ids['install_id']}/update"}


def ask(acme: PersonOf, standing: dict[str, Any], **more: Any) -> Any:
    body = {"grant_id": standing["grant_id"], "reason": "more nodes", **more}
    return acme("sam").post(standing["path"], body)


def revisions(acme: PersonOf, standing: dict[str, Any]) -> list[dict[str, Any]]:
    shown: list[dict[str, Any]] = (
        acme("ana").get(f"/v1/installs/{standing['install_id']}").json()["revisions"]
    )
    return shown


def test_an_update_is_one_run_and_a_revision_with_single_inputs_changed(
    acme: PersonOf, standing: dict[str, Any], database: DatabaseUrls
) -> None:
    asked = ask(acme, standing, change={"node_count": 3})
    assert asked.status_code == 202, asked.text
    run = acme("ana").get(f"/v1/runs/{asked.json()['run_id']}").json()
    assert (run["kind"], run["state"]) == ("install.update", "planning")
    new, old = revisions(acme, standing)
    assert (new["number"], old["number"]) == (2, 1)
    assert new["inputs"] == {**old["inputs"], "node_count": 3}
    with psycopg.connect(database.admin) as connection:
        (event,) = connection.execute(
            "SELECT detail FROM audit_event WHERE code = 'install.update-requested'"
        ).fetchall()
    assert (event[0]["reason"], event[0]["changed"]) == ("more nodes", ["node_count"])
    second = ask(acme, standing)
    assert (second.status_code, second.json()["error"]["code"]) == (409, "install-busy")


def test_inputs_that_do_not_fit_leave_nothing_behind(
    acme: PersonOf, standing: dict[str, Any]
) -> None:
    for more, field in (
        ({"change": {"node_count": 0}}, "inputs.node_count"),
        ({"change": {"speed": None}}, "change.speed"),
        ({"change": {"account": "1"}}, "inputs.account"),
        ({"version": "9.9.9"}, "blueprint"),
        ({"revision": 7}, "revision"),
    ):
        answer = ask(acme, standing, **more)
        assert answer.json()["error"]["field"] == field, answer.text
    assert [r["number"] for r in revisions(acme, standing)] == [1]


def test_a_refused_update_is_not_what_the_next_one_starts_from(
    acme: PersonOf, standing: dict[str, Any], database: DatabaseUrls
) -> None:
    assert ask(acme, standing, change={"node_count": 3}).status_code == 202
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE run SET state = 'cancelled', outcome = 'denied', finished_at = now()"
            " WHERE kind = 'install.update'"
        )
    assert ask(acme, standing).status_code == 202
    assert "node_count" not in revisions(acme, standing)[0]["inputs"]
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE run SET state = 'failed', finished_at = now()"
                           " WHERE kind = 'install.update' AND finished_at IS NULL")  # fmt: skip
    assert ask(acme, standing, revision=2).status_code == 202
    assert revisions(acme, standing)[0]["inputs"]["node_count"] == 3


@pytest.mark.parametrize("lifecycle", ["failed", "removed", "updating"])
def test_only_what_stands_and_is_left_alone_can_be_updated(
    acme: PersonOf, standing: dict[str, Any], database: DatabaseUrls, lifecycle: str
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE install SET lifecycle = %s", [lifecycle])
    answer = ask(acme, standing)
    code = "install-busy" if lifecycle == "updating" else "not-installed"
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, code)


def test_a_finding_says_which_run_has_set_it_right(
    acme: PersonOf, standing: dict[str, Any], database: DatabaseUrls
) -> None:
    with psycopg.connect(database.admin) as connection:
        for digest, by in (("sha256:1", "id"), ("sha256:2", "NULL")):
            connection.execute(
                "INSERT INTO drift_finding (organization_id, boundary_id, id, install_id, run_id,"
                " digest, stack, urn, type, name, cloud_id, change, properties, resolved_at,"
                " remediated_by) SELECT organization_id, boundary_id, %s, install_id, id, %s,"
                " 'foundation', 'urn:' || %s, 'aws:ec2/vpc:Vpc', 'vpc', 'vpc-1', 'changed', %s,"
                f" now(), {by} FROM run",
                [new_id(), digest, digest, Jsonb([])],
            )
    shown = acme("ana").get(f"/v1/installs/{standing['install_id']}/drift").json()
    assert shown["findings"] == []
    assert [(f["outcome"], f["remediated_by"]) for f in shown["ended"]] == [
        ("remediated", standing["run_id"]),
        ("seen-right", None),
    ]
