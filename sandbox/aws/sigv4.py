"""Signature Version 4: read it from header or query, recompute it, compare.

Used by the gate for every call and by the token webhook of the clusters. Written from AWS's
specification rather than on a client's signer, so that a fault there is not repeated here.
Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html
"""

from __future__ import annotations

import hashlib
import hmac
import posixpath
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, unquote, unquote_plus

from sandbox.aws.messages import Request

ALGORITHM = "AWS4-HMAC-SHA256"
MAX_SKEW = timedelta(minutes=15)
EMPTY_SHA256 = hashlib.sha256(b"").hexdigest()
_AUTHORIZATION = re.compile(
    r"^AWS4-HMAC-SHA256\s+Credential=([^,\s]+),\s*SignedHeaders=([^,\s]+),\s*Signature=([0-9a-f]{64})$"
)
_UNHASHED_PREFIXES = ("UNSIGNED-PAYLOAD", "STREAMING-")


class SignatureError(ValueError):
    """The request is not signed as it must be; `kind` is unsigned, bad-signature or expired."""

    def __init__(self, kind: str, message: str) -> None:
        """Keep the meaning beside the message."""
        super().__init__(message)
        self.kind = kind


@dataclass(frozen=True)
class Signature:
    """What a request says about its signature."""

    access_key: str
    date: str
    region: str
    service: str
    signed_headers: tuple[str, ...]
    signature: str
    timestamp: str
    token: str
    presigned: bool
    expires: int = 0

    @property
    def scope(self) -> str:
        """Give the credential scope."""
        return f"{self.date}/{self.region}/{self.service}/aws4_request"

    def signed_at(self) -> datetime:
        """Give the instant of signing. Raises SignatureError where it is malformed."""
        try:
            return datetime.strptime(self.timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        except ValueError as exc:
            raise SignatureError("bad-signature", "X-Amz-Date is not YYYYMMDD'T'HHMMSS'Z'") from exc


def read_signature(request: Request) -> Signature | None:
    """Find the signature of a request; None where it has none.

    Raises SignatureError where one is there but malformed.
    """
    header = request.headers.get("authorization")
    if header is not None:
        found = _AUTHORIZATION.match(header)
        if not found:
            raise SignatureError("bad-signature", "Authorization header is not AWS4-HMAC-SHA256")
        key, region, service, date = _scope(found.group(1))
        return Signature(
            key, date, region, service, tuple(found.group(2).split(";")), found.group(3),
            request.headers.get("x-amz-date", ""), request.headers.get("x-amz-security-token", ""),
            presigned=False,
        )  # fmt: skip
    query = dict(request.query())
    if query.get("X-Amz-Algorithm") != ALGORITHM:
        return None
    key, region, service, date = _scope(query.get("X-Amz-Credential", ""))
    expires = query.get("X-Amz-Expires", "")
    if not expires.isdigit() or not 0 < int(expires) <= 604800:
        raise SignatureError("bad-signature", "X-Amz-Expires must be 1 to 604800 seconds")
    return Signature(
        key, date, region, service, tuple(query.get("X-Amz-SignedHeaders", "").split(";")),
        query.get("X-Amz-Signature", ""), query.get("X-Amz-Date", ""),
        query.get("X-Amz-Security-Token", ""), presigned=True, expires=int(expires),
    )  # fmt: skip


def _scope(credential: str) -> tuple[str, str, str, str]:
    """Split a credential into key, region, service and date."""
    parts = credential.split("/")
    if len(parts) != 5 or parts[4] != "aws4_request":
        raise SignatureError(
            "bad-signature", "Credential must be key/date/region/service/aws4_request"
        )
    return parts[0], parts[2], parts[3], parts[1]


def check_signature(
    request: Request,
    signature: Signature,
    secret: str,
    now: datetime,
    *,
    enforce_expiry: bool = True,
) -> None:
    """Recompute the signature and compare it, and its time. Raises SignatureError.

    EKS accepts a token for 15 minutes whatever its X-Amz-Expires says: it checks the time itself
    and passes `enforce_expiry=False`.
    """
    signed_at = signature.signed_at()
    if signature.timestamp[:8] != signature.date:
        raise SignatureError(
            "bad-signature", "the date of the credential is not that of X-Amz-Date"
        )
    if signature.presigned:
        if enforce_expiry and now > signed_at + timedelta(seconds=signature.expires):
            raise SignatureError("expired", "Request has expired")
        if signed_at > now + MAX_SKEW:
            raise SignatureError("bad-signature", "Signature not yet current")
    elif abs(now - signed_at) > MAX_SKEW:
        raise SignatureError("bad-signature", "Signature expired: X-Amz-Date is off by over 15 min")
    if "host" not in signature.signed_headers:
        raise SignatureError("bad-signature", "the Host header must be signed")
    unsigned_token = "x-amz-security-token" not in signature.signed_headers
    if signature.token and not signature.presigned and unsigned_token:
        raise SignatureError("bad-signature", "the session token must be signed")
    expected = compute_signature(request, signature, secret)
    if not hmac.compare_digest(expected, signature.signature):
        raise SignatureError(
            "bad-signature",
            "The request signature we calculated does not match the signature you provided. "
            "Check your AWS Secret Access Key and signing method.",
        )


def compute_signature(request: Request, signature: Signature, secret: str) -> str:
    """Compute the signature that the request should carry."""
    canonical = "\n".join(
        [
            request.method,
            _canonical_path(request, signature.service),
            _canonical_query(request),
            _canonical_headers(request, signature),
            ";".join(signature.signed_headers),
            _payload_hash(request, signature),
        ]
    )
    text = "\n".join(
        [
            ALGORITHM,
            signature.timestamp,
            signature.scope,
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{secret}".encode()
    for part in (signature.date, signature.region, signature.service, "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()


def _canonical_path(request: Request, service: str) -> str:
    """Encode the path: once for S3, normalised and encoded twice for the others."""
    if service == "s3":
        return quote(unquote(request.raw_path), safe="/~-_.")
    normal = posixpath.normpath(request.raw_path)
    normal = "/" + normal.lstrip("/")
    if request.raw_path.endswith("/") and not normal.endswith("/"):
        normal += "/"
    return quote(normal, safe="/~-_.")


def _canonical_query(request: Request) -> str:
    """Sort and encode the query, without the signature itself."""
    pairs: list[tuple[str, str]] = []
    for part in request.raw_query.split("&"):
        if not part:
            continue
        name, _, value = part.partition("=")
        if name != "X-Amz-Signature":
            pairs.append((_encoded(name), _encoded(value)))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs))


def _encoded(text: str) -> str:
    """Decode what the client encoded and encode it AWS's way."""
    return quote(unquote_plus(text), safe="~-_.")


def _canonical_headers(request: Request, signature: Signature) -> str:
    """List the signed headers with their values; raises SignatureError where one is missing."""
    lines = []
    for name in signature.signed_headers:
        if name not in request.headers:
            raise SignatureError("bad-signature", f"signed header {name!r} is not in the request")
        lines.append(f"{name}:{' '.join(request.headers[name].split())}\n")
    return "".join(lines)


def _payload_hash(request: Request, signature: Signature) -> str:
    """Give the payload hash; a stated hash must be that of the body."""
    if signature.presigned:
        return "UNSIGNED-PAYLOAD" if signature.service == "s3" else _sha256(request.body)
    stated = request.headers.get("x-amz-content-sha256")
    if stated is None:
        return _sha256(request.body)
    if signature.service == "s3" and stated.startswith(_UNHASHED_PREFIXES):
        return stated
    if stated != _sha256(request.body):
        raise SignatureError("bad-signature", "x-amz-content-sha256 is not the hash of the body")
    return stated


def _sha256(body: bytes) -> str:
    """Hash a body."""
    return hashlib.sha256(body).hexdigest()
