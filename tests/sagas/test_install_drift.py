"""The drift saga on the real engine and database, with fakes of what is outside."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from controlplane.core.errors import ConflictError
from controlplane.core.run_engine import create_run
from controlplane.sagas.install_drift import DEFINITION
from controlplane.sagas.provisioning.drift import compare
from tests.sagas.fake_world import PARTS, urn
from tests.sagas.stage import Stage

ASKED = {"keep_open": True}
_SECRET = {"4dabf18193072939515e22adb298388d": "1b47061264138c4ac30d75fd1eb44270"}


@pytest.fixture
def standing(stage: Stage) -> Stage:
    """Show an install that stands, with an open grant."""
    stage.world.things = {"foundation", "cluster", *PARTS["foundation"], *PARTS["cluster"]}
    stage.bench.change("UPDATE install SET lifecycle = 'installed', access = 'open'")
    return stage


def scan(stage: Stage) -> UUID:
    run_id = stage.start(DEFINITION, ASKED)
    assert stage.bench.execute(run_id, DEFINITION, stage.ports) == "succeeded"
    return run_id


def findings(stage: Stage) -> list[tuple[Any, ...]]:
    rows = stage.bench.rows(
        "SELECT name, change, properties FROM drift_finding WHERE resolved_at IS NULL ORDER BY urn"
    )
    return [(r["name"], r["change"], r["properties"]) for r in rows]


def test_a_scan_finds_a_change_and_sees_it_set_right(standing: Stage):
    scan(standing)
    assert (standing.install()["drift"], findings(standing)) == ("none", [])
    standing.world.changed["vpc"] = {"tags": {"owner": "them"}, "openness": True}
    scan(standing)
    assert standing.install()["drift"] == "found"
    wanted = [("vpc", "changed", [{"path": "tags.owner", "was": "us", "is": "them"}])]
    assert findings(standing) == wanted
    scan(standing)
    assert findings(standing) == wanted
    assert standing.world.calls == []
    standing.world.changed.clear()
    scan(standing)
    assert (standing.install()["drift"], findings(standing)) == ("none", [])


def test_a_scan_never_takes_the_state_from_a_run_that_writes(standing: Stage):
    bench, tenant = standing.bench, standing.bench.tenant
    with bench.api.transaction(tenant.scope) as session:
        writer = create_run(
            session,
            tenant.requester,
            organization_id=tenant.organization_id,
            boundary_id=tenant.boundary_id,
            install_id=tenant.install_id,
            kind="install.update",
        )
    run_id = standing.start(DEFINITION, {"keep_open": False})
    assert bench.execute(run_id, DEFINITION, standing.ports) == "succeeded"
    assert standing.world.claims == []
    assert bench.states(run_id)["power-off"] == "skipped"
    assert standing.world.has_power
    assert bench.run(writer)["state"] == "planning"


def test_a_scan_that_nobody_wants_to_go_on_from_ends_the_access(standing: Stage):
    run_id = standing.start(DEFINITION, {"keep_open": False})
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "closing"
    standing.finish_without_agent(run_id, DEFINITION)
    assert standing.bench.run(run_id)["state"] == "succeeded"
    assert standing.grant()["state"] == "closed"


def test_so_much_missing_is_unclear_and_not_a_finding(standing: Stage):
    standing.world.deleted = {"eks"}
    run_id = standing.start(DEFINITION, ASKED)
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "failed"
    assert standing.bench.steps(run_id)["scan"]["error_code"] == "unclear-refresh"
    assert standing.install()["drift"] == "unknown"
    assert findings(standing) == []


def resource(name: str, **inputs: Any) -> dict[str, Any]:
    return {"urn": urn("foundation", "vpc") + name, "type": "aws:ec2/vpc:Vpc", "id": f"id-{name}",
            "inputs": inputs}  # fmt: skip


def deployment(*resources: dict[str, Any]) -> dict[str, Any]:
    return {"deployment": {"resources": list(resources)}}


def test_a_deleted_resource_is_found_among_enough_others():
    before = deployment(*(resource(n) for n in "abcd"))
    (found,) = compare("foundation", before, deployment(*(resource(n) for n in "abc")))
    assert (found.cloud_id, found.change, found.properties) == ("id-d", "deleted", ())
    with pytest.raises(ConflictError, match="unreachable is not gone"):
        compare("foundation", before, deployment(resource("a"), resource("b")))


def test_no_secret_is_among_the_values_and_no_ciphertext_is_a_change():
    before = deployment(
        resource("a", password={**_SECRET, "ciphertext": "one"}, rules=[{"key": "open"}])
    )
    after = deployment(
        resource(
            "a",
            password={**_SECRET, "ciphertext": "two"},
            rules=[{"key": {**_SECRET, "ciphertext": "three"}}],
        )
    )
    (found,) = compare("foundation", before, after)
    assert [p.document() for p in found.properties] == [
        {"path": "rules", "was": "[{'key': 'open'}]", "is": "[secret]"}
    ]
    assert "ciphertext" not in repr(found)
