"""Clients of many accounts come from one maker, and each signs with its own caller's keys only."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from controlplane.adapters.aws import sessions
from controlplane.adapters.aws.sessions import Credentials, client


def signed_by(number: int) -> str:
    """Make a client of one caller and return a URL that it signed."""
    keys = Credentials(f"ASIA{number:08d}", "secret", f"token-{number}")
    sts = client("sts", keys, region="eu-central-1", endpoint_url="http://127.0.0.1:1")
    return str(sts.generate_presigned_url("get_caller_identity"))


def test_clients_made_side_by_side_sign_with_their_own_keys(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    with ThreadPoolExecutor(8) as pool:
        urls = list(pool.map(signed_by, range(64)))
    for number, url in enumerate(urls):
        assert (
            f"X-Amz-Credential=ASIA{number:08d}%2F" in url
            or f"AWSAccessKeyId=ASIA{number:08d}" in url
        )
        assert f"token-{number}" in url
        assert "AMBIENT" not in url


def test_the_maker_of_clients_keeps_no_keys() -> None:
    signed_by(1)
    assert "ASIA" not in repr(vars(sessions._sealed_session()))


def test_a_caller_without_keys_gets_none_of_the_machines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AMBIENT")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "ambient")
    sts = client(
        "sts", Credentials("", ""), region="eu-central-1", endpoint_url="http://127.0.0.1:1"
    )
    assert "AMBIENT" not in str(sts.generate_presigned_url("get_caller_identity"))
