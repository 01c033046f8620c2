"""The take-over kit: what a customer needs to go on with an install without us.

Made and signed by the control plane's worker, verified offline by `ringfence takeover verify`, and
used by the script that lies in it. The manifest names every file by digest; the kit's one secret,
the passphrase of the engine's state, is sealed to a key of the customer.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, ClassVar, Literal
from uuid import UUID

from pydantic import Field

from wire.envelope import Envelope
from wire.version import Document, Record

TAKEOVER_TYPE = "application/vnd.ringfence.takeover-kit+json"


class Recipient(Document):
    """The customer's X25519 key, to which the kit's passphrase is sealed."""

    public: str = Field(min_length=44, max_length=44)
    """The raw 32 bytes in base64."""
    salt: str | None = Field(default=None, pattern=r"^[A-Za-z0-9+/]{22}==$")
    """With it the private half follows from a passphrase (scrypt); None for a key of its own."""


class SealedSecret(Document):
    """A secret that only the recipient's private key opens; every field is base64."""

    scheme: Literal["x25519-hkdf-sha256-chacha20poly1305"]
    recipient: Recipient
    ephemeral: str
    ciphertext: str


class KitFile(Document):
    """One file of the kit."""

    path: str = Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.\-]*(/[A-Za-z0-9_][A-Za-z0-9_.\-]*)*$")
    digest: str
    size_bytes: int = Field(ge=0)


class KitTool(Document):
    """A program that the customer needs, at the version the install was made with."""

    name: str
    version: str
    source: str
    """Where to get it, in words."""


class KitStack(Document):
    """One stack of the engine, in the order of creation."""

    name: str
    entry: str
    """`module:function` of its program, below `programs/`."""
    resources: int = Field(ge=0)
    """How many the state knows, without the stack itself and its providers."""
    state_at: datetime
    """When the engine wrote this state."""


class KitHost(Document):
    """What a guest needs of the boundary in whose cluster it lives; nothing of that is in a kit."""

    boundary: str
    namespaces: tuple[str, ...] = Field(min_length=1)
    """The guest's own, which its host has prepared and keeps."""
    group: str
    """The Kubernetes group to which the host's release gives those namespaces."""


class TakeoverManifest(Record):
    """What the kit holds and is for; signed by the control-plane key."""

    SCHEMA: ClassVar[str] = "ringfence.takeover-kit"
    VERSION: ClassVar[int] = 2

    organization: str
    boundary: str
    boundary_id: UUID
    install_id: UUID
    account: str
    region: str
    cluster: str
    host: KitHost | None
    """Whose cluster it is; None: its own. Until version 1 there was no kit of a guest."""
    project: str
    blueprint: str
    blueprint_version: str
    blueprint_digest: str
    revision: int = Field(ge=1)
    stacks: tuple[KitStack, ...] = Field(min_length=1)
    bundle_sequence: int | None
    """Of the desired state in it; None where none was published."""
    has_certificate: bool
    emulated: bool
    """True when the account is the rehearsal account."""
    recipient: Recipient
    tools: tuple[KitTool, ...]
    files: tuple[KitFile, ...] = Field(min_length=1)
    """All but the manifest itself, by path."""

    @classmethod
    def upgrade(cls, raw: dict[str, Any]) -> dict[str, Any]:
        """Return a manifest of version 1 as one of version 2."""
        return {**raw, "host": None}


class TakeoverFile(Record):
    """The manifest as it lies in the kit: the envelope, and the public key that signed it."""

    SCHEMA: ClassVar[str] = "ringfence.takeover-file"

    envelope: Envelope
    keys: dict[str, str]
    """Fingerprint -> public key (base64); carried only, the reader brings the pin."""
