"""A customer goes on without us: the kit is fetched, and updates and deletes a copy of the install.

One boundary is installed in a sandbox of its own; the kit's own script then works in a network
where no control plane exists.
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
from tests.sandbox.one_install import BOUNDARY, Sandbox, begin_install, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Rehearsed:
    """What a rehearsal left: its result, and a kit that was fetched beside it."""

    sandbox: Sandbox
    kit: Path
    pin: str
    result: dict[str, Any]
    vpcs_before: list[str]


@pytest.fixture(scope="module")
def rehearsed() -> Iterator[Rehearsed]:
    root = Path(tempfile.mkdtemp(prefix="rf-tk-"))
    sandbox = Sandbox(Home(root / "home"))
    try:
        sandbox.run("up", "--time-scale", "0.002")
        run = begin_install(sandbox)
        architect = sandbox.api("sam@acme.test")

        def ended() -> dict[str, Any] | None:
            found: dict[str, Any] = architect.get(f"/v1/runs/{run}")
            return found if found["finished_at"] else None

        done = wait_for(ended, 300, "the end of the install")
        assert done["state"] == "succeeded", done
        install = done["install_id"]
        before = sandbox.vpcs()
        printed = sandbox.run("rehearse", "takeover", install, "--json", seconds=300)
        result = json.loads(printed[: printed.rindex("}") + 1])
        kit = root / "kit"
        passphrase = root / "passphrase"
        passphrase.write_text("a passphrase of the customer\n")
        passphrase.chmod(0o600)
        sandbox.run(
            *("install", "takeover", install, "--to", str(kit), "--as", "max@acme.test"),
            *("--passphrase-file", str(passphrase)),
        )
        pin = sandbox.customer().pinned_key(BOUNDARY)
        yield Rehearsed(sandbox, kit, pin, result, before)
    finally:
        sandbox.close()
        shutil.rmtree(root, ignore_errors=True)


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
