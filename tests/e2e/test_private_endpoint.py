"""An install where no endpoint may be public and images are the customer's: the whole way.

One boundary in a sandbox of its own, with the account's rules on: from outside nothing connects.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.cluster.handle import ClusterHandle
from sandbox.cluster.settings import read_settings
from sandbox.home import Home
from sandbox.node.images import IMAGES
from sandbox.rehearsal.alone import HERE
from tests.sandbox.one_install import BOUNDARY, Sandbox, begin_install, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CLUSTER = f"ringfence-{BOUNDARY}"


@dataclass(frozen=True)
class Installed:
    """What an install by the runner left."""

    sandbox: Sandbox
    run: dict[str, Any]
    certificate: dict[str, Any]

    @property
    def registry(self) -> str:
        """Return the customer's registry, where the boundary's images lie."""
        ecr = self.sandbox.customer().client("ecr")
        found = ecr.describe_repositories()["repositories"]
        (place,) = {one["repositoryUri"].rpartition("/")[0] for one in found}
        assert place.endswith(f"/ringfence/{BOUNDARY}")
        return str(place)

    def cluster(self) -> Any:
        """Return an administrator's client of the cluster, as only its own machine has one."""
        clusters = self.sandbox.home.data / "aws" / "clusters"
        (folder,) = [one for one in clusters.iterdir() if (one / "cluster.json").exists()]
        return ClusterHandle(read_settings(folder)).admin()

    def trail(self, name: str) -> list[dict[str, Any]]:
        """Return the customer's trail of one call."""
        found = (
            self.sandbox.customer()
            .client("cloudtrail")
            .lookup_events(LookupAttributes=[{"AttributeKey": "EventName", "AttributeValue": name}])
        )
        return [json.loads(event["CloudTrailEvent"]) for event in found["Events"]]


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    root = Path(tempfile.mkdtemp(prefix="rf-pe-"))
    sandbox = Sandbox(Home(root / "home"))
    try:
        sandbox.run("up", "--time-scale", "0.002")
        run = begin_install(sandbox, reach="in-vpc-runner", images="copied")
        architect = sandbox.api("sam@acme.test")

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = architect.get(f"/v1/runs/{run}")
            return found if found["finished_at"] else None

        done = wait_for(ended, 400, "the end of the install")
        assert done["state"] == "succeeded", done
        file = architect.get(f"/v1/installs/{done['install_id']}/certificate")
        certificate = json.loads(base64.b64decode(file["envelope"]["payload"]))
        yield Installed(sandbox, done, certificate)
    finally:
        sandbox.close()
        shutil.rmtree(root, ignore_errors=True)


def test_the_model_answers_and_the_certificate_proves_the_way_in_shut(
    installed: Installed,
) -> None:
    assert installed.sandbox.answers()
    proofs = {one["action"]: one for one in installed.certificate["access"]["proofs"]}
    assert proofs["kubernetes:list-namespaces"]["succeeded_before"] is True
    assert proofs["kubernetes:connect"]["succeeded_before"] is False
    findings = [one for one in installed.certificate["residue"] if not one["expected"]]
    assert findings == []


def test_the_endpoint_was_never_public(installed: Installed) -> None:
    eks = installed.sandbox.customer().client("eks")
    vpc = eks.describe_cluster(name=CLUSTER)["cluster"]["resourcesVpcConfig"]
    assert (vpc["endpointPublicAccess"], vpc["endpointPrivateAccess"]) == (False, True)
    assert eks.list_updates(name=CLUSTER)["updateIds"] == []
    (created,) = [one for one in installed.trail("CreateCluster") if "eks" in one["eventSource"]]
    asked = created["requestParameters"]["resourcesVpcConfig"]
    assert asked["endpointPublicAccess"] is False


def test_nothing_of_the_runner_is_left_in_the_account(installed: Installed) -> None:
    customer = installed.sandbox.customer()
    roles = customer.client("iam").list_roles(PathPrefix=f"/ringfence/{BOUNDARY}/")["Roles"]
    assert [r["RoleName"] for r in roles if "runner" in r["RoleName"]] == []
    entries = customer.client("eks").list_access_entries(clusterName=CLUSTER)["accessEntries"]
    assert [one for one in entries if "runner" in one or f"/{CLUSTER}-g" in one] == []
    assert customer.client("ecs").list_task_definitions()["taskDefinitionArns"] == []
    clusters = customer.client("ecs").describe_clusters(clusters=[CLUSTER])
    assert [one["status"] for one in clusters["clusters"]] == []
    bucket = next(
        one["Name"]
        for one in customer.client("s3").list_buckets()["Buckets"]
        if one["Name"].endswith("-artifacts")
    )
    left = customer.client("s3").list_object_versions(Bucket=bucket, Prefix="runner/")
    assert left.get("Versions", []) == left.get("DeleteMarkers", []) == []


def test_the_customers_trail_shows_the_task_and_what_it_did(installed: Installed) -> None:
    started = [one for one in installed.trail("RunTask") if "errorCode" not in one]
    assert started
    wrote = [
        one
        for one in installed.trail("AssumeRole")
        if one["userIdentity"].get("invokedBy") == "ecs-tasks.amazonaws.com"
    ]
    assert all("-runner" in one["requestParameters"]["RoleArn"] for one in wrote)
    assert wrote


def test_every_image_was_copied_once_and_everything_runs_from_the_copies(
    installed: Installed,
) -> None:
    (step,) = [one for one in installed.run["steps"] if one["key"] == "images"]
    assert step["state"] == "succeeded"
    assert installed.certificate["image_digests"] == {
        name: image.digest for name, image in IMAGES.items()
    }
    pushed = [one["requestParameters"] for one in installed.trail("PutImage")]
    assert sorted((one["repositoryName"], one["reference"]) for one in pushed) == sorted(
        (f"ringfence/{BOUNDARY}/{name.partition('/')[2]}", image.digest)
        for name, image in IMAGES.items()
    )
    pods = installed.cluster().request("GET", "/api/v1/pods")["items"]
    used = {c["image"] for pod in pods for c in pod["spec"]["containers"]}
    assert used
    assert all(image.startswith(f"{installed.registry}/") for image in used), used
    pulled = {one["userIdentity"]["arn"] for one in installed.trail("GetDownloadUrlForLayer")}
    assert any(f"/{CLUSTER}-node/" in arn for arn in pulled), pulled


def test_a_pod_starts_again_while_our_registry_is_gone_and_none_from_what_was_not_copied(
    installed: Installed,
) -> None:
    admin, ours = installed.cluster(), int(installed.sandbox.part("registry")["pid"])
    space = f"/api/v1/namespaces/boundary-{BOUNDARY}/pods"

    def gateways() -> dict[str, Any]:
        pods = admin.request("GET", space)["items"]
        return {p["metadata"]["name"]: p for p in pods if "gateway" in p["metadata"]["name"]}

    def replaced() -> bool:
        now = gateways()
        ready = [
            name
            for name, pod in now.items()
            for status in pod["status"].get("containerStatuses", [])
            if status["ready"]
        ]
        return not set(now) & set(before) and bool(ready)

    before = gateways()
    os.kill(ours, signal.SIGSTOP)
    try:
        for name in before:
            admin.request("DELETE", f"{space}/{name}", {"gracePeriodSeconds": 1})
        wait_for(replaced, 90, "another gateway")
        wait_for(installed.sandbox.answers, 60, "an answer")
    finally:
        os.kill(ours, signal.SIGCONT)
    never = f"{installed.registry}/never-copied@{IMAGES['ringfence/probe'].digest}"
    container = {"name": "main", "image": never}
    body = {"metadata": {"name": "never"}, "spec": {"containers": [container]}}
    admin.request("POST", "/api/v1/namespaces/default/pods", body)

    def refusal() -> str:
        pod = admin.request("GET", "/api/v1/namespaces/default/pods/never")
        states = [s["state"].get("waiting", {}) for s in pod["status"].get("containerStatuses", [])]
        return next((one["message"] for one in states if one.get("reason") == "ErrImagePull"), "")

    message = wait_for(refusal, 30, "the refusal of the image")
    assert "NAME_UNKNOWN" in message
    assert never in message


def test_its_customer_goes_on_alone_from_inside_and_never_opens_the_endpoint(
    installed: Installed,
) -> None:
    install = installed.run["install_id"]
    printed = installed.sandbox.run("rehearse", "takeover", install, "--json", seconds=450)
    result = json.loads(printed[: printed.rindex("}") + 1])
    print(json.dumps(result, indent=2))
    steps = {one["step"]: one["shown"] for one in result["steps"]}
    assert list(steps) == [
        "alone", "status", "preview", "update", "outside", "chart", "remove-chart", "delete",
        "account",
    ]  # fmt: skip
    shut = "shut again: no entry of the customer's, no public endpoint"
    assert steps["outside"] == ["refused: chart", f"refused: chart --cidr {HERE}", shut]
    assert steps["chart"][1] == steps["remove-chart"][1] == shut
    assert steps["remove-chart"][0].endswith("release ringfence removed from the cluster")
    assert installed.sandbox.answers()
