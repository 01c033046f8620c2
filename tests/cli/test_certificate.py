"""`ringfence certificate verify` without any server: what holds and what does not."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.dsse import countersign, seal
from proof.keys import encode_public, fingerprint
from tests.cli.conftest import Cli
from wire.agent import DeniedAttempt
from wire.certificate import (
    CERTIFICATE_TYPE,
    AccessEnd,
    CertificateFile,
    InstallCertificate,
    ResidueItem,
    StepTime,
    WayInSeen,
)

START = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
ROLE = "arn:aws:iam::111122223333:role/ringfence-payments-g1"


def certificate() -> InstallCertificate:
    """Return what a control plane would certify of a small install."""
    end = START + timedelta(minutes=2)
    denied = DeniedAttempt(
        action="sts:AssumeRole", succeeded_before=True, attempts=1, denied_at=end,
        error_code="AccessDenied",
    )  # fmt: skip
    return InstallCertificate(
        operation="provision",
        id=uuid4(), organization="acme", organization_id=uuid4(), boundary="payments",
        boundary_id=uuid4(), install_id=uuid4(), run_id=uuid4(), blueprint="eks-model-stack",
        blueprint_version="0.1.0", blueprint_digest="sha256:" + "a" * 64, outcome="succeeded",
        plan_digest="sha256:" + "b" * 64, artifact_digests={}, image_digests={}, started_at=START,
        finished_at=end, time_scale=0.01, emulated=True, critical_path=("plan",),
        steps=(StepTime(key="plan", state="succeeded", seconds=7, budget_seconds=120,
                        on_critical_path=True),),
        permissions_granted=137, permissions_used=None, smoke=(),
        residue=(ResidueItem(kind="role", name="r", expected=True, reason="part of the stack"),),
        access=AccessEnd(role_arn=ROLE, grant_number=1, grant_until=end, closed_by="agent",
                         way_in_closed_at=end, power_removed_at=end, role_deleted_at=end,
                         proofs=(denied,),
                         way_in=WayInSeen(way="in-vpc-runner", access_entries=0, endpoint_changes=0,
                                          public_endpoint=False, running_tasks=0,
                                          objects_deleted=9)),
        pins={}, issued_at=end,
    )  # fmt: skip


@dataclass
class Issued:
    """A certificate's file and the keys behind it."""

    path: Path
    control_plane: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)
    agent: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def pin(self) -> str:
        return fingerprint(self.control_plane)

    def write(self, *, countersigned: bool = True, document: Any = None) -> None:
        """Write the file as the API hands it out."""
        said = document or certificate().to_wire()
        envelope = seal(self.control_plane, CERTIFICATE_TYPE, said)
        signers = [self.control_plane]
        if countersigned:
            envelope = countersign(envelope, self.agent)
            signers.append(self.agent)
        keys = {fingerprint(key): encode_public(key) for key in signers}
        self.path.write_text(json.dumps(CertificateFile(envelope=envelope, keys=keys).to_wire()))

    def edit(self, change: Any) -> None:
        """Change the signed document in the file without signing it again."""
        document = json.loads(self.path.read_text())
        payload = json.loads(base64.b64decode(document["envelope"]["payload"]))
        change(payload)
        text = json.dumps(payload, sort_keys=True, separators=(",", ":"))
        document["envelope"]["payload"] = base64.b64encode(text.encode()).decode()
        self.path.write_text(json.dumps(document))


@pytest.fixture
def issued(tmp_path: Path) -> Issued:
    """A countersigned certificate in a file."""
    made = Issued(tmp_path / "certificate.json")
    made.write()
    return made


def key_file(folder: Path, key: Ed25519PrivateKey) -> str:
    """Write a public key as the customer's bucket has it."""
    path = folder / "agent.pub"
    path.write_text(encode_public(key) + "\n")
    return str(path)


def test_a_valid_certificate_is_verified_without_any_server(
    offline: Cli, issued: Issued, tmp_path: Path
) -> None:
    agent_key = key_file(tmp_path, issued.agent)
    ran = offline(
        "certificate", "verify", str(issued.path), "--pin", issued.pin, "--agent-key", agent_key
    )
    assert (ran.code, ran.err) == (0, "")
    assert f"valid: signed by the pinned key {issued.pin}" in ran.out
    assert f"agent {fingerprint(issued.agent)} (matches your bucket)" in ran.out
    assert "acme/payments (rehearsal: the account is emulated)" in ran.out
    assert "role deleted 2026-11-22 15:02:00 UTC, 1 denied attempts as proof" in ran.out
    assert "endpoint private, never public, 0 runner tasks left" in ran.out


@pytest.mark.parametrize("version", [1, 2])
def test_a_certificate_of_an_earlier_version_is_still_valid(
    offline: Cli, issued: Issued, version: int
) -> None:
    document = certificate().to_wire() | {"version": version}
    del document["access"]["way_in"]
    if version == 1:
        del document["operation"]
    issued.write(document=document)
    ran = offline("certificate", "verify", str(issued.path), "--pin", issued.pin, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert json.loads(ran.out)["certificate"]["operation"] == "provision"
    document["version"] = 4
    issued.write(document=document)
    ran = offline("certificate", "verify", str(issued.path), "--pin", issued.pin)
    assert ran.code != 0
    assert "this side speaks 1 to 3" in ran.err


def test_the_verdict_as_json_is_one_document(offline: Cli, issued: Issued) -> None:
    ran = offline("certificate", "verify", str(issued.path), "--pin", issued.pin, "--json")
    verdict = json.loads(ran.out)
    assert verdict["valid"] is True
    assert verdict["agent_key"] == fingerprint(issued.agent)
    assert verdict["agent_key_checked"] is False
    assert verdict["certificate"]["boundary"] == "payments"


def test_a_wrong_pin_is_not_valid(offline: Cli, issued: Issued) -> None:
    other = fingerprint(Ed25519PrivateKey.generate())
    ran = offline("certificate", "verify", str(issued.path), "--pin", other)
    assert (ran.code, ran.out) == (1, "")
    assert f"NOT valid: it is not signed by the pinned key {other}" in ran.err


def test_an_edited_payload_is_not_valid(offline: Cli, issued: Issued) -> None:
    issued.edit(lambda payload: payload["access"].update(closed_by="customer"))
    ran = offline("certificate", "verify", str(issued.path), "--pin", issued.pin)
    assert (ran.code, ran.out) == (1, "")
    assert "NOT valid: the signature by the control plane key is wrong" in ran.err


def test_a_missing_countersignature_is_said(offline: Cli, issued: Issued) -> None:
    issued.write(countersigned=False)
    ran = offline("certificate", "verify", str(issued.path), "--pin", issued.pin)
    assert ran.code == 0
    assert "countersigned: no" in ran.out


def test_a_missing_countersignature_fails_when_the_agent_key_is_given(
    offline: Cli, issued: Issued, tmp_path: Path
) -> None:
    issued.write(countersigned=False)
    agent_key = key_file(tmp_path, issued.agent)
    ran = offline(
        "certificate", "verify", str(issued.path), "--pin", issued.pin, "--agent-key", agent_key
    )
    assert (ran.code, ran.out) == (1, "")
    assert "no signature by the agent key" in ran.err


def test_a_foreign_agent_key_is_not_valid(offline: Cli, issued: Issued, tmp_path: Path) -> None:
    foreign = key_file(tmp_path, Ed25519PrivateKey.generate())
    ran = offline(
        "certificate", "verify", str(issued.path), "--pin", issued.pin, "--agent-key", foreign
    )
    assert (ran.code, ran.out) == (1, "")
    assert "NOT valid: no signature by the agent key" in ran.err


def test_a_file_that_is_no_agent_key_is_named(offline: Cli, issued: Issued, tmp_path: Path) -> None:
    bad = tmp_path / "bad.pub"
    bad.write_text("not a key")
    ran = offline(
        "certificate", "verify", str(issued.path), "--pin", issued.pin, "--agent-key", str(bad)
    )
    assert (ran.code, ran.out) == (2, "")
    assert f"--agent-key: {bad}" in ran.err


@pytest.mark.parametrize("content", ["", "{}", "[]", "3", '{"schema": "other", "version": 1}'])
def test_what_is_no_certificate_is_refused(offline: Cli, tmp_path: Path, content: str) -> None:
    file = tmp_path / "certificate.json"
    file.write_text(content)
    ran = offline("certificate", "verify", str(file), "--pin", "SHA256:x")
    assert (ran.code, ran.out) == (2, "")
    assert f"{file}: not a certificate" in ran.err
