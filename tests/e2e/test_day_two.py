"""The life of an install after its first day: drift, its repair, an update, and the removal.

One boundary in a sandbox of its own, by the commands that people use; between the runs only the
customer touches the account.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.home import Home
from tests.sandbox.one_install import (
    BOUNDARY,
    Sandbox,
    begin_install,
    open_grant,
    run_ended,
    wait_for,
)

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]
SAM, ANA = ("--as", "sam@acme.test"), ("--as", "ana@acme.test")
GROUP = f"ringfence-{BOUNDARY}-cpu"


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    root = Path(tempfile.mkdtemp(prefix="rf-d2-"))
    sandbox = Sandbox(Home(root / "home"))
    try:
        sandbox.run("up", "--time-scale", "0.002")
        yield sandbox
    finally:
        sandbox.close()
        shutil.rmtree(root, ignore_errors=True)


def planned(sandbox: Sandbox, *words: str) -> tuple[str, dict[str, Any]]:
    """Run a command that prints a plan; return the run and the plan."""
    printed = sandbox.run("install", *words, "--json", *SAM)
    document = json.loads(printed[printed.index("{\n") : printed.rindex("\n}") + 2])
    return document["run_id"], document


def applied(sandbox: Sandbox, run: str, plan: dict[str, Any]) -> dict[str, Any]:
    sandbox.run("install", "apply", run, "--digest", plan["digest"], *ANA)
    done = run_ended(sandbox, run)
    assert done["state"] == "succeeded", done
    return done


def drift(sandbox: Sandbox, install: str) -> dict[str, Any]:
    shown: dict[str, Any] = sandbox.api("ana@acme.test").get(f"/v1/installs/{install}/drift")
    return shown


def change_behind_our_back(sandbox: Sandbox) -> str:
    """Let the customer add a tag to the VPC and delete its private endpoint."""
    ec2 = sandbox.customer().client("ec2")
    (vpc,) = sandbox.vpcs()
    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "owner", "Value": "theirs"}])
    endpoints = ec2.describe_vpc_endpoints(Filters=[{"Name": "vpc-id", "Values": [vpc]}])
    (endpoint,) = endpoints["VpcEndpoints"]
    ec2.delete_vpc_endpoints(VpcEndpointIds=[endpoint["VpcEndpointId"]])
    return vpc


def end_role(sandbox: Sandbox) -> None:
    """Let the customer delete the role of the newest grant once our power is gone."""
    iam = sandbox.customer().client("iam")
    roles = [r["RoleName"] for r in iam.list_roles()["Roles"]]
    (name,) = [r for r in roles if r.startswith(f"ringfence-{BOUNDARY}-g")]

    def attached() -> list[str]:
        policies = iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"]
        return [p["PolicyArn"] for p in policies]

    wait_for(lambda: any(a.endswith("/AWSDenyAll") for a in attached()), 120, "our power is gone")
    for arn in attached():
        iam.detach_role_policy(RoleName=name, PolicyArn=arn)
    for inline in iam.list_role_policies(RoleName=name)["PolicyNames"]:
        iam.delete_role_policy(RoleName=name, PolicyName=inline)
    iam.delete_role(RoleName=name)


def test_drift_is_found_and_set_right_then_nodes_are_added_and_all_is_removed(
    sandbox: Sandbox, tmp_path: Path
) -> None:
    done = run_ended(sandbox, begin_install(sandbox))
    assert done["state"] == "succeeded", done
    install = done["install_id"]

    vpc = change_behind_our_back(sandbox)
    grant = open_grant(sandbox, "look for drift")
    scan = sandbox.run(
        "install", "drift", "scan", install, "--grant", grant, "--keep-open", "--json", *SAM
    )
    assert run_ended(sandbox, json.loads(scan)["run_id"])["state"] == "succeeded"
    found = drift(sandbox, install)
    assert {(f["name"], f["change"]) for f in found["findings"]} == {
        ("vpc", "changed"),
        ("s3", "deleted"),
    }

    run, plan = planned(sandbox, "drift", "remediate", install, "--grant", grant)
    assert plan["view"]["operations"] == {"update": 1, "create": 1, "same": 33}
    repaired = applied(sandbox, run, plan)
    states = {step["key"]: step["state"] for step in repaired["steps"]}
    assert (states["stack"], states["reach_close"]) == ("skipped", "skipped")
    found = drift(sandbox, install)
    assert found["findings"] == []
    assert {(f["name"], f["remediated_by"]) for f in found["ended"]} == {("vpc", run), ("s3", run)}
    ec2 = sandbox.customer().client("ec2")
    (now,) = ec2.describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert "theirs" not in {tag["Value"] for tag in now["Tags"]}

    run, plan = planned(
        sandbox, "update", install, "--grant", open_grant(sandbox, "update"), "--set",
        "node_count=3",
    )  # fmt: skip
    assert plan["view"]["update"]["inputs"] == [{"name": "node_count", "old": None, "new": 3}]
    (changed,) = [r for r in plan["view"]["resources"] if r["operation"] != "same"]
    assert (changed["name"], changed["operation"]) == ("nodes", "update")
    applied(sandbox, run, plan)
    eks = sandbox.customer().client("eks")
    group = eks.describe_nodegroup(clusterName=f"ringfence-{BOUNDARY}", nodegroupName=GROUP)
    assert group["nodegroup"]["scalingConfig"]["desiredSize"] == 3
    assert sandbox.answers()

    pin = sandbox.customer().pinned_key(BOUNDARY)
    grant = open_grant(sandbox, "removal")
    architect = sandbox.api("sam@acme.test")
    asked = architect.post(
        f"/v1/installs/{install}/removal", {"grant_id": grant, "reason": "the pilot is over"}
    )["run_id"]
    wait_for(
        lambda: architect.get(f"/v1/runs/{asked}")["state"] == "awaiting-approval", 120, "the list"
    )
    digest = architect.get(f"/v1/runs/{asked}/plan")["digest"]
    sandbox.run("run", "approve", asked, "--digest", digest, *ANA)
    end_role(sandbox)
    assert run_ended(sandbox, asked)["state"] == "succeeded"
    file = tmp_path / "removal.json"
    sandbox.run("certificate", "fetch", install, str(file), *ANA)
    verdict = sandbox.run("certificate", "verify", str(file), "--pin", pin)
    assert "outcome: removed" in verdict
    assert sandbox.vpcs() == []
