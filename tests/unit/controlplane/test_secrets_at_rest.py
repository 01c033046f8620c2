"""Tokens, their hashes, ids, and the last wall of the logs."""

from __future__ import annotations

import hashlib
import time

import pytest

from controlplane.core.ids import new_id
from controlplane.core.logging import BLANK, redact, redact_text
from controlplane.domains.identity.tokens import MINIMUM_LENGTH, new_token, token_hash


def test_a_token_has_256_random_bits_and_says_what_it_is() -> None:
    tokens = {new_token("rfk") for _ in range(1000)}
    assert len(tokens) == 1000
    assert all(t.startswith("rfk_") and len(t) >= MINIMUM_LENGTH for t in tokens)
    # 43 characters of base64url are 256 bits.
    assert {len(t) for t in tokens} == {4 + 43}


def test_a_token_is_kept_as_the_sha256_of_its_bytes() -> None:
    assert token_hash("rfp_x") == "sha256:" + hashlib.sha256(b"rfp_x").hexdigest()


@pytest.mark.parametrize(
    "secret",
    [
        # Fixed, not made here: every test process must collect the same cases.
        "rfp_" + "A1b2C3d4" * 5,
        "rfe_" + "Z9y8X7w6" * 5,
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "Bearer abcdefghijklmnop",
        "k8s-aws-v1.aHR0cHM6Ly9zdHM",
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2Vw\n-----END PRIVATE KEY-----",
        "X-Amz-Signature=0123456789abcdef",
        "X-Amz-Security-Token=IQoJb3JpZ2luX2VjEA",
    ],
)
def test_what_looks_like_a_secret_is_blanked_wherever_it_stands(secret: str) -> None:
    shown = redact_text(f"failed with {secret} at last")
    assert secret not in shown
    assert BLANK in shown
    assert redact({"event": ["x", {"note": secret}]}) == {"event": ["x", {"note": BLANK}]}


def test_a_password_in_an_address_is_blanked_and_the_host_stays() -> None:
    shown = redact_text("cannot connect to postgresql://ringfence_api:hunter2@127.0.0.1:5432/db")
    assert "hunter2" not in shown
    assert "127.0.0.1:5432/db" in shown


def test_values_under_secret_names_are_blanked_whatever_they_are() -> None:
    event = {"token": "short", "Authorization": "x", "db_password": "y", "api_key": "z", "n": 1}
    assert redact(event) == {
        "token": BLANK,
        "Authorization": BLANK,
        "db_password": BLANK,
        "api_key": BLANK,
        "n": 1,
    }


def test_ids_are_version_7_and_grow_with_time() -> None:
    first = new_id()
    time.sleep(0.002)
    second = new_id()
    assert first.version == second.version == 7
    assert first.variant == "specified in RFC 4122"
    assert first < second
