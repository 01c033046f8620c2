"""Envelopes: what is signed cannot be changed, re-typed or stripped of a signer."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.canonical import canonical_bytes
from proof.dsse import SignatureError, countersign, open_envelope, seal
from proof.keys import fingerprint
from wire.envelope import Envelope

TYPE = "application/vnd.test+json"
VENDOR = Ed25519PrivateKey.generate()
CUSTOMER = Ed25519PrivateKey.generate()
KEYS = {"control plane": VENDOR.public_key(), "customer": CUSTOMER.public_key()}
DOCUMENT = {"b": 1, "a": ["x", None, True]}


def code_of(envelope: Envelope, payload_type: str = TYPE) -> str:
    with pytest.raises(SignatureError) as caught:
        open_envelope(envelope, payload_type, KEYS)
    return caught.value.code


def test_two_signatures_over_the_same_bytes_are_accepted() -> None:
    envelope = countersign(seal(VENDOR, TYPE, DOCUMENT), CUSTOMER)
    assert open_envelope(envelope, TYPE, KEYS) == DOCUMENT


def test_countersigning_twice_adds_nothing() -> None:
    once = countersign(seal(VENDOR, TYPE, DOCUMENT), CUSTOMER)
    assert countersign(once, CUSTOMER) == once


def test_a_missing_signer_is_named() -> None:
    with pytest.raises(SignatureError, match="no signature by the customer key") as caught:
        open_envelope(seal(VENDOR, TYPE, DOCUMENT), TYPE, KEYS)
    assert caught.value.code == "missing-signature"


def test_a_changed_payload_is_refused() -> None:
    envelope = countersign(seal(VENDOR, TYPE, DOCUMENT), CUSTOMER)
    other = base64.b64encode(canonical_bytes({**DOCUMENT, "b": 2})).decode()
    assert code_of(envelope.model_copy(update={"payload": other})) == "bad-signature"


def test_the_type_is_part_of_what_is_signed() -> None:
    envelope = countersign(seal(VENDOR, TYPE, DOCUMENT), CUSTOMER)
    other = "application/vnd.other+json"
    assert code_of(envelope, other) == "wrong-type"
    assert code_of(envelope.model_copy(update={"payloadType": other}), other) == "bad-signature"


def test_a_foreign_key_that_claims_a_known_fingerprint_is_refused() -> None:
    foreign = seal(Ed25519PrivateKey.generate(), TYPE, DOCUMENT)
    claimed = foreign.signatures[0].model_copy(update={"keyid": fingerprint(VENDOR)})
    envelope = countersign(foreign.model_copy(update={"signatures": (claimed,)}), CUSTOMER)
    assert code_of(envelope) == "bad-signature"


def test_a_payload_that_is_not_canonical_is_refused_even_when_signed() -> None:
    sealed = seal(VENDOR, TYPE, DOCUMENT)
    spaced = sealed.model_copy(update={"payload": base64.b64encode(b'{"b": 1}').decode()})
    stripped = spaced.model_copy(update={"signatures": sealed.signatures})
    with pytest.raises(SignatureError):
        open_envelope(stripped, TYPE, {"control plane": VENDOR.public_key()})
