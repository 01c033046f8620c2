"""The life of an install after its first day: a take-over, drift, its repair, update, removal.

One boundary in a sandbox of its own, by the commands that people use; between the runs only the
customer touches the account. First the take-over kit is fetched; it updates and deletes a copy, in
a network where no control plane exists, which leaves the install as it was for what comes after.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from proof.takeover import KitError, verify_folder
from sandbox.home import Home
from tests.e2e.secrets import known_secrets
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


@dataclass(frozen=True)
class Installed:
    """A sandbox with one install, and where a test may keep files."""

    sandbox: Sandbox
    install: str
    root: Path


@pytest.fixture(scope="module")
def installed() -> Iterator[Installed]:
    root = Path(tempfile.mkdtemp(prefix="rf-d2-"))
    sandbox = Sandbox(Home(root / "home"))
    try:
        sandbox.run("up", "--time-scale", "0.002")
        done = run_ended(sandbox, begin_install(sandbox), 300)
        assert done["state"] == "succeeded", done
        yield Installed(sandbox, done["install_id"], root)
    finally:
        sandbox.close()
        shutil.rmtree(root, ignore_errors=True)


# ---- The customer goes on alone -----------------------------------------------------------------


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal left: its result, and a kit that was fetched beside it."""

    sandbox: Sandbox
    kit: Path
    pin: str
    result: dict[str, Any]
    vpcs_before: list[str]


@pytest.fixture(scope="module")
def rehearsed(installed: Installed) -> Rehearsed:
    sandbox, install = installed.sandbox, installed.install
    before = sandbox.vpcs()
    printed = sandbox.run("rehearse", "takeover", install, "--json", seconds=450)
    result = json.loads(printed[: printed.rindex("}") + 1])
    kit, passphrase = installed.root / "kit", installed.root / "passphrase"
    passphrase.write_text("a passphrase of the customer\n")
    passphrase.chmod(0o600)
    sandbox.run(
        *("install", "takeover", install, "--to", str(kit), "--as", "max@acme.test"),
        *("--passphrase-file", str(passphrase)),
    )
    return Rehearsed(sandbox, kit, sandbox.customer().pinned_key(BOUNDARY), result, before)


def test_the_kit_alone_updates_and_deletes_a_copy(rehearsed: Rehearsed) -> None:
    print(json.dumps(rehearsed.result, indent=2))
    assert rehearsed.result["rehearsal"] is True
    steps = [step["step"] for step in rehearsed.result["steps"]]
    assert steps == ["alone", "status", "preview", "update", "chart", "delete", "account"]
    shown = {step["step"]: step["shown"] for step in rehearsed.result["steps"]}
    # By its own way in, from its own address: the door was opened, used, and shut again.
    assert shown["chart"][0].endswith("release ringfence applied")
    assert shown["chart"][1].startswith("shut again: ")
    assert shown["delete"][0].endswith("release ringfence removed from the cluster")


def test_the_install_itself_is_left_alone(rehearsed: Rehearsed) -> None:
    assert rehearsed.sandbox.vpcs() == rehearsed.vpcs_before != []
    assert rehearsed.sandbox.answers()


def test_a_kit_holds_no_secret_of_the_control_plane(rehearsed: Rehearsed) -> None:
    secrets = known_secrets(rehearsed.sandbox.home.root)
    connection = rehearsed.sandbox.api("sam@acme.test").get(f"/v1/boundaries/{BOUNDARY}/connection")
    template = rehearsed.sandbox.api("sam@acme.test").get(
        f"/v1/connections/{connection['id']}/template"
    )
    secrets["External ID"] = template["parameters"]["ExternalId"]
    assert len(secrets["External ID"]) >= 16
    assert len(secrets) >= 15
    files = [path for path in rehearsed.kit.rglob("*") if path.is_file()]
    found = [
        f"{name} in {path.name}"
        for path in files
        for name, secret in secrets.items()
        if secret in path.read_text()
    ]
    assert found == []
    assert len(files) > 20


def test_the_kit_is_verified_against_the_customers_pin_and_unlocked_by_the_passphrase(
    rehearsed: Rehearsed,
) -> None:
    verdict = verify_folder(rehearsed.kit, rehearsed.pin)
    assert verdict.manifest.has_certificate
    assert verdict.manifest.bundle_sequence is not None
    assert [stack.name for stack in verdict.manifest.stacks] == ["foundation", "cluster"]
    passphrase = rehearsed.kit.parent / "passphrase"
    rehearsed.sandbox.run(
        "takeover", "unlock", str(rehearsed.kit), "--passphrase-file", str(passphrase)
    )
    assert (rehearsed.kit / "work/passphrase").stat().st_mode & 0o777 == 0o600
    (rehearsed.kit / "inputs.json").write_text("{}")
    with pytest.raises(KitError, match=r"inputs\.json was changed"):
        verify_folder(rehearsed.kit, rehearsed.pin)


# ---- Drift, update, removal: the last, since nothing stands after it ---------------------------


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
    installed: Installed, tmp_path: Path
) -> None:
    sandbox, install = installed.sandbox, installed.install
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
