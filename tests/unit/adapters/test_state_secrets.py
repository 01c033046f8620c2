"""Handing an engine's state to another passphrase; the real engine is asked in the integration."""

import json
import re
from typing import Any

import pytest

from controlplane.adapters.pulumi.secrets import (
    SECRET_SIGNATURE,
    SIGNATURE_KEY,
    Crypter,
    WrongPassphraseError,
    reencrypt,
)
from controlplane.core.errors import ConflictError

OURS, THEIRS, SALT = b"ours-and-ours-only", b"theirs", b"saltsalt"
PLAIN = '"canary-of-the-customer-7d1e"'


def secret(text: str) -> dict[str, str]:
    return {SIGNATURE_KEY: SECRET_SIGNATURE, "ciphertext": text}


@pytest.fixture(scope="module")
def old() -> Crypter:
    return Crypter(OURS, b"12345678")


@pytest.fixture(scope="module")
def deployment(old: Crypter) -> dict[str, Any]:
    return {
        "manifest": {"version": "v3.255.0"},
        "secrets_providers": {"type": "passphrase", "state": {"salt": old.salt_text()}},
        "resources": [
            {
                "urn": "urn:a",
                "outputs": {
                    "plain": 1,
                    "password": secret(old.encrypt(PLAIN.encode(), "a")),
                    "nested": [{"again": secret(old.encrypt(PLAIN.encode(), "b"))}],
                },
            }
        ],
    }


@pytest.fixture(scope="module")
def moved(deployment: dict[str, Any]) -> Any:
    return reencrypt(deployment, OURS, THEIRS, SALT)


def ciphertexts(document: Any) -> list[str]:
    return re.findall(r'"ciphertext": "([^"]+)"', json.dumps(document))


def test_every_secret_opens_with_the_customers_passphrase(moved: Any) -> None:
    crypter = Crypter.of_state(THEIRS, moved["secrets_providers"]["state"]["salt"])
    found = ciphertexts(moved)
    assert len(found) == 2
    assert {crypter.decrypt(text) for text in found} == {PLAIN.encode()}


def test_nothing_in_it_opens_with_our_passphrase(moved: Any, old: Crypter) -> None:
    with pytest.raises(WrongPassphraseError):
        Crypter.of_state(OURS, moved["secrets_providers"]["state"]["salt"])
    for text in ciphertexts(moved):
        with pytest.raises(WrongPassphraseError):
            old.decrypt(text)


def test_no_text_of_the_old_state_that_our_passphrase_made_is_left(
    deployment: dict[str, Any], moved: Any
) -> None:
    text = json.dumps(moved)
    assert deployment["secrets_providers"]["state"]["salt"] not in text
    assert not any(cipher in text for cipher in ciphertexts(deployment))


def test_what_is_no_secret_stays_as_it_was(deployment: dict[str, Any], moved: Any) -> None:
    assert moved["manifest"] == deployment["manifest"]
    assert moved["resources"][0]["outputs"]["plain"] == 1


def test_the_same_state_gives_the_same_bytes_again(deployment: dict[str, Any], moved: Any) -> None:
    assert reencrypt(deployment, OURS, THEIRS, SALT) == moved


def test_a_wrong_passphrase_of_ours_is_refused(deployment: dict[str, Any]) -> None:
    with pytest.raises(WrongPassphraseError, match="not encrypted under the passphrase"):
        reencrypt(deployment, b"another", THEIRS, SALT)


def test_secrets_of_another_provider_are_refused(deployment: dict[str, Any]) -> None:
    other = {**deployment, "secrets_providers": {"type": "awskms"}}
    with pytest.raises(ConflictError, match="awskms"):
        reencrypt(other, OURS, THEIRS, SALT)
