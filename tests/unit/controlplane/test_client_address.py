"""Whose request it is: a header decides only as far as the operator's own proxies vouch for it."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from controlplane.core.client_address import TrustedProxies, site_of

PROXIES = TrustedProxies((ip_network("10.0.0.0/8"), ip_network("fd00::/8")))
CASES = {
    "no proxy is configured": (TrustedProxies(), "10.0.0.1", ["203.0.113.9"], "10.0.0.1"),
    "the peer is no proxy": (PROXIES, "198.51.100.7", ["203.0.113.9"], "198.51.100.7"),
    "the proxy names the client": (PROXIES, "10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
    "what the client itself sent is not believed": (
        PROXIES,
        "10.0.0.1",
        ["192.0.2.1", "203.0.113.9"],
        "203.0.113.9",
    ),
    "a second proxy of ours is passed": (
        PROXIES,
        "10.0.0.1",
        ["192.0.2.1", " 203.0.113.9", " 10.0.0.2"],
        "203.0.113.9",
    ),
    "only proxies are listed": (PROXIES, "10.0.0.1", ["10.0.0.2"], "10.0.0.2"),
    "what is no address ends the walk": (
        PROXIES,
        "10.0.0.1",
        ["203.0.113.9", "unknown"],
        "10.0.0.1",
    ),
    "an empty header": (PROXIES, "10.0.0.1", [""], "10.0.0.1"),
    "a proxy by a mapped address": (PROXIES, "::ffff:10.0.0.1", ["203.0.113.9"], "203.0.113.9"),
}


@pytest.mark.parametrize("case", CASES, ids=[name.replace(" ", "-") for name in CASES])
def test_the_nearest_address_that_is_no_proxy_counts(case: str) -> None:
    proxies, peer, forwarded, expected = CASES[case]
    assert proxies.origin(peer, forwarded) == expected


def test_all_addresses_of_one_ipv6_site_count_as_one() -> None:
    assert site_of("2001:db8:1:2::7") == site_of("2001:db8:1:2:ffff::1") == "2001:db8:1:2::/64"
    assert site_of("2001:db8:1:3::7") != site_of("2001:db8:1:2::7")
    assert site_of("::ffff:203.0.113.9") == "203.0.113.9"
    assert site_of("testclient") == "testclient"
