"""A record that was lost, and resources that were: restored by the real engine in the account.

What runs inside the cluster is left out, as in the other faults; the ledger of the rehearsal
account, which the control plane never reads, says what was made.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from psycopg import sql

from controlplane.adapters.pulumi.state import schema_name
from controlplane.core.ids import new_id
from controlplane.sagas.provisioning.stacks import resources_of
from sandbox.aws.ledger import read_ledger
from tests.faults.conftest import Employ, OpenScene
from tests.faults.install import Scene, judge, restore_saga

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENGINE = {"ringfence/engine-llamacpp": "ringfence/engine-llamacpp@sha256:" + "c" * 64}
NODES = "aws:eks/nodeGroup:NodeGroup"
STEPS = (
    "state", "adopt", "plan", "foundation", "cluster", "account", "census", "power-off",
    "role-delete", "proof",
)  # fmt: skip
"""What a restore does, and how it ends. Its other steps only look, and are the install's."""
MOMENTS = ("before:step_started", "before:step_finished", "after:step_finished")
INSIDE = ("after:put_back", "before:import:foundation", "after:import:cluster", "during:up:cluster")
"""In the midst of an effect: of the record as a whole, of a stack's record, of an apply."""


def restore(scene: Scene, **params: Any) -> UUID:
    """Carry a restore to its end."""
    begin_restore(scene, **params)
    assert scene.go() == "succeeded", scene.why()
    return scene.run_id


def begin_restore(scene: Scene, **params: Any) -> None:
    """Open the next grant, as the customer would, and ask for a restore."""
    (last,) = scene.bench.rows("SELECT max(number) AS n FROM access_grant")
    number, grant = last["n"] + 1, new_id()
    scene.boundary.open(number)
    scene.bench.change("UPDATE access_grant SET state = 'closed' WHERE state <> 'closed'")
    scene.bench.change(
        "INSERT INTO access_grant (organization_id, boundary_id, id, connection_id, number,"
        " purpose, reason, policy_digest, duration_seconds, state, requested_by, decided_by,"
        " activated_at, grant_until) SELECT organization_id, boundary_id, %s, connection_id, %s,"
        " purpose, reason, policy_digest, 3600, 'active', requested_by, decided_by, now(),"
        " now() + interval '1 hour' FROM access_grant ORDER BY number LIMIT 1",
        grant, number,
    )  # fmt: skip
    scene.definition, scene.grant_id = restore_saga(), grant
    scene.run_id = scene.bench.start(scene.definition, {"reason": "the record is lost", **params})


def held(scene: Scene) -> dict[str, dict[str, Any]]:
    """Return what the engine's state holds of the account: URN to record."""
    project, boundary = f"ringfence-{scene.boundary.name}", scene.bench.tenant.boundary_id
    return {
        record["urn"]: record
        for stack in ("foundation", "cluster")
        for record in resources_of(scene.state.export_stack(boundary, project, stack) or {})
    }


def ids(scene: Scene) -> dict[str, str]:
    return {urn: record["id"] for urn, record in held(scene).items()}


def made(scene: Scene, since: int) -> list[str]:
    """Return the ledger's operations after entry `since` that made something."""
    entries = read_ledger(scene.boundary.gate.root / "data")[since:]
    return [e["operation"] for e in entries if e["outcome"] == "done" and e["created"]]


def deleted(scene: Scene, since: int) -> list[str]:
    """Return the ledger's operations after entry `since` that delete something."""
    entries = read_ledger(scene.boundary.gate.root / "data")[since:]
    named = [e["operation"] for e in entries if e["outcome"] == "done"]
    # The customer deletes our role at the end: that is the customer's own call.
    return [name for name in named if name.startswith("Delete") and "Role" not in name]


def written(scene: Scene) -> int:
    return len(read_ledger(scene.boundary.gate.root / "data"))


def nodes(scene: Scene) -> dict[str, Any]:
    """Return the state's record of the node group."""
    (found,) = [one for one in held(scene).values() if one["type"] == NODES]
    return found


def delete_nodes(scene: Scene) -> None:
    """Let somebody delete the node group, and see it gone."""
    cluster, name = nodes(scene)["id"].split(":")
    eks = scene.boundary.gate.client("eks", "customer-admin")
    eks.delete_nodegroup(clusterName=cluster, nodegroupName=name)
    deadline = time.monotonic() + 60
    while eks.list_nodegroups(clusterName=cluster)["nodegroups"]:
        assert time.monotonic() < deadline, "the node group does not go"
        time.sleep(0.1)


def test_a_lost_record_is_adopted_whole_and_lost_nodes_alone_are_made_again(
    open_install: OpenScene, state_url: str
) -> None:
    scene = open_install("foundation", "cluster")
    scene.ports = replace(scene.ports, settings=replace(scene.ports.settings, images=ENGINE))
    assert scene.go() == "succeeded", scene.why()
    tenant = scene.bench.tenant
    live, known = scene.live(), ids(scene)
    with psycopg.connect(state_url, autocommit=True) as connection:
        connection.execute(
            sql.SQL("DROP SCHEMA {} CASCADE").format(
                sql.Identifier(schema_name(tenant.boundary_id))
            )
        )
    before = written(scene)
    adopted = restore(scene)
    plan = scene.bench.run(adopted)["plan"]
    assert made(scene, before) == []
    assert scene.live() == live
    assert ids(scene) == known
    assert plan["restore"]["lost"] == []
    assert {op for counts in plan["counts"].values() for op in counts} == {"same"}
    told = scene.bench.rows("SELECT detail FROM audit_event WHERE code='install.resource-adopted'")
    assert {row["detail"]["urn"] for row in told} == {i["urn"] for i in plan["restore"]["adopted"]}
    # What an adopted record cannot say is what it depends on; the apply has told it.
    assert any("::aws:eks/cluster:Cluster::" in urn for urn in nodes(scene)["dependencies"])

    delete_nodes(scene)
    before = written(scene)
    again = restore(scene)
    plan = scene.bench.run(again)["plan"]
    assert [item["type"] for item in plan["restore"]["lost"]] == [NODES]
    assert plan["restore"]["adopted"] == []
    assert made(scene, before) == ["CreateNodegroup"]
    assert scene.live() == live


def test_a_worker_killed_at_every_boundary_of_a_restore_ends_it_with_one_outcome(
    open_install: OpenScene, employ: Employ
) -> None:
    scene = open_install("foundation", "cluster")
    scene.ports = replace(scene.ports, settings=replace(scene.ports.settings, images=ENGINE))
    assert scene.go() == "succeeded", scene.why()
    live, known = scene.live(), ids(scene)
    delete_nodes(scene)
    before = written(scene)
    begin_restore(scene, empty=True)
    mortals = employ(scene)
    mortals.die_at_every_boundary(STEPS, MOMENTS, INSIDE)
    state = scene.go()
    judge(scene, state)
    assert state == "succeeded", scene.why()
    died_at = mortals.visited()
    assert set(died_at) == {*INSIDE, *(f"{m}:{key}" for m in MOMENTS for key in STEPS)}
    assert mortals.kills == len(died_at)

    # Nothing twice, nothing deleted, nothing forgotten: only what was missing was made.
    assert made(scene, before) == ["CreateNodegroup"]
    assert deleted(scene, before) == []
    assert (scene.live(), ids(scene)) == (live, known)
    adopted = scene.bench.run(scene.run_id)["plan"]["restore"]["adopted"]
    assert {item["urn"] for item in adopted} == known.keys() - {nodes(scene)["urn"]}
    saved = scene.state.snapshots(scene.bench.tenant.boundary_id)
    assert [one.label for one in saved if one.run_id == scene.run_id].count("before restore") == 1
    # Each decision is in the audit once, however often its step ran.
    told = scene.bench.rows("SELECT code, detail FROM audit_event ORDER BY seq")
    urns = [e["detail"]["urn"] for e in told if e["code"] == "install.resource-adopted"]
    assert sorted(urns) == sorted(item["urn"] for item in adopted)
    assert [e["code"] for e in told].count("install.state-restored") == 1
    # So is the end of our access: once for the install's grant, once for that of the restore.
    ended = [e["code"] for e in told if e["code"] in ("grant.revoked", "grant.closed")]
    assert ended == ["grant.revoked", "grant.closed"] * 2
