"""Canonical JSON (RFC 8785) and digests over it.

Used wherever two processes must agree on the bytes of a document: signatures, plan digests, audit
chain. Times must be strings already (`to_wire` of a message does that).
"""

from __future__ import annotations

import hashlib
from typing import Any

import rfc8785


def canonical_bytes(document: Any) -> bytes:
    """Return the RFC 8785 encoding. Raises: rfc8785.CanonicalizationError for what JSON lacks."""
    return rfc8785.dumps(document)


def digest(document: Any) -> str:
    """Return `sha256:<hex>` of the canonical encoding."""
    return bytes_digest(canonical_bytes(document))


def bytes_digest(data: bytes) -> str:
    """Return `sha256:<hex>` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
