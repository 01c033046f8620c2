"""Ed25519 keys: making, storing, fingerprints.

A fingerprint is what people compare and what the customer's template pins: `SHA256:` and the
unpadded base64 of the SHA-256 of the raw 32 public bytes, in the manner of OpenSSH.
"""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey


class KeyFileError(ValueError):
    """A key file is missing, not Ed25519, or readable by others."""


def public_bytes(key: Ed25519PrivateKey | Ed25519PublicKey) -> bytes:
    """Return the raw 32 public bytes."""
    public = key.public_key() if isinstance(key, Ed25519PrivateKey) else key
    return public.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def encode_public(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return the public key as base64 of its raw bytes, the form used on the wire."""
    return base64.b64encode(public_bytes(key)).decode()


def decode_public(text: str) -> Ed25519PublicKey:
    """Parse `encode_public`'s form. Raises: KeyFileError."""
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except ValueError as error:
        raise KeyFileError("not a base64 Ed25519 public key of 32 bytes") from error


def fingerprint(key: Ed25519PrivateKey | Ed25519PublicKey) -> str:
    """Return `SHA256:<unpadded base64>` of the public bytes."""
    value = base64.b64encode(hashlib.sha256(public_bytes(key)).digest()).decode().rstrip("=")
    return f"SHA256:{value}"


def create_private_key(path: Path) -> Ed25519PrivateKey:
    """Make a key and write it as PKCS#8 PEM, mode 0600 from its first byte.

    Raises: FileExistsError, so that a key is never replaced by accident.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(pem)
    return key


def load_private_key(path: Path) -> Ed25519PrivateKey:
    """Read a PEM key. Raises: KeyFileError naming the path and the fix, never the content."""
    try:
        mode = path.stat().st_mode
        data = path.read_bytes()
    except OSError as error:
        raise KeyFileError(f"cannot read the key file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise KeyFileError(f"{path} is readable by others; run: chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except ValueError as error:
        raise KeyFileError(f"{path} is not an unencrypted PEM private key") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path} is not an Ed25519 key")
    return key
