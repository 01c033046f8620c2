"""The control plane's own key towards identity providers: its proof of being the client.

Used by `client` and by the route that serves the public half. An identity provider that knows the
public half needs no shared secret, so none is stored (RFC 7523, `private_key_jwt`).
"""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

from authlib.oauth2.rfc7523 import private_key_jwt_sign
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from joserfc.jwk import ECKey, RSAKey

ASSERTION_SECONDS = 60


class ClientKeyError(ValueError):
    """The key's file cannot be used; the message names it and the fix, never its content."""


class ClientKey:
    """A private key with the algorithm that fits it."""

    def __init__(self, key: RSAKey | ECKey, algorithm: str) -> None:
        self._key = key
        self.algorithm = algorithm
        self.key_id = key.thumbprint()

    @classmethod
    def load(cls, path: Path) -> ClientKey:
        """Return the key of a PEM file (RSA or P-256). Raises: ClientKeyError."""
        try:
            is_shared = bool(path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO))
            pem = path.read_bytes()
            key = load_pem_private_key(pem, None)
        except OSError as error:
            raise ClientKeyError(f"cannot read {path}: {error.strerror}") from error
        except (ValueError, TypeError) as error:
            raise ClientKeyError(f"{path} is no private key in PEM without a passphrase") from error
        if is_shared:
            raise ClientKeyError(f"{path} is readable by others; chmod 600 {path}")
        if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
            return cls(RSAKey.import_key(pem), "RS256")
        if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name == "secp256r1":
            return cls(ECKey.import_key(pem), "ES256")
        raise ClientKeyError(f"{path}: use an RSA key of 2048 bits or more, or a P-256 key")

    def assertion(self, client_id: str, audience: str) -> str:
        """Return a signed proof of being `client_id`, for one call of `audience`."""
        signed: str = private_key_jwt_sign(
            self._key,
            client_id,
            audience,
            alg=self.algorithm,
            header={"alg": self.algorithm, "kid": self.key_id},
            expires_in=ASSERTION_SECONDS,
        )
        return signed

    def public_document(self) -> dict[str, Any]:
        """Return the public half as a key set, for the identity provider to fetch."""
        public = self._key.as_dict(private=False)
        return {"keys": [{**public, "kid": self.key_id, "use": "sig", "alg": self.algorithm}]}
