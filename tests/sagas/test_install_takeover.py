"""Making a take-over kit from the rows of an install: reproducible, and with no secret of ours."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from controlplane.adapters.pulumi.secrets import (
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    Crypter,
    WrongPassphraseError,
)
from controlplane.core.run_engine import create_run
from controlplane.sagas import install_takeover
from controlplane.sagas.provisioning.ports import Ports
from proof.sealing import encode_public, unseal
from proof.takeover import unpack, verify_folder
from tests.architecture.sources import ROOT
from tests.sagas.stage import Stage
from wire.takeover import SealedSecret

OURS = "ours-canary-of-the-control-plane"
PLAIN = "canary-of-a-secret-in-state"
EXTERNAL_ID = "SELECT external_id FROM cloud_connection"


class States:
    """The engine's state as a stack's row holds it."""

    def __init__(self) -> None:
        crypter = Crypter(OURS.encode(), b"12345678")
        secret = {
            SIGNATURE_KEY: SECRET_SIGNATURE,
            "ciphertext": crypter.encrypt(PLAIN.encode(), ""),
        }
        self.deployment: dict[str, Any] = {
            "secrets_providers": {"type": "passphrase", "state": {"salt": crypter.salt_text()}},
            "resources": [
                {"urn": "urn:stack", "type": "pulumi:pulumi:Stack"},
                {"urn": "urn:vpc", "type": "aws:ec2/vpc:Vpc", "outputs": {"password": secret}},
            ],
        }

    def read_stack(self, *place: Any) -> tuple[dict[str, Any], datetime]:
        return self.deployment, datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def states() -> States:
    return States()


@pytest.fixture
def ports(stage: Stage, states: States, tmp_path: Path) -> Ports:
    passphrase = tmp_path / "state-passphrase"
    passphrase.write_text(OURS + "\n")
    settings = dataclasses.replace(
        stage.ports.settings,
        blueprints_root=ROOT,
        charts=ROOT / "charts",
        state_passphrase_file=passphrase,
    )
    return dataclasses.replace(stage.ports, settings=settings, state=states)  # type: ignore[arg-type]  # only what is read


def take(stage: Stage, ports: Ports, key: X25519PrivateKey) -> tuple[str, dict[str, Any]]:
    """Make a kit; return the run's state and what its step gave, or the error's code."""
    tenant = stage.bench.tenant
    recipient = {"public": encode_public(key), "salt": None}
    with stage.bench.api.transaction(tenant.scope) as session:
        run = create_run(
            session,
            tenant.requester,
            organization_id=tenant.organization_id,
            boundary_id=tenant.boundary_id,
            install_id=tenant.install_id,
            kind=install_takeover.DEFINITION.kind,
            lane="read",
            params={"recipient": recipient},
        )
    state = stage.bench.execute(run, install_takeover.DEFINITION, ports)
    steps = stage.bench.steps(run)
    return state, dict((steps["kit"]["output"] if steps else None) or {}) | _error(stage, run)


def _error(stage: Stage, run: UUID) -> dict[str, Any]:
    steps = stage.bench.steps(run)
    return {"error": (steps["kit"] if steps else stage.bench.run(run))["error_code"]}


def files(archive: str) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(archive)), mode="r:gz") as tar:
        return {e.name: f.read() for e in tar if (f := tar.extractfile(e)) is not None}


def test_an_install_gives_the_same_kit_twice_and_the_customer_can_use_it(
    stage: Stage,
    ports: Ports,
    tmp_path: Path,
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    key = X25519PrivateKey.generate()
    (first, made), (second, again) = take(stage, ports, key), take(stage, ports, key)
    assert (first, second) == ("succeeded", "succeeded"), made
    assert made["digest"] == again["digest"]
    unpack(base64.b64decode(made["archive"]), tmp_path / "kit")
    verdict = verify_folder(tmp_path / "kit", ports.signer.fingerprint)
    assert verdict.manifest.has_certificate
    assert verdict.manifest.bundle_sequence == 1
    sealed = (tmp_path / "kit/state/passphrase.sealed.json").read_text()
    passphrase = unseal(SealedSecret.model_validate(json.loads(sealed)), key)
    state = json.loads((tmp_path / "kit/state/foundation.json").read_text())["deployment"]
    theirs = Crypter.of_state(passphrase, state["secrets_providers"]["state"]["salt"])
    cipher = state["resources"][1]["outputs"]["password"]["ciphertext"]
    assert theirs.decrypt(cipher) == PLAIN.encode()
    with pytest.raises(WrongPassphraseError):
        Crypter.of_state(OURS.encode(), state["secrets_providers"]["state"]["salt"])


def test_no_planted_secret_is_in_a_kit_nor_in_what_people_see_of_its_run(
    stage: Stage,
    ports: Ports,
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    state, made = take(stage, ports, X25519PrivateKey.generate())
    assert state == "succeeded", made
    (external,) = stage.bench.rows(EXTERNAL_ID)
    found = files(made["archive"])
    assert len(found) > 20
    for canary in (OURS, PLAIN, str(external["external_id"])):
        assert [name for name, data in found.items() if canary.encode() in data] == []
    events = json.dumps(stage.bench.rows("SELECT detail FROM run_event"))
    assert OURS not in events
    assert made["archive"] not in events


def test_a_kit_is_refused_when_a_secret_would_be_in_it(
    stage: Stage,
    ports: Ports,
    states: States,
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    (external,) = stage.bench.rows(EXTERNAL_ID)
    states.deployment["resources"][1]["outputs"]["leak"] = external["external_id"]
    state, made = take(stage, ports, X25519PrivateKey.generate())
    assert state != "succeeded"
    assert "archive" not in made


def test_a_state_with_an_operation_that_never_ended_is_not_handed_over(
    stage: Stage,
    ports: Ports,
    states: States,
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    states.deployment["pending_operations"] = [{"type": "creating"}]
    state, made = take(stage, ports, X25519PrivateKey.generate())
    assert (state, made["error"]) == ("failed", "pending-operations")


def test_other_programs_than_the_installed_ones_are_not_handed_over(
    stage: Stage,
    ports: Ports,
    tmp_path: Path,
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    folder = tmp_path / "newer/blueprints/eks_model_stack"
    folder.mkdir(parents=True)
    (folder / "program.py").write_text("# a later release\n")
    settings = dataclasses.replace(ports.settings, blueprints_root=tmp_path / "newer")
    newer = dataclasses.replace(ports, settings=settings)
    state, made = take(stage, newer, X25519PrivateKey.generate())
    assert (state, made["error"]) == ("failed", "program-changed")


def test_nothing_is_handed_over_before_anything_stands(stage: Stage, ports: Ports) -> None:
    state, made = take(stage, ports, X25519PrivateKey.generate())
    assert (state, made["error"]) == ("failed", "not-installed")
