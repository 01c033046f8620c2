"""Seal a secret to an X25519 key, and open it again.

Used by the worker, which seals a take-over kit's passphrase to the customer's key and a chart's
values to the runner's, and by who opens them: the command line, offline, and the runner. The
customer's private half is a key file, or follows from a passphrase, which then never leaves the
customer's machine either: we are only ever given the public half.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from proof.canonical import canonical_bytes
from wire.takeover import Recipient, SealedSecret

TAKEOVER_KIT = b"ringfence take-over kit sealing v1"
RUNNER_ORDER = b"ringfence runner order sealing v1"
"""What is sealed for one purpose opens for no other."""
SHORTEST_PASSPHRASE = 20
"""Characters: who holds the public half may guess at the passphrase behind it."""
# scrypt at about 0.5 s and 128 MB for one guess. Source: RFC 7914.
_SCRYPT = {"n": 2**17, "r": 8, "p": 1, "maxmem": 256 * 1024 * 1024}
_NONCE = bytes(12)
"""Each sealing has a key of its own, so the nonce may be constant."""


class SealingError(ValueError):
    """A key cannot be used, or does not open what was sealed; never says what was given."""


def encode_public(key: X25519PrivateKey) -> str:
    """Return the public half as base64 of its raw 32 bytes."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def decode_public(text: str) -> X25519PublicKey:
    """Parse `encode_public`'s form. Raises: SealingError."""
    try:
        return X25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (ValueError, binascii.Error) as error:
        raise SealingError("not a base64 X25519 public key of 32 bytes") from error


def create_key(path: Path) -> X25519PrivateKey:
    """Make a key and write it as PKCS#8 PEM, 0600 from its first byte. Raises: FileExistsError."""
    key = X25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    return key


def load_key(path: Path) -> X25519PrivateKey:
    """Read a PEM key. Raises: SealingError that names the path and the fix."""
    data = _private_bytes(path)
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise SealingError(f"{path} is not an unencrypted PEM private key") from error
    if not isinstance(key, X25519PrivateKey):
        raise SealingError(f"{path} is not an X25519 key; make one: ringfence takeover key {path}")
    return key


def read_passphrase(path: Path) -> bytes:
    """Read a passphrase's file. Raises: SealingError that names the path and the fix."""
    passphrase = _private_bytes(path).strip()
    if len(passphrase) < SHORTEST_PASSPHRASE:
        raise SealingError(f"{path} holds fewer than {SHORTEST_PASSPHRASE} characters")
    return passphrase


def _private_bytes(path: Path) -> bytes:
    try:
        mode, data = path.stat().st_mode, path.read_bytes()
    except OSError as error:
        raise SealingError(f"cannot read {path}: {error.strerror}") from error
    if mode & 0o077:
        raise SealingError(f"{path} is readable by others; run: chmod 600 {path}")
    return data


def salt_of(install_id: str) -> str:
    """Return the salt of an install's passphrase: its own, and the same for each of its kits."""
    value = hashlib.sha256(f"ringfence take-over kit of {install_id}".encode()).digest()[:16]
    return base64.b64encode(value).decode()


def key_of_passphrase(passphrase: bytes, salt: str) -> X25519PrivateKey:
    """Return the key that follows from a passphrase. Takes about half a second."""
    raw = hashlib.scrypt(passphrase, salt=base64.b64decode(salt), dklen=32, **_SCRYPT)
    return X25519PrivateKey.from_private_bytes(raw)


def seal(
    secret: bytes, recipient: Recipient, seed: bytes, purpose: bytes = TAKEOVER_KIT
) -> SealedSecret:
    """Seal to the recipient; the ephemeral key follows from `seed`, 32 secret bytes.

    `seed` must be unknown to others and differ per secret: the same arguments give the same
    bytes, so that a kit can be made again. Raises: SealingError for a key that agrees on nothing.
    """
    ephemeral = X25519PrivateKey.from_private_bytes(seed)
    public = encode_public(ephemeral)
    key = _agreed(ephemeral, recipient.public, recipient, public, purpose)
    sealed = ChaCha20Poly1305(key).encrypt(_NONCE, secret, None)
    return SealedSecret(
        scheme="x25519-hkdf-sha256-chacha20poly1305",
        recipient=recipient,
        ephemeral=public,
        ciphertext=base64.b64encode(sealed).decode(),
    )


def unseal(sealed: SealedSecret, key: X25519PrivateKey, purpose: bytes = TAKEOVER_KIT) -> bytes:
    """Return the secret. Raises: SealingError when the key is another one or a byte was changed."""
    if encode_public(key) != sealed.recipient.public:
        raise SealingError("this key is not the one that the secret was sealed to")
    try:
        agreed = _agreed(key, sealed.ephemeral, sealed.recipient, sealed.ephemeral, purpose)
        data = base64.b64decode(sealed.ciphertext, validate=True)
        return ChaCha20Poly1305(agreed).decrypt(_NONCE, data, None)
    except (InvalidTag, binascii.Error) as error:
        raise SealingError("the sealed secret was changed") from error


def _agreed(
    own: X25519PrivateKey, other: str, recipient: Recipient, ephemeral: str, purpose: bytes
) -> bytes:
    """Return the key of one sealing; both public halves go into it."""
    try:
        shared = own.exchange(decode_public(other))
    except ValueError as error:
        raise SealingError("the public key agrees on nothing: make another one") from error
    context = canonical_bytes({"recipient": recipient.public, "ephemeral": ephemeral})
    return HKDF(hashes.SHA256(), length=32, salt=None, info=purpose + context).derive(shared)
