"""Verify an ID token: signature, who signed, for whom, when, and for which sign-in.

Pure but for the key look-up that is passed in; called by `client`. Every refusal carries a stable
reason for the audit and nothing of the token.
Source: OpenID Connect Core 1.0, sections 3.1.3.7 and 2; RFC 8725 (best practices for tokens).
"""

from __future__ import annotations

import base64
import hmac
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from joserfc import jwt
from joserfc.errors import JoseError

from controlplane.adapters.oidc.discovery import PublicKey

KEY_TYPES: Final[dict[str, str]] = {
    "RS256": "RSA",
    "RS384": "RSA",
    "RS512": "RSA",
    "PS256": "RSA",
    "PS384": "RSA",
    "PS512": "RSA",
    "ES256": "EC",
    "ES384": "EC",
    "ES512": "EC",
    "Ed25519": "OKP",
}
"""The algorithms that are taken, each with its kind of key: no `none`, nothing symmetric, and not
`EdDSA`, which leaves the curve open (RFC 9864)."""
LEEWAY = timedelta(seconds=30)
"""How far the provider's clock may be from ours."""
LONGEST_TOKEN = 32_000


class TokenRefusedError(Exception):
    """An answer of the provider or a token is not believed; `reason` is stable and public."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Expected:
    """What a token must say to count for one sign-in."""

    issuer: str
    audience: str
    nonce: str | None
    """None only where the flow has none; the token is then taken once and while it is fresh."""
    issued_after: datetime
    """No older token counts: it was made for another sign-in."""


KeyFinder = Callable[[str | None], PublicKey | None]


def verify_id_token(
    token: str, find_key: KeyFinder, expected: Expected, at: datetime
) -> dict[str, Any]:
    """Return the claims of a token that counts. Raises: TokenRefusedError."""
    header = _header(token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in KEY_TYPES:
        raise TokenRefusedError("algorithm")
    if "crit" in header:
        raise TokenRefusedError("critical-header")
    key_id = header.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise TokenRefusedError("malformed")
    key = find_key(key_id)
    if key is None:
        raise TokenRefusedError("unknown-key")
    if key.key_type != KEY_TYPES[algorithm] or key.get("alg") not in (None, algorithm):
        raise TokenRefusedError("algorithm")
    try:
        claims = jwt.decode(token, key, algorithms=[algorithm]).claims
    except (JoseError, ValueError, TypeError) as error:
        raise TokenRefusedError("signature") from error
    _check_parties(claims, expected)
    _check_times(claims, expected, at)
    if expected.nonce is not None:
        nonce = claims.get("nonce")
        if not isinstance(nonce, str) or not hmac.compare_digest(
            nonce.encode(), expected.nonce.encode()
        ):
            raise TokenRefusedError("nonce")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 1 <= len(subject) <= 255:
        raise TokenRefusedError("subject")
    return dict(claims)


def _header(token: str) -> dict[str, Any]:
    parts = token.split(".")
    if len(token) > LONGEST_TOKEN or len(parts) != 3:
        raise TokenRefusedError("malformed")
    try:
        header = json.loads(base64.urlsafe_b64decode(parts[0] + "=" * (-len(parts[0]) % 4)))
    except (ValueError, RecursionError) as error:
        raise TokenRefusedError("malformed") from error
    if not isinstance(header, dict):
        raise TokenRefusedError("malformed")
    return header


def _check_parties(claims: dict[str, Any], expected: Expected) -> None:
    if claims.get("iss") != expected.issuer:
        raise TokenRefusedError("issuer")
    audience = claims.get("aud")
    # Further audiences are parties that we do not trust (Core 3.1.3.7, point 3).
    if audience != expected.audience and audience != [expected.audience]:
        raise TokenRefusedError("audience")
    if claims.get("azp", expected.audience) != expected.audience:
        raise TokenRefusedError("authorized-party")


def _check_times(claims: dict[str, Any], expected: Expected, at: datetime) -> None:
    expires, issued = _moment(claims, "exp"), _moment(claims, "iat")
    if expires is None or issued is None:
        raise TokenRefusedError("times-missing")
    if at >= expires + LEEWAY:
        raise TokenRefusedError("expired")
    begins = _moment(claims, "nbf") or issued
    if max(issued, begins) > at + LEEWAY:
        raise TokenRefusedError("from-the-future")
    if issued < expected.issued_after - LEEWAY:
        raise TokenRefusedError("stale")


def _moment(claims: dict[str, Any], name: str) -> datetime | None:
    """Return a claim as a moment, None when it is absent. Raises: TokenRefusedError."""
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TokenRefusedError("malformed")
    try:
        return datetime.fromtimestamp(value, UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise TokenRefusedError("malformed") from error
