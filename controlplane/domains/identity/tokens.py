"""Make and hash bearer tokens and keys: 256 random bits, a prefix that says what it is.

Used wherever a secret is shown once and kept as a hash. A plain SHA-256 is enough: the input has
256 random bits, so there is nothing to guess. The prefix lets log redaction and scanners find one.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import Literal

Kind = Literal["rfp", "rfs", "rfk", "rfe", "rfb"]
"""rfp: a person's API token; rfs: a service's; rfk: a gateway key; rfe: an agent's enrolment token;
rfb: the sealed break-glass secret, and the token that it opens."""

MINIMUM_LENGTH = 40


def new_token(kind: Kind) -> str:
    """Return a new token; the only time it exists outside its holder."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def token_hash(token: str) -> str:
    """Return `sha256:<hex>` of the token's UTF-8 bytes."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()
