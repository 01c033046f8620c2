"""Two boundaries in one cluster, end to end: the second moves in, answers, and moves out again."""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from ringfence.client import ApiError
from sandbox.home import Home
from tests.sandbox.one_install import (
    Sandbox,
    describe_shared,
    install_boundary,
    open_grant,
    run_ended,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

HOST, GUEST = "payments", "research"
CLUSTER = f"ringfence-{HOST}"


@dataclass
class Shared:
    """A host and its guest, both installed; the runs in order."""

    sandbox: Sandbox
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)

    def certificate(self, boundary: str) -> dict[str, Any]:
        """Return what the certificate of a boundary's install says."""
        install = self.runs[boundary]["install_id"]
        file = self.sandbox.api("sam@acme.test").get(f"/v1/installs/{install}/certificate")
        found: dict[str, Any] = json.loads(base64.b64decode(file["envelope"]["payload"]))
        return found

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return the customer's trail of one call."""
        found = (
            self.sandbox.customer()
            .client("cloudtrail")
            .lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}])
        )
        return [json.loads(event["CloudTrailEvent"]) for event in found["Events"]]


@pytest.fixture(scope="module")
def shared() -> Iterator[Shared]:
    root = Path(tempfile.mkdtemp(prefix="rf-gu-"))
    sandbox = Sandbox(Home(root / "home"))
    try:
        sandbox.run("up", "--time-scale", "0.002")
        describe_shared(sandbox, HOST, GUEST)
        found = Shared(sandbox)
        for boundary in (HOST, GUEST):
            run = run_ended(sandbox, install_boundary(sandbox, boundary), 300)
            assert run["state"] == "succeeded", run
            found.runs[boundary] = run
        yield found
    finally:
        sandbox.close()
        shutil.rmtree(root, ignore_errors=True)


def test_both_boundaries_answer_from_one_cluster(shared: Shared) -> None:
    assert shared.sandbox.customer().client("eks").list_clusters()["clusters"] == [CLUSTER]
    assert shared.sandbox.answers(HOST)
    assert shared.sandbox.answers(GUEST)


def test_the_guests_certificate_says_in_whose_cluster_it_lives_and_finds_nothing_of_us(
    shared: Shared,
) -> None:
    certificate = shared.certificate(GUEST)
    assert (certificate["cluster"], certificate["host"]) == (CLUSTER, HOST)
    assert certificate["access"]["closed_by"] == "agent"
    assert [one for one in certificate["residue"] if not one["expected"]] == []
    proofs = {one["action"]: one for one in certificate["access"]["proofs"]}
    assert proofs["kubernetes:list-pods"]["succeeded_before"] is True
    own = shared.certificate(HOST)
    assert (own["cluster"], own["host"]) == (CLUSTER, None)


def test_the_guest_changed_nothing_of_its_hosts_cluster(shared: Shared) -> None:
    by_guest = [
        event["eventName"]
        for name in ("CreateAccessEntry", "AssociateAccessPolicy", "UpdateClusterConfig",
                     "CreateCluster", "CreateNodegroup", "CreateAddon", "CreateVpc")
        for event in shared.events(name)
        # The runner has a cluster of its own in ECS, for its one task.
        if event["eventSource"] != "ecs.amazonaws.com"
        and f"ringfence-{GUEST}-g" in json.dumps(event["userIdentity"])
    ]  # fmt: skip
    assert set(by_guest) == {"CreateAccessEntry"}
    entries = shared.sandbox.customer().client("eks").list_access_entries(clusterName=CLUSTER)
    assert [one for one in entries["accessEntries"] if GUEST in one] == []


def test_a_guests_kit_alone_updates_and_deletes_it_and_its_host_does_not_change(
    shared: Shared,
) -> None:
    install = shared.runs[GUEST]["install_id"]
    printed = shared.sandbox.run("rehearse", "takeover", install, "--json", seconds=300)
    result = json.loads(printed[: printed.rindex("}") + 1])
    print(json.dumps(result, indent=2))
    steps = {one["step"]: one["shown"] for one in result["steps"]}
    assert list(steps) == ["alone", "status", "preview", "update", "delete", "account"]
    assert f"what runs in the cluster of {HOST} is left there" in steps["delete"][0]
    assert steps["account"][1].startswith(f"host {HOST} is as it was: cluster, nodes, ")
    assert shared.sandbox.answers(GUEST)


def test_a_guests_scan_finds_its_own_drift_and_not_its_hosts(shared: Shared) -> None:
    sandbox, customer = shared.sandbox, shared.sandbox.customer()
    theirs = [{"Key": "owner", "Value": "theirs"}]
    role = f"ringfence-{GUEST}-fetcher"
    customer.client("iam").tag_role(RoleName=role, Tags=theirs)
    customer.client("iam").tag_role(RoleName=f"ringfence-{HOST}-fetcher", Tags=theirs)
    customer.client("ec2").create_tags(Resources=sandbox.vpcs(), Tags=theirs)
    grant, install = open_grant(sandbox, "look for drift", GUEST), shared.runs[GUEST]["install_id"]
    architect = sandbox.api("sam@acme.test")
    scan = architect.post(f"/v1/installs/{install}/drift-scans", {"grant_id": grant})["run_id"]
    assert run_ended(sandbox, scan)["state"] == "succeeded"
    found = architect.get(f"/v1/installs/{install}/drift")
    assert [(one["cloud_id"], one["change"]) for one in found["findings"]] == [(role, "changed")]
    of_host = architect.get(f"/v1/installs/{shared.runs[HOST]['install_id']}/drift")
    assert of_host["findings"] == []


def test_a_host_is_not_removed_while_its_guest_lives_there(shared: Shared) -> None:
    grant = open_grant(shared.sandbox, "removal", HOST)
    install = shared.runs[HOST]["install_id"]
    with pytest.raises(ApiError) as refused:
        shared.sandbox.api("sam@acme.test").post(
            f"/v1/installs/{install}/removal", {"grant_id": grant, "reason": "test"}
        )
    assert "research lives in this cluster" in str(refused.value)


def test_a_guest_moves_out_and_its_host_answers_on(shared: Shared) -> None:
    sandbox = shared.sandbox
    architect, approver = sandbox.api("sam@acme.test"), sandbox.api("ana@acme.test")
    grant = open_grant(sandbox, "removal", GUEST)
    install = shared.runs[GUEST]["install_id"]
    body = {"grant_id": grant, "reason": "the pilot is over"}
    run = architect.post(f"/v1/installs/{install}/removal", body)["run_id"]

    def state() -> str:
        found: str = architect.get(f"/v1/runs/{run}")["state"]
        return found

    wait_for(lambda: state() == "awaiting-approval", 120, "the list of what goes")
    digest = architect.get(f"/v1/runs/{run}/plan")["digest"]
    approver.post(f"/v1/runs/{run}/approve", {"digest": digest, "reason": "test"})

    def steps_of() -> dict[str, str]:
        return {one["key"]: one["state"] for one in architect.get(f"/v1/runs/{run}")["steps"]}

    # The run is `closing` from the first step of the close on; our power goes after the way in.
    wait_for(lambda: steps_of()["power-off"] == "succeeded", 200, "our power is gone")
    steps = steps_of()
    assert steps["release"] == steps["inventory"] == "succeeded"
    path = f"/ringfence/{GUEST}/"
    assert sandbox.customer().client("iam").list_roles(PathPrefix=path)["Roles"] == []
    eks = sandbox.customer().client("eks")
    associations = eks.list_pod_identity_associations(clusterName=CLUSTER)["associations"]
    assert {one["namespace"] for one in associations} == {f"boundary-{HOST}", "ringfence-system"}
    vpc = eks.describe_cluster(name=CLUSTER)["cluster"]["resourcesVpcConfig"]
    assert vpc["endpointPublicAccess"] is False
    assert sandbox.answers(HOST)
    assert not sandbox.answers(GUEST)
