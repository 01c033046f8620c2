"""DSSE envelopes: sign, add a signature, verify.

Used by the control plane, the countersigner, the agent and the offline verifier. The payload is
canonical JSON, so that two signers sign the same bytes.
Source: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from proof.canonical import canonical_bytes
from proof.keys import fingerprint
from wire.envelope import Envelope, EnvelopeSignature


class SignatureError(ValueError):
    """An envelope lacks a needed signature, or one of them is wrong; `code` is stable."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


def _pae(payload_type: str, payload: bytes) -> bytes:
    """Return DSSE's pre-authentication encoding: the type is signed together with the payload."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def _sign(key: Ed25519PrivateKey, payload_type: str, payload: bytes) -> EnvelopeSignature:
    signature = base64.b64encode(key.sign(_pae(payload_type, payload))).decode()
    return EnvelopeSignature(keyid=fingerprint(key), sig=signature)


def seal(key: Ed25519PrivateKey, payload_type: str, document: dict[str, Any]) -> Envelope:
    """Return a new envelope over `document` with one signature."""
    payload = canonical_bytes(document)
    return Envelope(
        payloadType=payload_type,
        payload=base64.b64encode(payload).decode(),
        signatures=(_sign(key, payload_type, payload),),
    )


def countersign(envelope: Envelope, key: Ed25519PrivateKey) -> Envelope:
    """Return the envelope with a signature by `key` added; unchanged when it is there already."""
    if any(s.keyid == fingerprint(key) for s in envelope.signatures):
        return envelope
    added = _sign(key, envelope.payloadType, _payload(envelope))
    return envelope.model_copy(update={"signatures": (*envelope.signatures, added)})


def open_envelope(
    envelope: Envelope, payload_type: str, required: dict[str, Ed25519PublicKey]
) -> dict[str, Any]:
    """Return the document once every required key has signed it.

    `required` maps what a signer is called in messages ("control plane", "customer") to its key.
    Raises: SignatureError with code `wrong-type`, `missing-signature`, `bad-signature` or
    `not-canonical`. Signatures by other keys are ignored: they add nothing.
    """
    if envelope.payloadType != payload_type:
        raise SignatureError(
            "wrong-type", f"expected a {payload_type}, got a {envelope.payloadType}"
        )
    payload = _payload(envelope)
    for name, key in required.items():
        _check_signer(envelope, payload, name, key)
    try:
        document = json.loads(payload)
    except ValueError as error:
        raise SignatureError("not-canonical", "the payload is not JSON") from error
    if not isinstance(document, dict) or canonical_bytes(document) != payload:
        raise SignatureError("not-canonical", "the payload is not canonical JSON")
    return document


def _check_signer(envelope: Envelope, payload: bytes, name: str, key: Ed25519PublicKey) -> None:
    wanted = fingerprint(key)
    found = [s for s in envelope.signatures if s.keyid == wanted]
    if not found:
        signers = ", ".join(s.keyid for s in envelope.signatures)
        raise SignatureError(
            "missing-signature", f"no signature by the {name} key {wanted}; signed by: {signers}"
        )
    try:
        key.verify(
            base64.b64decode(found[0].sig, validate=True), _pae(envelope.payloadType, payload)
        )
    except (InvalidSignature, binascii.Error) as error:
        raise SignatureError(
            "bad-signature", f"the signature by the {name} key is wrong"
        ) from error


def _payload(envelope: Envelope) -> bytes:
    try:
        return base64.b64decode(envelope.payload, validate=True)
    except binascii.Error as error:
        raise SignatureError("not-canonical", "the payload is not base64") from error
