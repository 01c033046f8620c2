"""The cluster with the real engine and the stand-in, in the rehearsal account.

Everything the engine does here, it does with exactly the permissions of the customer's template.
"""

import os
import signal
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from blueprints.manifest import load
from sandbox.aws_provider.install import install
from sandbox.toolchain import find_program
from tests.blueprints.account import ACCOUNT, opened_session, rehearsal_account
from tests.blueprints.engine import INPUTS, Engine, resources

pytestmark = [pytest.mark.slow, pytest.mark.cluster]

NAME = "ringfence-payments"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """Return an engine that works in a session of the customer's one role, opened for an hour."""
    home = tmp_path_factory.mktemp("pulumi")
    install(home / "plugins")
    # The clusters' sockets need a short path.
    with (
        tempfile.TemporaryDirectory(prefix="rf-") as folder,
        rehearsal_account(Path(folder), time_scale=0.005) as account,
    ):
        session = opened_session(account, "payments")
        yield Engine(
            home,
            Path(find_program("pulumi")),
            account.endpoint,
            session,
            INPUTS | {"account": ACCOUNT},
            account.credentials("customer-admin"),
        )


@pytest.fixture(scope="module")
def foundation(engine: Engine) -> dict[str, Any]:
    """Apply the foundation and return its outputs."""
    (up,) = engine.succeed("foundation", "up")
    outputs: dict[str, Any] = up["outputs"]
    return outputs


@pytest.fixture(scope="module")
def applied(engine: Engine, foundation: dict[str, Any]) -> list[dict[str, Any]]:
    """Plan the cluster without the foundation's outputs, then apply it with them, twice."""
    planned = engine.succeed("cluster", "preview")
    done = engine.succeed("cluster", "up", "up", "refresh", "export", upstream=foundation)
    return [*planned, *done]


def test_the_plan_before_the_foundation_is_what_the_apply_makes(
    applied: list[dict[str, Any]],
) -> None:
    assert applied[0]["changes"] == applied[1]["changes"] == {"create": 18}


def test_a_second_apply_and_a_refresh_change_nothing(applied: list[dict[str, Any]]) -> None:
    assert applied[2]["changes"] == applied[3]["changes"] == {"same": 18}


def test_the_outputs_are_what_the_manifest_says(applied: list[dict[str, Any]]) -> None:
    assert load("eks-model-stack").output_problems("cluster", applied[1]["outputs"]) == []


def test_the_urn_tag_is_the_engines_own_urn(applied: list[dict[str, Any]]) -> None:
    tagged = [item for item in resources(applied[4]).values() if item["outputs"].get("tags")]
    assert len(tagged) == 10
    for item in tagged:
        assert item["outputs"]["tags"]["ringfence:urn"] == item["urn"]


def test_the_cluster_is_as_declared(engine: Engine, applied: list[dict[str, Any]]) -> None:
    eks = engine.client("eks")
    cluster = eks.describe_cluster(name=NAME)["cluster"]
    assert cluster["status"] == "ACTIVE"
    assert cluster["accessConfig"]["authenticationMode"] == "API"
    assert cluster["resourcesVpcConfig"]["endpointPrivateAccess"] is True
    assert cluster["encryptionConfig"][0]["resources"] == ["secrets"]
    principals = eks.list_access_entries(clusterName=NAME)["accessEntries"]
    assert not [arn for arn in principals if "customer-admin" in arn]
    pods = eks.list_pod_identity_associations(clusterName=NAME)["associations"]
    assert {(pod["namespace"], pod["serviceAccount"]) for pod in pods} == {
        ("boundary-payments", "fetcher"),
        ("ringfence-system", "agent"),
    }


def test_an_endpoint_that_a_run_closed_stays_closed(
    engine: Engine, foundation: dict[str, Any], applied: list[dict[str, Any]]
) -> None:
    eks = engine.client("eks")
    update = eks.update_cluster_config(
        name=NAME,
        resourcesVpcConfig={"endpointPublicAccess": False, "endpointPrivateAccess": True},
    )["update"]["id"]
    _until(
        lambda: eks.describe_update(name=NAME, updateId=update)["update"]["status"] != "InProgress"
    )
    refresh, up = engine.succeed("cluster", "refresh", "up", upstream=foundation)
    assert refresh["changes"]["update"] == 1
    assert up["changes"] == {"same": 18}
    network = eks.describe_cluster(name=NAME)["cluster"]["resourcesVpcConfig"]
    assert network["endpointPublicAccess"] is False


def test_more_nodes_are_an_update_in_place(
    engine: Engine, foundation: dict[str, Any], applied: list[dict[str, Any]]
) -> None:
    more = engine.inputs | {"node_count": 3}
    (up,) = engine.succeed("cluster", "up", upstream=foundation, inputs=more)
    assert up["changes"] == {"update": 1, "same": 17}
    group = engine.client("eks").describe_nodegroup(clusterName=NAME, nodegroupName=f"{NAME}-cpu")[
        "nodegroup"
    ]
    assert group["scalingConfig"] == {"desiredSize": 3, "minSize": 3, "maxSize": 3}


def test_a_destroyed_cluster_can_be_made_after_an_interrupted_run(
    engine: Engine, foundation: dict[str, Any], applied: list[dict[str, Any]]
) -> None:
    eks = engine.client("eks")
    (destroy,) = engine.succeed("cluster", "destroy", upstream=foundation)
    assert destroy["changes"]["delete"] == 18
    assert eks.list_clusters()["clusters"] == []
    with engine.started("cluster", "up", upstream=foundation) as process:
        _until(lambda: eks.list_clusters()["clusters"] == [NAME])
        os.kill(_engine_of(process.pid), signal.SIGINT)
        output, _ = process.communicate(timeout=120)
    assert "cluster ringfence-payments" in output or "stopped while waiting" in output
    # The cluster is in the state with its id: the next run waits for it and makes no other.
    (up,) = engine.succeed("cluster", "up", upstream=foundation)
    assert up["outputs"]["cluster_name"] == NAME
    assert eks.list_clusters()["clusters"] == [NAME]


def test_destroy_leaves_nothing(
    engine: Engine, foundation: dict[str, Any], applied: list[dict[str, Any]]
) -> None:
    engine.succeed("cluster", "destroy", upstream=foundation)
    engine.succeed("foundation", "destroy")
    assert engine.client("eks").list_clusters()["clusters"] == []
    roles = engine.client("iam").list_roles(PathPrefix="/ringfence/")["Roles"]
    assert roles == []
    vpcs = engine.client("ec2").describe_vpcs()["Vpcs"]
    assert [vpc for vpc in vpcs if not vpc["IsDefault"]] == []


def _until(condition: Any, seconds: float = 60) -> None:
    pause, deadline = Event(), time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        pause.wait(0.05)


def _engine_of(pid: int) -> int:
    """Return the Pulumi process below a run."""
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        if "pulumi" in Path(f"/proc/{child}/comm").read_text():
            return int(child)
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            if "pulumi" in Path(f"/proc/{child}/comm").read_text():
                return int(child)
    raise AssertionError("the run has no Pulumi process")
