"""The drift scan of a guest: its own stacks are compared, and nothing of its host's is reported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import pytest

from controlplane.adapters.pulumi.engine import EngineRun
from controlplane.sagas.install_drift import DEFINITION
from controlplane.sagas.install_update import DEFINITION as UPDATE
from tests.sagas.fake_world import INPUTS_OF, PARTS, TYPES, FakeScratch
from tests.sagas.stage import Stage
from tests.sagas.test_install_drift import findings, scan
from tests.sagas.test_install_of_a_guest import guest
from tests.sagas.test_install_update import ask as ask_update

__all__ = ["guest"]
"""A fixture, which pytest finds here."""

POD_ROLES = {
    "fetcher": "aws:iam/role:Role",
    "fetcher-policy": "aws:iam/rolePolicy:RolePolicy",
    "fetcher-pods": "aws:eks/podIdentityAssociation:PodIdentityAssociation",
    "agent-pods": "aws:eks/podIdentityAssociation:PodIdentityAssociation",
}
HOSTS: dict[str, dict[str, Any]] = {"vpc": {"tags": {"owner": "host"}}, "eks": {"version": "1.99"}}
"""What somebody changed of the host: its network and its cluster."""


@pytest.fixture
def standing(guest: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A guest that stands with an open grant; its stacks hold what a guest's program declares."""
    for name, kind in POD_ROLES.items():
        monkeypatch.setitem(TYPES, name, kind)
        monkeypatch.setitem(INPUTS_OF, name, ())
    monkeypatch.setitem(PARTS, "foundation", ("bucket",))
    monkeypatch.setitem(PARTS, "cluster", tuple(POD_ROLES))
    assert guest.go(guest.start()) == "succeeded"
    guest.open_grant()
    guest.bench.change("UPDATE install SET access = 'open' WHERE host_boundary_id IS NOT NULL")
    guest.world.ways.clear()
    guest.world.claims.clear()
    return guest


def drift_of(stage: Stage) -> dict[str, str]:
    """Return the drift of each boundary's install."""
    rows = stage.bench.rows(
        "SELECT b.name, i.drift FROM install i JOIN boundary b ON b.id = i.boundary_id"
    )
    return {row["name"]: row["drift"] for row in rows}


def test_a_guest_finds_what_was_changed_of_its_own_and_nothing_of_its_host(
    standing: Stage,
) -> None:
    standing.world.changed = {**HOSTS, "fetcher-pods": {"tags": {"owner": "them"}}}
    standing.world.deleted = {"vpc", "eks"}
    scan(standing)
    wanted = {"path": "tags.owner", "was": "us", "is": "them"}
    assert findings(standing) == [("fetcher-pods", "changed", [wanted])]
    rows = standing.bench.rows("SELECT boundary_id, stack FROM drift_finding")
    own = standing.bench.tenant.boundary_id
    assert [(row["boundary_id"], row["stack"]) for row in rows] == [(own, "cluster")]
    assert drift_of(standing) == {"payments": "found", "core": "unknown"}


def test_what_its_host_changes_is_no_drift_of_a_guest(standing: Stage) -> None:
    standing.world.changed, standing.world.deleted = dict(HOSTS), {"vpc", "eks"}
    scan(standing)
    assert findings(standing) == []
    assert drift_of(standing) == {"payments": "none", "core": "unknown"}


def test_a_guests_scan_reads_its_own_states_and_goes_into_no_cluster(
    standing: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, engine = standing.ports.state, standing.ports.engine
    export, asked, runs = state.export_stack, [], []

    def noting(*place: Any) -> dict[str, Any] | None:
        asked.append(place)
        return export(*place)

    @contextmanager
    def opened(run: EngineRun) -> Iterator[FakeScratch]:
        runs.append(run)
        yield FakeScratch(standing.world)

    monkeypatch.setattr(state, "export_stack", noting)
    monkeypatch.setattr(engine, "open_scratch", opened)
    scan(standing)
    own = standing.bench.tenant.boundary_id
    project = "ringfence-payments"
    assert asked == [(own, project, "foundation"), (own, project, "cluster")]
    assert [(run.boundary_id, run.project) for run in runs] == [(own, project)]
    assert standing.world.ways == []
    assert standing.world.claims == []


def test_a_hosts_cluster_that_is_gone_is_unclear_to_its_guest_and_not_a_finding(
    standing: Stage,
) -> None:
    # EKS takes the associations away with the cluster: half of the guest's stack.
    standing.world.deleted = {"fetcher-pods", "agent-pods"}
    run_id = standing.start(DEFINITION, {"keep_open": True})
    assert standing.bench.execute(run_id, DEFINITION, standing.ports) == "failed"
    assert standing.bench.steps(run_id)["scan"]["error_code"] == "unclear-refresh"
    assert findings(standing) == []


def remediated_by(stage: Stage) -> list[UUID | None]:
    return [row["remediated_by"] for row in stage.bench.rows("SELECT * FROM drift_finding")]


def test_an_update_of_a_guest_sets_its_drift_right_and_leaves_its_hosts(standing: Stage) -> None:
    standing.world.changed = {**HOSTS, "agent-pods": {"tags": {"owner": "them"}}}
    scan(standing)
    assert remediated_by(standing) == [None]
    run = ask_update(standing)
    assert standing.go(run, UPDATE) == "succeeded"
    assert remediated_by(standing) == [run]
    assert standing.world.changed == HOSTS
