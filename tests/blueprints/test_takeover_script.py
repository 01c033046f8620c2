"""The kit's own script on the real engine: it takes up a moved state, changes and deletes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from controlplane.adapters.pulumi.secrets import reencrypt
from tests.blueprints.engine import INPUTS, PROGRAM, ROOT, Engine

# In one process: what they look at takes ten seconds to make.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("takeover-script")]
OURS, THEIRS = b"only for this test", b"the customer's own passphrase"


@pytest.fixture(scope="module")
def kit(engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the foundation with the engine's passphrase, and lay a kit of it out."""
    _, exported = engine.succeed("foundation", "up", "export")
    folder = tmp_path_factory.mktemp("kit")
    for name in ("takeover.py", "way_in.py", "guest_place.py"):
        shutil.copy(ROOT / "blueprints/takeover" / name, folder / name)
    programs = folder / "programs/blueprints"
    source, bytecode = ROOT / "blueprints/eks_model_stack", shutil.ignore_patterns("__pycache__")
    shutil.copytree(source, programs / "eks_model_stack", ignore=bytecode)
    (programs / "__init__.py").touch()
    (folder / "state").mkdir()
    moved = reencrypt(exported["deployment"], OURS, THEIRS, b"8 bytes!")
    stack = "payments-foundation"
    state = {"version": 3, "deployment": moved}
    (folder / f"state/{stack}.json").write_text(json.dumps(state))
    schema: dict[str, dict[str, Any]] = {
        "properties": {name: {} for name in (*INPUTS, "cluster", "host")}
    }
    (folder / "inputs.json").write_text(json.dumps(INPUTS))
    (folder / "inputs.schema.json").write_text(json.dumps(schema))
    project = moved["resources"][0]["urn"].split("::")[1]
    facts = {
        "boundary": INPUTS["boundary"],
        "project": project,
        "account": INPUTS["account"],
        "region": INPUTS["region"],
        "cluster": "ringfence-payments",
        "namespace": "boundary-payments",
        "system_namespace": "ringfence-system",
        "host": None,
        "stacks": [{"name": stack, "entry": f"{PROGRAM}:foundation"}],
    }
    (folder / "kit.json").write_text(json.dumps(facts))
    (folder / "work").mkdir()
    (folder / "work/passphrase").write_bytes(THEIRS)
    return folder


def run(engine: Engine, kit: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the script as a customer would: nothing of the project is on its path."""
    return subprocess.run(
        [sys.executable, "-P", str(kit / "takeover.py"), *arguments],
        cwd=kit,
        env={
            "PATH": f"{engine.pulumi.parent}:{os.environ['PATH']}",
            "HOME": str(kit / "work"),
            "PULUMI_HOME": str(engine.home),
            "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
            "PYTHONPATH": str(kit),
            "AWS_ENDPOINT_URL": engine.endpoint,
            **engine.credentials,
        },
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_kits_state_and_programs_describe_what_is_there(engine: Engine, kit: Path) -> None:
    done = run(engine, kit, "preview")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("preview  payments-foundation: ")
    assert done.stdout.strip().endswith(" same")
    assert "," not in done.stdout


def test_a_passphrase_of_ours_opens_nothing_of_it(engine: Engine, kit: Path) -> None:
    wrong = kit / "work/ours"
    wrong.write_bytes(OURS)
    done = run(engine, kit, "preview", "--passphrase-file", str(wrong))
    assert done.returncode == 1
    assert "incorrect passphrase" in done.stderr


def test_credentials_of_another_account_are_refused_before_anything_else(
    engine: Engine, kit: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(kit, tmp_path / "kit")
    facts = json.loads((folder / "kit.json").read_text())
    (folder / "kit.json").write_text(json.dumps({**facts, "account": "444455556666"}))
    for action in ("preview", "update", "remove-chart", "delete"):
        done = run(engine, folder, action, "--set", "install_id=ins_9")
        assert done.returncode == 1
        found = f"these credentials are of account {facts['account']}"
        assert f"{found}; the install is in 444455556666" in done.stderr
    assert not (folder / "work/changes.json").exists()


def test_what_the_script_writes_is_below_work(engine: Engine, kit: Path) -> None:
    before = {path for path in kit.rglob("*") if "work" not in path.parts}
    assert run(engine, kit, "preview").returncode == 0
    assert {path for path in kit.rglob("*") if "work" not in path.parts} == before
    assert not [path for path in before if path.name == "__pycache__"]


def test_an_unknown_input_is_refused_by_name(engine: Engine, kit: Path) -> None:
    done = run(engine, kit, "update", "--set", "nodes=3")
    assert done.returncode == 1
    assert "--set nodes=3: write NAME=VALUE" in done.stderr


@pytest.mark.parametrize("setting", ["cluster=existing", "host=research"])
def test_in_whose_cluster_a_boundary_lives_is_not_changed(
    engine: Engine, kit: Path, setting: str
) -> None:
    done = run(engine, kit, "update", "--set", setting)
    assert done.returncode == 1
    assert f"--set {setting}: in whose cluster a boundary lives is fixed" in done.stderr
    assert not (kit / "work/changes.json").exists()


@pytest.fixture
def guests_kit(kit: Path, tmp_path: Path) -> Path:
    """The kit as if its stack were of a guest in the cluster of `research`."""
    folder = shutil.copytree(kit, tmp_path / "kit")
    facts = json.loads((folder / "kit.json").read_text())
    facts["host"] = {
        "boundary": "research",
        "group": "ringfence-guest-payments",
        "namespaces": ["boundary-payments", "ringfence-system-payments"],
    }
    (folder / "kit.json").write_text(json.dumps({**facts, "cluster": "ringfence-research"}))
    return folder


def test_a_guests_script_does_not_open_its_hosts_endpoint(engine: Engine, guests_kit: Path) -> None:
    done = run(engine, guests_kit, "chart", "--cidr", "10.0.0.1/32")
    assert done.returncode == 1
    assert "the endpoint of ringfence-research is for research to open" in done.stderr


def test_a_guests_script_says_what_to_do_when_its_hosts_cluster_is_gone(
    engine: Engine, guests_kit: Path
) -> None:
    done = run(engine, guests_kit, "delete")
    assert done.returncode == 1
    assert (
        "the cluster ringfence-research is gone: delete the rest with --skip-chart" in done.stderr
    )


def test_an_input_is_changed_and_then_everything_is_deleted(engine: Engine, kit: Path) -> None:
    changed = run(engine, kit, "update", "--set", "install_id=ins_8")
    assert changed.returncode == 0, changed.stderr
    assert " update" in changed.stdout
    vpcs = engine.client("ec2").describe_vpcs(
        Filters=[{"Name": "tag:ringfence:install", "Values": ["ins_8"]}]
    )["Vpcs"]
    assert len(vpcs) == 1
    deleted = run(engine, kit, "delete", "--skip-chart")
    assert deleted.returncode == 0, deleted.stderr
    left = engine.client("ec2").describe_vpcs(
        Filters=[{"Name": "tag:ringfence:install", "Values": ["ins_8"]}]
    )["Vpcs"]
    assert left == []
