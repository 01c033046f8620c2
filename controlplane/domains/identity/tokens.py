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
rfb: a part of the sealed break-glass secret, and the token that both parts open."""

MINIMUM_LENGTH = 40


def new_token(kind: Kind) -> str:
    """Return a new token; the only time it exists outside its holder."""
    return f"{kind}_{secrets.token_urlsafe(32)}"


def seal_hash(parts: tuple[str, str]) -> str:
    """Return the hash of a secret in two parts, in whichever order they come.

    Each part has 256 random bits of its own: whoever has one, and this hash, knows nothing of the
    other and cannot tell whether the own one is right.
    """
    text = "\n".join(("ringfence break-glass seal", *sorted(parts)))
    return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def token_hash(token: str) -> str:
    """Return `sha256:<hex>` of the token's UTF-8 bytes."""
    return "sha256:" + hashlib.sha256(token.encode()).hexdigest()
