"""The token webhook of EKS: a presigned GetCallerIdentity says who calls the API server.

The cluster's API server posts a TokenReview; the checks are those of access.md section 3. A token
opens the door only where an access entry names the role that signed it, and that very role still
lives (a new role of the same name does not count).
"""

from __future__ import annotations

import base64
import binascii
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from sandbox.aws.clock import Clock
from sandbox.aws.gate import role_lives
from sandbox.aws.keys import ExpiredSessionError, KeyStore, UnknownKeyError
from sandbox.aws.messages import Caller, Request
from sandbox.aws.sigv4 import SignatureError, check_signature, read_signature

PREFIX, LIMIT = "k8s-aws-v1.", 4096
MAX_EXPIRES, LIFETIME = 900, timedelta(minutes=15)
_ALLOWED = {
    "action", "version", "x-amz-algorithm", "x-amz-credential", "x-amz-date", "x-amz-expires",
    "x-amz-security-token", "x-amz-signature", "x-amz-signedheaders",
}  # fmt: skip
_SIGNED = {"host", "x-k8s-aws-id"}


class TokenRefusedError(ValueError):
    """The token does not open this cluster; the text says why and holds nothing of the token."""


@dataclass(frozen=True)
class TokenRules:
    """What a token is checked against."""

    cluster: str
    hosts: frozenset[str]
    region: str


def caller_of(token: str, rules: TokenRules, keys: KeyStore, clock: Clock) -> Caller:
    """Find who made a token. Raises TokenRefusedError."""
    url = _decoded(token)
    pairs = _checked_query(url.query)
    if url.scheme not in ("http", "https") or url.netloc not in rules.hosts:
        raise TokenRefusedError("the token is for another host")
    if url.path != "/":
        raise TokenRefusedError("the path must be /")
    values = {name.lower(): value for name, value in pairs}
    if values.get("action") != "GetCallerIdentity":
        raise TokenRefusedError("the action must be GetCallerIdentity")
    expires = values.get("x-amz-expires", "")
    if not expires.isdigit() or not 0 < int(expires) <= MAX_EXPIRES:
        raise TokenRefusedError("X-Amz-Expires must be 1 to 900 seconds")
    headers = {"host": url.netloc, "x-k8s-aws-id": rules.cluster}
    request = Request("GET", f"/?{url.query}", headers, b"", "")
    return _signer(request, rules, keys, clock)


def _decoded(token: str) -> Any:
    """Undo prefix and base64 and parse the URL."""
    if len(token) > LIMIT:
        raise TokenRefusedError(f"the token is longer than {LIMIT}")
    if not token.startswith(PREFIX):
        raise TokenRefusedError(f"the token does not begin with {PREFIX}")
    text = token.removeprefix(PREFIX)
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        return urlsplit(raw.decode())
    except (binascii.Error, UnicodeDecodeError, ValueError) as exc:
        raise TokenRefusedError("the token is not base64 of a URL") from exc


def _checked_query(query: str) -> list[tuple[str, str]]:
    """Refuse unknown and repeated parameters."""
    pairs = parse_qsl(query, keep_blank_values=True)
    names = [name.lower() for name, _ in pairs]
    unknown = set(names) - _ALLOWED
    if unknown:
        raise TokenRefusedError(f"parameter {sorted(unknown)[0]} is not allowed")
    if len(names) != len(set(names)):
        raise TokenRefusedError("a parameter appears twice")
    return pairs


def _signer(request: Request, rules: TokenRules, keys: KeyStore, clock: Clock) -> Caller:
    """Verify the signature with the cluster's name in it."""
    try:
        signature = read_signature(request)
        if signature is None:
            raise TokenRefusedError("the token is not signed")
        if signature.service != "sts" or signature.region != rules.region:
            raise TokenRefusedError("the token must be signed for sts in the cluster's region")
        if set(signature.signed_headers) != _SIGNED:
            raise TokenRefusedError("host and x-k8s-aws-id must be signed, and nothing else")
        if datetime.now(UTC) > signature.signed_at() + LIFETIME:
            raise TokenRefusedError("the token is older than 15 minutes")
        secret, caller = keys.resolve(signature.access_key, signature.token, clock.now())
        check_signature(request, signature, secret, datetime.now(UTC), enforce_expiry=False)
    except SignatureError as exc:
        raise TokenRefusedError(str(exc)) from exc
    except UnknownKeyError as exc:
        raise TokenRefusedError("the access key is unknown") from exc
    except ExpiredSessionError as exc:
        raise TokenRefusedError("the session has expired") from exc
    if not role_lives(caller):
        raise TokenRefusedError("the role of the session no longer exists")
    return caller


def review(entry: dict[str, Any] | None, caller: Caller) -> dict[str, Any]:
    """Map a caller to user and groups by its access entry. Raises TokenRefusedError."""
    unique = caller.user_id.partition(":")[0]
    if entry is None or entry["principal_id"] != unique:
        raise TokenRefusedError(f"no access entry for {caller.role_arn or caller.arn}")
    name = str(entry["username"]).replace("{{SessionName}}", caller.session_name.replace("@", "-"))
    groups = [*entry["kubernetesGroups"], *(policy_group(one) for one in entry["policies"])]
    return {
        "username": name,
        "uid": f"aws-iam-authenticator:{caller.account}:{unique}",
        "groups": groups,
        "extra": {
            "arn": [caller.role_arn or caller.arn],
            "canonicalArn": [caller.role_arn or caller.arn],
            "sessionName": [caller.session_name],
            "principalId": [unique],
        },
    }


def policy_group(policy_arn: str) -> str:
    """Name the group that stands for an EKS access policy; it is bound when a cluster starts."""
    return f"eks:access-policy:{policy_arn.rpartition('/')[2]}"


def answer(user: dict[str, Any] | None, why: str = "") -> bytes:
    """Write a TokenReview's answer."""
    status: dict[str, Any] = {"authenticated": user is not None}
    if user is not None:
        status["user"] = user
    else:
        status["error"] = why
    return json.dumps(
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status}
    ).encode()
