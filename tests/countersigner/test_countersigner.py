"""The customer's countersigner signs only what the customer's own list allows, and logs it."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from countersigner.policy import BoundaryPolicy, PolicyFile
from countersigner.service import BundleLog, Countersigner
from proof.dsse import open_envelope, seal
from proof.keys import encode_public
from wire.bundle import BUNDLE_TYPE, Bundle, DesiredResource, Refusal
from wire.envelope import Envelope

VENDOR = Ed25519PrivateKey.generate()
CUSTOMER = Ed25519PrivateKey.generate()
BOUNDARY = uuid4()
ALLOWED, FOREIGN = "sha256:" + "a" * 64, "sha256:" + "b" * 64
IMAGE = f"ringfence/engine@{ALLOWED}"


def artifact(digest: str) -> DesiredResource:
    source = {"s3": {"bucket": "weights", "key": "a", "region": "eu-central-1"}}
    spec = {"kind": "Base", "source": source, "digest": digest, "size": 10}
    return DesiredResource(kind="ModelArtifact", name="tiny-coder", spec=spec)


def instance(image: str) -> DesiredResource:
    spec: dict[str, Any] = {
        "artifactRef": {"name": "tiny-coder"},
        "engine": {"name": "llama.cpp", "image": image},
        "serving": {"modelName": "tiny-coder"},
    }
    return DesiredResource(kind="ModelInstance", name="tiny-coder", spec=spec)


OWN = "111122223333.dkr.ecr.eu-central-1.amazonaws.com/ringfence/copying"
"""Where the customer of the boundary `copying` keeps images."""


def envelope(
    *resources: DesiredResource,
    sequence: int = 1,
    boundary: str = "payments",
    key: Ed25519PrivateKey = VENDOR,
) -> Envelope:
    bundle = Bundle(
        organization_id=uuid4(),
        boundary_id=BOUNDARY,
        boundary_name=boundary,
        sequence=sequence,
        issued_at=datetime(2026, 11, 22, tzinfo=UTC),
        resources=resources,
    )
    return seal(key, BUNDLE_TYPE, bundle.to_wire())


@pytest.fixture
def signer(tmp_path: Path) -> Countersigner:
    policy = PolicyFile(
        control_plane_public_key=encode_public(VENDOR),
        boundaries={
            "payments": BoundaryPolicy(artifacts=frozenset({ALLOWED}), images=frozenset({IMAGE})),
            "careful": BoundaryPolicy(approval="manual"),
            "copying": BoundaryPolicy(images=frozenset({IMAGE}), own_registry=OWN),
        },
    )
    (tmp_path / "policy.json").write_text(policy.model_dump_json())
    return Countersigner(CUSTOMER, tmp_path / "policy.json", BundleLog(tmp_path / "log.jsonl"))


def code(result: Envelope | Refusal) -> str:
    assert isinstance(result, Refusal)
    return result.code


def test_what_the_customer_allows_is_signed_beside_the_vendors_signature(
    signer: Countersigner,
) -> None:
    result = signer.sign(envelope(artifact(ALLOWED), instance(IMAGE)))
    assert isinstance(result, Envelope)
    keys = {"control plane": VENDOR.public_key(), "customer": CUSTOMER.public_key()}
    assert open_envelope(result, BUNDLE_TYPE, keys)["sequence"] == 1


def test_weights_that_are_not_on_the_list_are_refused(signer: Countersigner) -> None:
    assert code(signer.sign(envelope(artifact(FOREIGN)))) == "artifact-not-allowed"


def test_an_image_that_is_not_on_the_list_is_refused(signer: Countersigner) -> None:
    other = f"ringfence/engine@{FOREIGN}"
    assert code(signer.sign(envelope(instance(other)))) == "image-not-allowed"


def test_a_copy_in_the_customers_own_registry_is_signed_under_the_same_name_and_digest(
    signer: Countersigner,
) -> None:
    name, _, digest = IMAGE.rpartition("@")
    short = name.rpartition("/")[2]
    copy = instance(f"{OWN}/{short}@{digest}")
    for sequence, image in enumerate((IMAGE, f"{OWN}/{short}@{digest}"), start=1):
        signed = signer.sign(envelope(instance(image), sequence=sequence, boundary="copying"))
        assert isinstance(signed, Envelope), signed
    for other in (
        f"{OWN}/{short}@{FOREIGN}",
        f"{OWN}/other@{digest}",
        f"{OWN}-2/{short}@{digest}",
        f"{OWN.replace('copying', 'research')}/{short}@{digest}",
    ):
        refused = signer.sign(envelope(instance(other), sequence=9, boundary="copying"))
        assert code(refused) == "image-not-allowed"
    assert code(signer.sign(envelope(copy))) == "image-not-allowed"


def test_a_boundary_without_a_policy_is_refused(signer: Countersigner) -> None:
    assert code(signer.sign(envelope(boundary="research"))) == "unknown-boundary"


def test_a_bundle_that_the_vendor_did_not_sign_is_refused(signer: Countersigner) -> None:
    foreign = envelope(key=Ed25519PrivateKey.generate())
    assert code(signer.sign(foreign)) == "missing-signature"


def test_a_sequence_is_signed_once_also_after_a_restart(
    signer: Countersigner, tmp_path: Path
) -> None:
    assert isinstance(signer.sign(envelope(sequence=2)), Envelope)
    assert code(signer.sign(envelope(sequence=2))) == "old-sequence"
    restarted = Countersigner(CUSTOMER, tmp_path / "policy.json", BundleLog(tmp_path / "log.jsonl"))
    assert code(restarted.sign(envelope(sequence=1))) == "old-sequence"


def test_the_same_bundle_asked_for_again_gets_the_same_answer(signer: Countersigner) -> None:
    asked = envelope(artifact(ALLOWED))
    assert signer.sign(asked) == signer.sign(asked)


def test_a_bundle_approved_by_hand_waits_for_its_digest(signer: Countersigner) -> None:
    assert code(signer.sign(envelope(boundary="careful"))) == "awaiting-approval"


def test_an_edited_log_is_noticed_at_start(signer: Countersigner, tmp_path: Path) -> None:
    signer.sign(envelope(sequence=1))
    signer.sign(envelope(sequence=2))
    path = tmp_path / "log.jsonl"
    lines = path.read_text().splitlines()
    lines[0] = json.dumps({**json.loads(lines[0]), "sequence": 9})
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match="line 1: the chain of hashes is broken"):
        BundleLog(path)
