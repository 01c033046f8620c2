"""The keys of a take-over kit: all follow from our passphrase, and none leads back to it.

Called by `kit`. Deriving instead of drawing makes a kit reproducible: the same install and
recipient have the same passphrase, so a later kit opens with what an earlier one gave.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from controlplane.core.errors import InternalError, InvalidRequestError
from proof.sealing import SealingError, seal
from wire.takeover import Recipient, SealedSecret


@dataclass(frozen=True)
class KitKeys:
    """Secrets of one kit, in memory only, and the one form in which they leave."""

    ours: bytes
    """The control plane's own passphrase."""
    passphrase: bytes
    """The kit's: 256 bits, as text that a file can hold."""
    salt: bytes
    sealed: SealedSecret

    def __repr__(self) -> str:
        return "KitKeys(…)"


def derive(passphrase_file: Path | None, install_id: UUID, recipient: Recipient) -> KitKeys:
    """Return the keys for an install and a recipient. Raises: InvalidRequestError."""
    if passphrase_file is None:
        raise InternalError(
            "no passphrase of the engine's state is configured",
            fix="set RINGFENCE_STATE_PASSPHRASE_FILE",
        )
    # The engine strips the file's end as well.
    ours = passphrase_file.read_bytes().strip()
    place = f"{install_id}/{recipient.public}"
    passphrase = base64.urlsafe_b64encode(_from(ours, f"passphrase {place}", 32)).rstrip(b"=")
    try:
        sealed = seal(passphrase, recipient, _from(ours, f"ephemeral {place}", 32))
    except SealingError as error:
        raise InvalidRequestError(
            str(error), field="recipient.public", fix="make a key: ringfence takeover key FILE"
        ) from error
    return KitKeys(ours, passphrase, _from(ours, f"salt {place}", 8), sealed)


def _from(secret: bytes, purpose: str, length: int) -> bytes:
    info = f"ringfence take-over kit v1 {purpose}".encode()
    return HKDF(hashes.SHA256(), length=length, salt=None, info=info).derive(secret)
