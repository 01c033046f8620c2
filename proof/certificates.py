"""Verify a certificate, of an install or of a removal, offline.

Used by `ringfence certificate verify` and by tests. The reader brings the pins; nothing in the file
is trusted because the file says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from proof.dsse import SignatureError, open_envelope
from proof.keys import KeyFileError, decode_public, fingerprint
from wire.certificate import (
    CERTIFICATE_TYPE,
    REMOVAL_TYPE,
    CertificateFile,
    InstallCertificate,
    RemovalCertificate,
)


class CertificateError(ValueError):
    """The certificate is not what it says, or not from whom the reader trusts."""


@dataclass(frozen=True)
class Verdict:
    """What was checked and what holds."""

    certificate: InstallCertificate | RemovalCertificate
    control_plane_key: str
    agent_key: str | None
    """Fingerprint of the second signer; None when the certificate is not countersigned."""
    agent_key_checked: bool
    """True when the reader brought the agent's key and it is the second signer."""

    def to_wire(self) -> dict[str, Any]:
        """Return the verdict as JSON."""
        return {
            "valid": True,
            "control_plane_key": self.control_plane_key,
            "agent_key": self.agent_key,
            "agent_key_checked": self.agent_key_checked,
            "certificate": self.certificate.to_wire(),
        }


def _keys(file: CertificateFile) -> dict[str, Ed25519PublicKey]:
    keys: dict[str, Ed25519PublicKey] = {}
    for name, text in file.keys.items():
        try:
            key = decode_public(text)
        except KeyFileError as error:
            raise CertificateError(f"key {name}: {error}") from error
        if fingerprint(key) != name:
            raise CertificateError(f"key {name} has the fingerprint {fingerprint(key)}")
        keys[name] = key
    return keys


def verify_certificate(
    file: CertificateFile, pin: str, agent_public_key: str | None = None
) -> Verdict:
    """Return the verdict once every signature holds.

    `pin` is the fingerprint of the control-plane key; `agent_public_key` the agent's key in base64.
    Raises: CertificateError that says which check failed.
    """
    keys = _keys(file)
    if pin not in keys:
        raise CertificateError(
            f"it is not signed by the pinned key {pin}; it carries: {', '.join(keys) or 'no key'}"
        )
    signers = [s.keyid for s in file.envelope.signatures]
    others = [keyid for keyid in signers if keyid != pin]
    required = {"control plane": keys[pin]}
    agent_fingerprint: str | None = None
    if agent_public_key is not None:
        agent = decode_public(agent_public_key)
        agent_fingerprint = fingerprint(agent)
        required["agent"] = agent
    elif others:
        agent_fingerprint = others[0]
        if agent_fingerprint not in keys:
            raise CertificateError(f"the key of the signer {agent_fingerprint} is not in the file")
        required["agent"] = keys[agent_fingerprint]
    # The type is under the signature, so the file cannot pass one kind off as the other.
    is_removal = file.envelope.payloadType == REMOVAL_TYPE
    try:
        document = open_envelope(
            file.envelope, REMOVAL_TYPE if is_removal else CERTIFICATE_TYPE, required
        )
    except SignatureError as error:
        raise CertificateError(str(error)) from error
    kind = RemovalCertificate if is_removal else InstallCertificate
    return Verdict(
        certificate=kind.from_wire(document),
        control_plane_key=pin,
        agent_key=agent_fingerprint,
        agent_key_checked=agent_public_key is not None,
    )
