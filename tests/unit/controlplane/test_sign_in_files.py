"""The two files of signing in: what is refused, and that no content is shown."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.adapters.oidc.client_key import ClientKey, ClientKeyError
from controlplane.domains.identity.providers import ProvidersFileError, read_providers

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


def key_file(folder: Path, key: Key, mode: int = 0o600) -> Path:
    """Write a key as PEM."""
    path = folder / "key.pem"
    path.touch(mode=mode)
    path.chmod(mode)
    path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return path


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (rsa.generate_private_key(public_exponent=65537, key_size=2048), "RS256"),
    ],
    ids=["P-256", "RSA"],
)
def test_the_public_half_has_nothing_private(tmp_path: Path, key: Key, algorithm: str) -> None:
    loaded = ClientKey.load(key_file(tmp_path, key))
    (public,) = loaded.public_document()["keys"]
    assert public["alg"] == algorithm
    assert not {"d", "p", "q", "dp", "dq", "qi"} & set(public)
    assert loaded.assertion("client", "https://idp.example").count(".") == 2


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = key_file(tmp_path, ec.generate_private_key(ec.SECP256R1()), 0o640)
    with pytest.raises(ClientKeyError, match="chmod 600"):
        ClientKey.load(path)


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(public_exponent=65537, key_size=1024),
    ],
    ids=["P-384", "Ed25519", "short RSA"],
)
def test_a_key_of_another_kind_is_refused_with_the_kinds_that_are_taken(
    tmp_path: Path, key: Key
) -> None:
    with pytest.raises(ClientKeyError, match="2048 bits or more, or a P-256"):
        ClientKey.load(key_file(tmp_path, key))


def test_a_file_that_is_no_key_is_refused_without_its_content(tmp_path: Path) -> None:
    path = tmp_path / "key.pem"
    path.touch(mode=0o600)
    path.write_text("the-content-of-a-secret-file")
    with pytest.raises(ClientKeyError) as refused:
        ClientKey.load(path)
    assert "the-content" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("[{}]", "0.issuer"),
        ('[{"issuer": "https://x", "client_id": "a", "client_secret": "s"}]', "0.client_secret"),
        ("{", "not JSON"),
    ],
)
def test_a_wrong_providers_file_is_refused_with_the_place(
    tmp_path: Path, text: str, place: str
) -> None:
    path = tmp_path / "providers.json"
    path.write_text(text)
    with pytest.raises(ProvidersFileError, match=place):
        read_providers(path)
