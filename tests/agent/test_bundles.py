"""What the agent accepts: only bundles of both keys, for this boundary, in the vocabulary.

The attacks are made with our own real keys: a fully compromised control plane must fail here.
"""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.bundles import Accepted, Trust, accept_bundle, accept_verb
from proof.dsse import countersign, seal
from wire.bundle import BUNDLE_TYPE, VERB_TYPE, Bundle, CloseVerb, Refusal, Verb
from wire.envelope import Envelope

VENDOR = Ed25519PrivateKey.generate()
CUSTOMER = Ed25519PrivateKey.generate()
BOUNDARY = uuid4()
TRUST = Trust(
    control_plane=VENDOR.public_key(),
    customer=CUSTOMER.public_key(),
    boundary_id=BOUNDARY,
    boundary_name="payments",
    namespace="boundary-payments",
)
DIGEST = "sha256:" + "a" * 64
ARTIFACT: dict[str, Any] = {
    "kind": "ModelArtifact",
    "name": "tiny-coder",
    "spec": {
        "kind": "Base",
        "source": {"s3": {"bucket": "weights", "key": "a", "region": "eu-central-1"}},
        "digest": DIGEST,
        "size": 10,
    },
}


def bundle(**changes: Any) -> dict[str, Any]:
    plain = Bundle(
        organization_id=uuid4(),
        boundary_id=BOUNDARY,
        boundary_name="payments",
        sequence=3,
        issued_at=datetime(2026, 11, 22, tzinfo=UTC),
        resources=(),
    ).to_wire()
    return {**plain, "resources": [ARTIFACT], **changes}


def signed(document: dict[str, Any]) -> Envelope:
    return countersign(seal(VENDOR, BUNDLE_TYPE, document), CUSTOMER)


def refusal(envelope: Envelope, applied: int = 2) -> Refusal:
    result = accept_bundle(envelope, TRUST, applied)
    assert isinstance(result, Refusal)
    return result


def test_a_bundle_signed_by_both_is_accepted() -> None:
    result = accept_bundle(signed(bundle()), TRUST, 2)
    assert isinstance(result, Accepted)
    assert [(kind, name) for kind, name, _ in result.resources] == [("ModelArtifact", "tiny-coder")]


def test_a_bundle_that_the_customer_did_not_sign_is_refused() -> None:
    assert refusal(seal(VENDOR, BUNDLE_TYPE, bundle())).code == "missing-signature"


def test_a_bundle_that_a_foreign_key_signed_for_the_customer_is_refused() -> None:
    foreign = countersign(seal(VENDOR, BUNDLE_TYPE, bundle()), Ed25519PrivateKey.generate())
    assert refusal(foreign).code == "missing-signature"


def test_a_bundle_without_the_vendors_signature_is_refused() -> None:
    assert refusal(seal(CUSTOMER, BUNDLE_TYPE, bundle())).code == "missing-signature"


def test_a_bundle_of_another_boundary_is_refused_though_both_signed_it() -> None:
    foreign = signed(bundle(boundary_id=str(uuid4()), boundary_name="research"))
    assert refusal(foreign).code == "foreign-boundary"


@pytest.mark.parametrize("applied", [3, 4])
def test_a_replayed_bundle_is_refused(applied: int) -> None:
    assert refusal(signed(bundle()), applied).code == "old-sequence"


@pytest.mark.parametrize(
    "resource",
    [
        {"kind": "Deployment", "name": "x", "spec": {}},
        {"kind": "Secret", "name": "x", "spec": {}},
        {**ARTIFACT, "name": "x", "spec": {**ARTIFACT["spec"], "command": ["sh"]}},
        {**ARTIFACT, "name": "x", "spec": {**ARTIFACT["spec"], "digest": "latest"}},
    ],
    ids=["deployment", "secret", "unknown-field", "tag-instead-of-digest"],
)
def test_anything_outside_the_vocabulary_is_refused_whole(resource: dict[str, Any]) -> None:
    mixed = signed(bundle(resources=[ARTIFACT, resource]))
    assert refusal(mixed).code == "outside-vocabulary"


def test_a_resource_named_twice_is_refused() -> None:
    assert refusal(signed(bundle(resources=[ARTIFACT, ARTIFACT]))).code == "duplicate"


def test_a_security_boundary_may_not_name_another_namespace() -> None:
    other = {
        "kind": "SecurityBoundary",
        "name": "payments",
        "spec": {"displayName": "Payments", "namespace": "kube-system"},
    }
    assert refusal(signed(bundle(resources=[other]))).code == "foreign-namespace"


def verb(boundary: UUID, key: Ed25519PrivateKey) -> Envelope:
    document = Verb(
        id=uuid4(),
        boundary_id=boundary,
        issued_at=datetime(2026, 11, 22, tzinfo=UTC),
        action=CloseVerb(grant_number=1, role_name="ringfence-payments-g1"),
    )
    return seal(key, VERB_TYPE, document.to_wire())


def test_a_verb_needs_the_vendors_key_and_this_boundary() -> None:
    assert isinstance(accept_verb(verb(BOUNDARY, VENDOR), TRUST), Verb)
    foreign_key = accept_verb(verb(BOUNDARY, CUSTOMER), TRUST)
    assert isinstance(foreign_key, Refusal)
    assert foreign_key.code == "missing-signature"
    foreign_boundary = accept_verb(verb(uuid4(), VENDOR), TRUST)
    assert isinstance(foreign_boundary, Refusal)
    assert foreign_boundary.code == "foreign-boundary"
