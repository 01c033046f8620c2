"""The engine's encryption of secrets in state, in our own hands: to hand a state to another key.

Called by the saga that makes a take-over kit. Separate because it is the only code that knows the
format; the engine itself could do it only with both passphrases in one process that also holds the
customer's, and would draw new random numbers each time.
Source: pulumi/pkg, sdk/go/common/resource/config/crypt.go and pkg/secrets/passphrase, v3.255.0:
AES-256-GCM under PBKDF2-SHA256 of the passphrase (1,000,000 rounds, 8 bytes of salt).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from controlplane.core.errors import ConflictError, InternalError

PROVIDER = "passphrase"
SIGNATURE_KEY = "4dabf18193072939515e22adb298388d"
"""Marks a special value of the engine (sdk/go/common/resource/sig)."""
SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105 - a marker, not a secret
_ROUNDS = 1_000_000
_SALT_BYTES, _NONCE_BYTES = 8, 12
_PROBE = b"pulumi"
"""What the salt's text holds encrypted, so that a wrong passphrase is noticed."""


class WrongPassphraseError(ConflictError):
    """A state is not encrypted under this passphrase."""

    code = "wrong-passphrase"


class Crypter:
    """One passphrase and salt."""

    def __init__(self, passphrase: bytes, salt: bytes) -> None:
        """Derive the key: about half a second."""
        self._key = hashlib.pbkdf2_hmac("sha256", passphrase, salt, _ROUNDS, 32)
        self._cipher = AESGCM(self._key)
        self._nonces = hmac.digest(self._key, b"ringfence nonces", "sha256")
        self._salt = salt

    @classmethod
    def of_state(cls, passphrase: bytes, text: str) -> Crypter:
        """Return the crypter that a state's salt text names. Raises: WrongPassphraseError."""
        version, salt, probe = [*text.split(":", 2), "", ""][:3]
        if version != "v1":
            raise InternalError(f"the state's salt is of version {version!r}, not v1")
        crypter = cls(passphrase, base64.b64decode(salt))
        if crypter.decrypt(probe) != _PROBE:
            raise WrongPassphraseError("the state's salt holds something else than it must")
        return crypter

    def salt_text(self) -> str:
        """Return what the state says of its key."""
        encrypted = self.encrypt(_PROBE, "salt")
        return f"v1:{base64.b64encode(self._salt).decode()}:{encrypted}"

    def encrypt(self, plain: bytes, place: str) -> str:
        """Encrypt a value; the nonce follows from value and place under the key.

        Equal values at one place give equal text, so a kit can be made again byte by byte;
        different ones do not share a nonce, since it is a keyed hash of both.
        """
        message = len(place).to_bytes(4, "big") + place.encode() + plain
        nonce = hmac.digest(self._nonces, message, "sha256")[:_NONCE_BYTES]
        sealed = self._cipher.encrypt(nonce, plain, None)
        return f"v1:{base64.b64encode(nonce).decode()}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, text: str) -> bytes:
        """Decrypt a value. Raises: WrongPassphraseError."""
        try:
            version, nonce, sealed = text.split(":")
            if version != "v1":
                raise InternalError(f"a secret in state is of version {version!r}, not v1")
            return self._cipher.decrypt(base64.b64decode(nonce), base64.b64decode(sealed), None)
        except InvalidTag as error:
            raise WrongPassphraseError(
                "the state is not encrypted under the passphrase of this control plane",
                fix="check RINGFENCE_STATE_PASSPHRASE_FILE",
            ) from error
        except (ValueError, binascii.Error) as error:
            raise InternalError("a secret in state is not in the engine's format") from error


def reencrypt(deployment: dict[str, Any], ours: bytes, theirs: bytes, salt: bytes) -> Any:
    """Return a deployment whose secrets open with `theirs` and no longer with `ours`.

    Shapes: `deployment` as the engine keeps it (`resources`, `secrets_providers`); `salt` 8 bytes.
    Raises: WrongPassphraseError; ConflictError for secrets that another provider keeps.
    """
    if len(salt) != _SALT_BYTES:
        raise InternalError(f"a salt has {_SALT_BYTES} bytes, not {len(salt)}")
    provider = deployment.get("secrets_providers") or {}
    if provider.get("type") != PROVIDER:
        raise ConflictError(
            f"the state's secrets are kept by {provider.get('type')!r}, not by a passphrase",
            code="other-secrets-provider",
        )
    old = Crypter.of_state(ours, str(provider["state"]["salt"]))
    new = Crypter(theirs, salt)
    rest = {key: value for key, value in deployment.items() if key != "secrets_providers"}
    moved = _move(rest, old, new, "")
    return {
        **moved,
        "secrets_providers": {"type": PROVIDER, "state": {"salt": new.salt_text()}},
    }


def _move(value: Any, old: Crypter, new: Crypter, place: str) -> Any:
    """Return a value with every ciphertext in it under the new key."""
    if isinstance(value, dict):
        if value.get(SIGNATURE_KEY) == SECRET_SIGNATURE and "ciphertext" in value:
            plain = old.decrypt(str(value["ciphertext"]))
            return {**value, "ciphertext": new.encrypt(plain, place)}
        return {key: _move(item, old, new, f"{place}/{key}") for key, item in value.items()}
    if isinstance(value, list):
        return [_move(item, old, new, f"{place}/{i}") for i, item in enumerate(value)]
    return value
