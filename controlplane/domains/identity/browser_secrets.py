"""What is derived from a browser's cookie: our database alone and the browser alone know neither.

Used by `sign_in` and `sessions`. Separate because it is pure, and because every secret of a browser
is made here.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets

SESSION_COOKIE = "__Host-ringfence"
SIGN_IN_COOKIE = "__Host-ringfence-sign-in"
"""`__Host-`: set by this host itself over a trustworthy connection, for all paths (RFC 6265bis)."""
LENGTHS = range(40, 101)
"""Of a cookie that could be ours; anything else is not looked up."""


def new_secret() -> str:
    """Return 256 random bits for a cookie, a state or a seed."""
    return secrets.token_urlsafe(32)


def derived(secret: str, purpose: str, seed: str = "") -> str:
    """Return 43 characters that follow from a cookie for one purpose, and tell nothing of it."""
    mac = hmac.new(secret.encode(), f"{purpose}:{seed}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(mac).rstrip(b"=").decode()


def csrf_token(session_secret: str) -> str:
    """Return the token that a page of ours sends back with every change."""
    return derived(session_secret, "csrf")


def is_same(given: str, wanted: str) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(given.encode(), wanted.encode())
