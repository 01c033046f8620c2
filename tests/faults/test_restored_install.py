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
from controlplane.core.run_engine.definition import Definition
from controlplane.sagas.install_restore import DEFINITION
from controlplane.sagas.provisioning.stacks import resources_of
from sandbox.aws.ledger import read_ledger
from tests.faults.conftest import OpenScene
from tests.faults.install import Scene

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

ENGINE = {"ringfence/engine-llamacpp": "ringfence/engine-llamacpp@sha256:" + "c" * 64}
NODES = "aws:eks/nodeGroup:NodeGroup"


def outside_the_cluster() -> Definition:
    """Return the restore without what happens inside the cluster."""
    keys = ("preflight", "state", "adopt", "plan", "approval", "foundation", "cluster", "account",
            "census", "power-off", "role-delete", "proof")  # fmt: skip
    after = {"census": ("account",), "power-off": ("census",)}
    steps = [DEFINITION.step(key) for key in keys]
    return replace(
        DEFINITION,
        steps=tuple(replace(one, after=after.get(one.key, one.after)) for one in steps),
    )


def restore(scene: Scene, **params: Any) -> UUID:
    """Open the next grant, as the customer would, and carry a restore to its end."""
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
    scene.definition, scene.grant_id = outside_the_cluster(), grant
    scene.run_id = scene.bench.start(scene.definition, {"reason": "the record is lost", **params})
    assert scene.go() == "succeeded", scene.why()
    return scene.run_id


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


def written(scene: Scene) -> int:
    return len(read_ledger(scene.boundary.gate.root / "data"))


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
    (nodes,) = [one for one in held(scene).values() if one["type"] == NODES]
    assert any("::aws:eks/cluster:Cluster::" in urn for urn in nodes["dependencies"])

    group = nodes["id"].split(":")
    eks = scene.boundary.gate.client("eks", "customer-admin")
    eks.delete_nodegroup(clusterName=group[0], nodegroupName=group[1])
    deadline = time.monotonic() + 60
    while eks.list_nodegroups(clusterName=group[0])["nodegroups"]:
        assert time.monotonic() < deadline, "the node group does not go"
        time.sleep(0.1)
    before = written(scene)
    again = restore(scene)
    plan = scene.bench.run(again)["plan"]
    assert [item["type"] for item in plan["restore"]["lost"]] == [NODES]
    assert plan["restore"]["adopted"] == []
    assert made(scene, before) == ["CreateNodegroup"]
    assert scene.live() == live
