"""API keys: how one is made and how it is recognised.

Used by the routing table and by whoever issues keys inside the boundary. Separate because the form
of a key is a contract: `rfk_` (or `rf_`) and 256 random bits, stored nowhere but as a SHA-256. The
prefix tells it from a person's token (`rfp_`), which must not work here.
"""

from __future__ import annotations

import hashlib
import re
import secrets

_FORM = re.compile(r"^rfk?_[A-Za-z0-9_-]{43}$")


def new_key() -> str:
    """Return a new random key."""
    return f"rfk_{secrets.token_urlsafe(32)}"


def is_key(text: str) -> bool:
    """Return whether a text has the form of a key."""
    return _FORM.fullmatch(text) is not None


def hash_key(key: str) -> str:
    """Return `sha256:<hex>` of a key.

    A plain hash is enough for 256 random bits, and looking the hash up compares in constant time:
    how long it takes says nothing about the key.
    """
    return f"sha256:{hashlib.sha256(key.encode()).hexdigest()}"
