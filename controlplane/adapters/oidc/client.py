"""The conversation with an identity provider: where to send a browser, and what comes back.

Used by `domains/identity/sign_in`, through the Protocol `SignInClient`. No state is kept here: what
belongs to one sign-in is a row of the domain.
Source: OpenID Connect Core 1.0, 3.1; RFC 7636 (PKCE); RFC 7523 (client authentication).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from authlib.oauth2.rfc6749.parameters import prepare_grant_uri
from authlib.oauth2.rfc7636 import create_s256_code_challenge

from controlplane.adapters.oidc.client_key import ClientKey
from controlplane.adapters.oidc.discovery import ProviderDirectory, call
from controlplane.adapters.oidc.provider import ProviderError, ProviderMetadata, ProviderPins
from controlplane.adapters.oidc.tokens import Expected, TokenRefusedError, verify_id_token

ASSERTION_TYPE = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


class SignInClient(Protocol):
    """What the identity domain needs of OpenID Connect."""

    def metadata(self, pins: ProviderPins) -> ProviderMetadata:
        """Return the provider's addresses. Raises: ProviderError."""

    def authorization_url(
        self, pins: ProviderPins, *, redirect_uri: str, state: str, nonce: str, verifier: str
    ) -> str:
        """Return where the browser goes. Raises: ProviderError."""

    def redeem(self, pins: ProviderPins, *, code: str, verifier: str, redirect_uri: str) -> str:
        """Return the ID token for a code, unverified. Raises: ProviderError, TokenRefusedError."""

    def verify(
        self, pins: ProviderPins, token: str, expected: Expected, at: datetime
    ) -> dict[str, Any]:
        """Return the claims of an ID token. Raises: ProviderError, TokenRefusedError."""

    def sign_out_url(self, pins: ProviderPins, *, return_to: str) -> str | None:
        """Return where the browser ends the provider's session too. Raises: ProviderError."""

    def key_set(self) -> dict[str, Any]:
        """Return the public half of our own key as a key set."""


class OidcClient:
    """The real client."""

    def __init__(self, key: ClientKey, directory: ProviderDirectory) -> None:
        self._key = key
        self._directory = directory

    def metadata(self, pins: ProviderPins) -> ProviderMetadata:
        """Return the provider's addresses. Raises: ProviderError."""
        return self._directory.metadata(pins)

    def authorization_url(
        self, pins: ProviderPins, *, redirect_uri: str, state: str, nonce: str, verifier: str
    ) -> str:
        """Return where the browser goes. Raises: ProviderError."""
        url: str = prepare_grant_uri(
            self.metadata(pins).authorization_endpoint,
            pins.client_id,
            "code",
            redirect_uri=redirect_uri,
            scope=" ".join(pins.scopes),
            state=state,
            nonce=nonce,
            code_challenge=create_s256_code_challenge(verifier),
            code_challenge_method="S256",
        )
        return url

    def redeem(self, pins: ProviderPins, *, code: str, verifier: str, redirect_uri: str) -> str:
        """Return the ID token for a code, unverified. Raises: ProviderError, TokenRefusedError."""
        endpoint = self.metadata(pins).token_endpoint
        status, answer = call(
            endpoint,
            form={
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": verifier,
                "client_id": pins.client_id,
                "client_assertion_type": ASSERTION_TYPE,
                # The issuer is the audience that cannot be confused with another provider's.
                "client_assertion": self._key.assertion(pins.client_id, pins.issuer),
            },
        )
        if status >= 500:
            raise ProviderError(f"the token endpoint answers {status}")
        if status != 200 or not isinstance(answer, dict):
            raise TokenRefusedError("code-refused")
        token = answer.get("id_token")
        if not isinstance(token, str):
            raise TokenRefusedError("no-id-token")
        return token

    def verify(
        self, pins: ProviderPins, token: str, expected: Expected, at: datetime
    ) -> dict[str, Any]:
        """Return the claims of an ID token. Raises: ProviderError, TokenRefusedError."""
        return verify_id_token(
            token, lambda key_id: self._directory.find_key(pins, key_id), expected, at
        )

    def sign_out_url(self, pins: ProviderPins, *, return_to: str) -> str | None:
        """Return where the browser ends the provider's session too. Raises: ProviderError.

        No ID token is kept for a hint; the provider asks the person instead.
        """
        endpoint = self.metadata(pins).end_session_endpoint
        if endpoint is None:
            return None
        query = urlencode({"client_id": pins.client_id, "post_logout_redirect_uri": return_to})
        return f"{endpoint}{'&' if urlsplit(endpoint).query else '?'}{query}"

    def key_set(self) -> dict[str, Any]:
        """Return the public half of our own key as a key set."""
        return self._key.public_document()
