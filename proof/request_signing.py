"""Requests signed by an agent's own key.

The agent signs, the control plane's agent routes verify. One header carries agent, time and
signature over method, path with query, and body, so that a request cannot be replayed later or
against another route, and no bearer secret crosses the border after enrolment.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

HEADER = "Ringfence-Agent"
MAX_SKEW = timedelta(minutes=5)


class RequestSignatureError(ValueError):
    """The header is missing, malformed, too old, or does not fit the request."""


@dataclass(frozen=True)
class SignedHeader:
    """The parsed header: who claims to have signed, when, and the signature."""

    agent_id: UUID
    signed_at: datetime
    signature: bytes


def _message(agent_id: UUID, stamp: str, method: str, target: str, body: bytes) -> bytes:
    body_hash = hashlib.sha256(body).hexdigest()
    return "\n".join(
        ["ringfence-agent-v1", str(agent_id), stamp, method.upper(), target, body_hash]
    ).encode()


def sign_request(
    key: Ed25519PrivateKey, agent_id: UUID, method: str, target: str, body: bytes, now: datetime
) -> str:
    """Return the header's value; `target` is path and query as sent."""
    stamp = now.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    signature = key.sign(_message(agent_id, stamp, method, target, body))
    return f"v1 {agent_id} {stamp} {base64.b64encode(signature).decode()}"


def parse_header(value: str) -> SignedHeader:
    """Split the header's value. Raises: RequestSignatureError."""
    parts = value.split(" ")
    if len(parts) != 4 or parts[0] != "v1":
        raise RequestSignatureError(f"the {HEADER} header must be: v1 <agent> <time> <signature>")
    try:
        stamp = datetime.strptime(parts[2], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
        return SignedHeader(UUID(parts[1]), stamp, base64.b64decode(parts[3], validate=True))
    except (ValueError, binascii.Error) as error:
        raise RequestSignatureError(f"the {HEADER} header is malformed") from error


def verify_request(
    key: Ed25519PublicKey,
    header: SignedHeader,
    method: str,
    target: str,
    body: bytes,
    now: datetime,
) -> None:
    """Check the signature and its age. Raises: RequestSignatureError."""
    if abs(now - header.signed_at) > MAX_SKEW:
        raise RequestSignatureError("the request was signed more than five minutes from now")
    stamp = header.signed_at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    try:
        key.verify(header.signature, _message(header.agent_id, stamp, method, target, body))
    except InvalidSignature as error:
        raise RequestSignatureError("the signature does not fit this request") from error
