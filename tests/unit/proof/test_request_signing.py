"""A signed request fits one agent, one moment, one route and one body."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from proof.request_signing import (
    RequestSignatureError,
    parse_header,
    sign_request,
    verify_request,
)

KEY = Ed25519PrivateKey.generate()
AGENT = UUID("3b164dd4-aafc-40fd-9b4b-0f25126585b0")
NOW = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
HEADER = sign_request(KEY, AGENT, "POST", "/agent/v1/status?x=1", b"{}", NOW)


def test_the_request_that_was_signed_is_accepted() -> None:
    header = parse_header(HEADER)
    verify_request(KEY.public_key(), header, "POST", "/agent/v1/status?x=1", b"{}", NOW)
    assert header.agent_id == AGENT


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        ("GET", "/agent/v1/status?x=1", b"{}"),
        ("POST", "/agent/v1/status?x=2", b"{}"),
        ("POST", "/agent/v1/status?x=1", b"{ }"),
    ],
)
def test_another_request_is_refused(method: str, target: str, body: bytes) -> None:
    with pytest.raises(RequestSignatureError, match="does not fit"):
        verify_request(KEY.public_key(), parse_header(HEADER), method, target, body, NOW)


@pytest.mark.parametrize("minutes", [-6, 6])
def test_a_request_from_another_time_is_refused(minutes: int) -> None:
    later = NOW + timedelta(minutes=minutes)
    with pytest.raises(RequestSignatureError, match="five minutes"):
        verify_request(
            KEY.public_key(), parse_header(HEADER), "POST", "/agent/v1/status?x=1", b"{}", later
        )


@pytest.mark.parametrize("value", ["", "v1 x", "v2 a b c", f"v1 {AGENT} now zzz"])
def test_a_malformed_header_is_refused(value: str) -> None:
    with pytest.raises(RequestSignatureError):
        parse_header(value)
