"""What is pinned about a provider, and what the provider says of itself.

Used by the other modules of this folder and by the identity domain. Separate because the pins come
from an administrator and the metadata from the network: the second never overrules the first.
Source: OpenID Connect Discovery 1.0, sections 3 and 4.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

WELL_KNOWN = "/.well-known/openid-configuration"


class ProviderError(Exception):
    """The provider did not answer, or not as the standard says; nothing was believed."""


@dataclass(frozen=True)
class ProviderPins:
    """What an administrator fixed about one provider."""

    issuer: str
    """Compared character by character with metadata and tokens."""
    client_id: str
    """The control plane's own client; it authenticates with its key, so there is no secret."""
    cli_client_id: str | None = None
    """The public client of the command line; None where nobody signs in from there."""
    metadata_url: str | None = None
    """Where the metadata is fetched; None is the issuer's well-known address."""
    groups_claim: str | None = None
    person_key_claim: str | None = None
    """The claim that is one value for one person, whatever identity is used."""
    display_claim: str = "name"
    scopes: tuple[str, ...] = ("openid",)

    def address(self) -> str:
        """Return where the metadata is fetched."""
        return self.metadata_url or self.issuer.rstrip("/") + WELL_KNOWN


@dataclass(frozen=True)
class ProviderMetadata:
    """The addresses of a provider, checked."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    device_authorization_endpoint: str | None
    end_session_endpoint: str | None
    names_itself: bool
    """True when every authorization response carries `iss` (RFC 9207)."""


def is_loopback(url: str) -> bool:
    """Tell whether an address is this machine by number; a name could be made to point here."""
    try:
        return ipaddress.ip_address(urlsplit(url).hostname or "").is_loopback
    except ValueError:
        return False


def require_safe(url: str, *, loopback: bool, what: str) -> str:
    """Return an address that is https, or http on loopback where allowed. Raises: ProviderError."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname and not parts.username:
        return url
    if loopback and parts.scheme == "http" and is_loopback(url) and not parts.username:
        return url
    raise ProviderError(f"{what} is not an https address")


def parse_metadata(document: Any, pins: ProviderPins) -> ProviderMetadata:
    """Return the metadata of the pinned issuer. Raises: ProviderError."""
    if not isinstance(document, dict):
        raise ProviderError("the metadata is not an object")
    if document.get("issuer") != pins.issuer:
        raise ProviderError("the metadata names another issuer than the pinned one")
    # Only the operator can name an address without TLS, and only on this machine.
    loopback = pins.address().startswith("http://")

    def address(name: str) -> str:
        return require_safe(str(document.get(name) or ""), loopback=loopback, what=name)

    def optional(name: str) -> str | None:
        return address(name) if document.get(name) else None

    return ProviderMetadata(
        issuer=pins.issuer,
        authorization_endpoint=address("authorization_endpoint"),
        token_endpoint=address("token_endpoint"),
        jwks_uri=address("jwks_uri"),
        device_authorization_endpoint=optional("device_authorization_endpoint"),
        end_session_endpoint=optional("end_session_endpoint"),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
    )
