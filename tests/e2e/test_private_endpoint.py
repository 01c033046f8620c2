"""An install where no endpoint may be public: the whole way, by the runner inside the network.

One boundary in a sandbox of its own, with the account's rules on: from outside nothing connects.
"""

from __future__ import annotations

import base64
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox.home import Home
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
        run = begin_install(sandbox, reach="in-vpc-runner")
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


def test_its_customer_goes_on_alone_from_inside_and_never_opens_the_endpoint(
    installed: Installed,
) -> None:
    install = installed.run["install_id"]
    printed = installed.sandbox.run("rehearse", "takeover", install, "--json", seconds=300)
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
