"""Build small real OCI images, the same bytes every time.

Used by the image table, whose digests are those of these images, and by the vendor's registry of
the sandbox, which holds them. An image has a configuration and one layer, with a single file that
says what the image stands for; layers are not compressed, so that no library's version shows.
Source: https://github.com/opencontainers/image-spec/blob/v1.1.1/manifest.md
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True)
class OciImage:
    """One image as a registry takes it."""

    manifest: bytes
    blobs: Mapping[str, bytes]
    """Configuration and layers by digest."""

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)


def digest_of(content: bytes) -> str:
    """Return the digest of a blob or manifest."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def canonical(value: Any) -> bytes:
    """Write JSON in one way only."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def build(
    entry: Mapping[str, Any], entrypoint: Sequence[str], user: int, architecture: str = "amd64"
) -> OciImage:
    """Build the image of one entry of the image table."""
    layer = _layer("ringfence-image.json", canonical(entry))
    config = canonical(
        {
            "architecture": architecture,
            "config": {"Entrypoint": list(entrypoint), "User": str(user)},
            "os": "linux",
            "rootfs": {"diff_ids": [digest_of(layer)], "type": "layers"},
        }
    )
    manifest = canonical(
        {
            "config": _descriptor(CONFIG, config),
            "layers": [_descriptor(LAYER, layer)],
            "mediaType": MANIFEST,
            "schemaVersion": 2,
        }
    )
    return OciImage(manifest, {digest_of(config): config, digest_of(layer): layer})


def index(images: Mapping[str, OciImage]) -> bytes:
    """Build the index of one image for several architectures."""
    manifests = [
        {
            **_descriptor(MANIFEST, image.manifest),
            "platform": {"architecture": architecture, "os": "linux"},
        }
        for architecture, image in sorted(images.items())
    ]
    return canonical({"manifests": manifests, "mediaType": INDEX, "schemaVersion": 2})


def _descriptor(kind: str, content: bytes) -> dict[str, Any]:
    return {"digest": digest_of(content), "mediaType": kind, "size": len(content)}


def _layer(name: str, content: bytes) -> bytes:
    """Write a tar with one file, owned by nobody, of no time."""
    output = io.BytesIO()
    with tarfile.open(fileobj=output, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(content), 0o444
        archive.addfile(member, io.BytesIO(content))
    return output.getvalue()
