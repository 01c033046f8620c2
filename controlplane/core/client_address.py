"""Where a request comes from: the peer, or what a proxy that the operator trusts says of it.

Used by the routes that anybody may call, to bound and to record by address. Separate because a
header that anybody can send decides here only when the operator has named the proxy.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from starlette.requests import Request

Network = IPv4Network | IPv6Network
IPV6_SITE = 64
"""Bits of an IPv6 address that one customer of a provider has at least: within them, whoever has
one address has all of them (RFC 6177)."""
UNKNOWN = "unknown"


@dataclass(frozen=True)
class TrustedProxies:
    """The networks of the operator's own proxies; empty for none."""

    networks: tuple[Network, ...] = ()

    def origin(self, peer: str, forwarded: Sequence[str]) -> str:
        """Return the nearest address that is not a trusted proxy's.

        `forwarded` is what `X-Forwarded-For` lists, nearest hop last. A hop that is no address ends
        the walk: then the proxy before it is the nearest that is known.
        """
        nearest, hops = peer, list(forwarded)
        while hops and self._trusts(nearest):
            hop = hops.pop().strip()
            if _address(hop) is None:
                break
            nearest = hop
        return nearest

    def _trusts(self, value: str) -> bool:
        address = _address(value)
        return address is not None and any(address in network for network in self.networks)


def client_address(request: Request) -> str:
    """Return whose request this is: an IPv4 address, or the /64 of an IPv6 address."""
    trusted: TrustedProxies = request.app.state.trusted_proxies
    peer = request.client.host if request.client else UNKNOWN
    forwarded = _split(request.headers.getlist("x-forwarded-for"))
    return site_of(trusted.origin(peer, forwarded))


def site_of(value: str) -> str:
    """Return an address as it is counted; text that is no address as it is."""
    address = _address(value)
    if isinstance(address, IPv6Address):
        return str(ip_network((address, IPV6_SITE), strict=False))
    return value if address is None else str(address)


def _split(headers: Iterable[str]) -> list[str]:
    return [hop for header in headers for hop in header.split(",")]


def _address(value: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(value)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
