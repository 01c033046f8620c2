"""Our signature and the customer's, from the real countersigner in a process of its own."""

from __future__ import annotations

import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pytest

from controlplane.adapters.handover import write_private
from controlplane.adapters.signing.control_plane_key import ControlPlaneKey
from controlplane.adapters.signing.countersigner import HttpCountersigner, RefusedError
from controlplane.core.errors import InternalError, UnavailableError
from proof.dsse import open_envelope
from proof.keys import create_private_key, decode_public
from sandbox.home import free_port
from tests.integration.adapters.support import until
from wire.bundle import BUNDLE_TYPE, VERB_TYPE, Bundle, CloseVerb, DesiredResource, Verb

ROOT = Path(__file__).resolve().parents[3]
POLICY = """{"control_plane_public_key": "%s",
  "boundaries": {"payments": {"artifacts": ["sha256:%s"], "images": []}}}"""


@dataclass
class Signers:
    """The vendor's key, the customer's process and what is needed to call it."""

    folder: Path
    url: str
    plane: ControlPlaneKey

    def countersigner(self, token: str = "token") -> HttpCountersigner:
        customer = create_or_load(self.folder / "customer.pem")
        return HttpCountersigner(self.url, self.folder / token, decode_public(customer.public))


def create_or_load(path: Path) -> ControlPlaneKey:
    if not path.exists():
        create_private_key(path)
    return ControlPlaneKey(path)


@pytest.fixture
def signers(tmp_path: Path) -> Iterator[Signers]:
    """A countersigner that allows one artifact for `payments`."""
    plane, port = create_or_load(tmp_path / "plane.pem"), free_port()
    create_or_load(tmp_path / "customer.pem")
    write_private(tmp_path / "token", "the-right-token")
    write_private(tmp_path / "other-token", "another-token")
    (tmp_path / "policy.json").write_text(POLICY % (plane.public, "a" * 64))
    names = {"key": "customer.pem", "token": "token", "policy": "policy.json", "log": "log.jsonl"}
    files = ", ".join(f'"{key}_file": "{tmp_path / name}"' for key, name in names.items())
    (tmp_path / "config.json").write_text(f'{{"port": {port}, {files}}}')
    process = subprocess.Popen(
        [sys.executable, "-m", "countersigner", "--config", str(tmp_path / "config.json")],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
    )
    url = f"http://127.0.0.1:{port}"
    until(lambda: answers(url), seconds=30, what="the countersigner")
    yield Signers(tmp_path, url, plane)
    process.terminate()
    process.wait(timeout=10)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/healthz", timeout=1):
            return True
    except OSError:
        return False


def bundle(digest: str) -> Bundle:
    source = {"s3": {"bucket": "weights", "key": "a", "region": "eu-central-1"}}
    spec = {"kind": "Base", "source": source, "digest": f"sha256:{digest * 64}", "size": 10}
    return Bundle(
        organization_id=uuid4(),
        boundary_id=uuid4(),
        boundary_name="payments",
        sequence=1,
        issued_at=datetime(2026, 11, 22, tzinfo=UTC),
        resources=(DesiredResource(kind="ModelArtifact", name="tiny-coder", spec=spec),),
    )


def test_a_bundle_comes_back_with_both_signatures(signers: Signers) -> None:
    signed = signers.countersigner().countersign(signers.plane.sign(bundle("a")))
    customer = create_or_load(signers.folder / "customer.pem")
    required = {
        "control plane": decode_public(signers.plane.public),
        "customer": decode_public(customer.public),
    }
    assert open_envelope(signed, BUNDLE_TYPE, required)["boundary_name"] == "payments"


def test_a_refusal_carries_the_customers_reason(signers: Signers) -> None:
    with pytest.raises(RefusedError, match="countersigner refused") as caught:
        signers.countersigner().countersign(signers.plane.sign(bundle("b")))
    assert caught.value.refusal.code == "artifact-not-allowed"


def test_a_wrong_token_or_a_dead_countersigner_is_not_a_refusal(signers: Signers) -> None:
    envelope = signers.plane.sign(bundle("a"))
    with pytest.raises(UnavailableError, match="status 401") as caught:
        signers.countersigner("other-token").countersign(envelope)
    assert "another-token" not in str(caught.value.body())
    dead = HttpCountersigner(f"http://127.0.0.1:{free_port()}", signers.folder / "token", None)
    with pytest.raises(UnavailableError, match="gave no signature"):
        dead.countersign(envelope)


def test_each_message_is_signed_under_a_type_of_its_own(tmp_path: Path) -> None:
    key = create_or_load(tmp_path / "plane.pem")
    verb = Verb(
        id=uuid4(),
        boundary_id=uuid4(),
        issued_at=datetime(2026, 11, 22, tzinfo=UTC),
        action=CloseVerb(grant_number=1, role_name="ringfence-payments-g1"),
    )
    assert key.sign(verb).payloadType == VERB_TYPE
    assert key.sign(bundle("a")).payloadType == BUNDLE_TYPE


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    create_private_key(tmp_path / "plane.pem")
    (tmp_path / "plane.pem").chmod(0o644)
    with pytest.raises(InternalError, match="readable by others"):
        ControlPlaneKey(tmp_path / "plane.pem")
