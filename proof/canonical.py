"""Canonical JSON (RFC 8785) and digests over it.

Used wherever two processes must agree on the bytes of a document: signatures, plan digests, audit
chain. Times must be strings already (`to_wire` of a message does that).
"""

from __future__ import annotations

import hashlib
import json
from typing import Any, Final

import rfc8785

_MAX_EXACT: Final = 2**53 - 1
_encode_plain = json.JSONEncoder(
    ensure_ascii=False, sort_keys=True, separators=(",", ":"), check_circular=False
).encode


def canonical_bytes(document: Any) -> bytes:
    """Return the RFC 8785 encoding. Raises: rfc8785.CanonicalizationError for what JSON lacks.

    The standard encoder gives the same bytes for a plain document in a quarter of the time, and
    every audited change pays for one; a test holds the two together.
    """
    if _is_plain(document):
        try:
            return _encode_plain(document).encode()
        except UnicodeEncodeError:
            # Half a surrogate pair: the exact encoder names it.
            pass
    try:
        return rfc8785.dumps(document)
    except UnicodeEncodeError as error:
        # It sorts keys by their UTF-16 form before it looks at them.
        raise rfc8785.CanonicalizationError("a key holds half a surrogate pair") from error


def _is_plain(value: Any) -> bool:
    """Return whether both encoders agree on a value: exact built-in types, no floats.

    Floats are written differently, and keys outside ASCII may be sorted differently (RFC 8785
    sorts by UTF-16 units, Python by code points).
    """
    kind = type(value)
    if kind is dict:
        return all(
            type(key) is str and key.isascii() and (type(item) is str or _is_plain(item))
            for key, item in value.items()
        )
    if kind is list or kind is tuple:
        return all(map(_is_plain, value))
    if kind is int:
        return bool(-_MAX_EXACT <= value <= _MAX_EXACT)
    return value is None or kind is str or kind is bool


def digest(document: Any) -> str:
    """Return `sha256:<hex>` of the canonical encoding."""
    return bytes_digest(canonical_bytes(document))


def bytes_digest(data: bytes) -> str:
    """Return `sha256:<hex>` of `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()
