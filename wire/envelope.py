"""Signed documents as they cross a border: DSSE envelopes.

Made and checked by `proof.dsse`. Bundles carry two signatures (control plane and customer),
certificates two (control plane and agent), verbs one (control plane).
Source: https://github.com/secure-systems-lab/dsse/blob/master/envelope.md
"""

from __future__ import annotations

from pydantic import Field

from wire.version import Document


class EnvelopeSignature(Document):
    """`keyid` is the fingerprint of the public key (`proof.keys.fingerprint`); `sig` is base64."""

    keyid: str = Field(max_length=80)
    sig: str = Field(max_length=200)


class Envelope(Document):
    """A DSSE envelope; the payload is base64 of canonical JSON, the type names the schema."""

    payloadType: str = Field(max_length=200)  # noqa: N815 - the field name of DSSE
    payload: str
    signatures: tuple[EnvelopeSignature, ...] = Field(min_length=1, max_length=8)
