"""How often the public sign-in routes may be called: by one address, and for one provider.

Called by `sign_in`. An address over its bound does not count for the provider, so that one place
cannot use up what all others have. While a provider is over its bound, places from which somebody
signed in lately go on: a flood from many addresses does not lock out the people it is aimed at.
Source: ADR-0029.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from math import ceil

from controlplane.adapters.counters import Counters
from controlplane.core.errors import QuotaError
from controlplane.domains.identity.providers import Provider
from controlplane.domains.identity.sign_in_refusals import Refusals, Visit

WINDOW_SECONDS = 60.0
KNOWN_SECONDS = 30 * 24 * 3600.0
"""How long a place counts as one from which somebody signed in."""
TOO_MANY = "too-many"
"""The reason of such a refusal, as the audit names it."""


@dataclass(frozen=True)
class Allowance:
    """Calls per minute."""

    per_address: int
    per_provider: int


class SignInLimits:
    """Lets a call pass, or refuses it with the seconds until it may be tried again."""

    def __init__(self, counters: Counters, allowance: Allowance, refusals: Refusals) -> None:
        self._counters = counters
        self._allowance = allowance
        self._refusals = refusals

    def take_address(self, visit: Visit) -> None:
        """Count a call of an address. Raises: QuotaError."""
        counted = self._counters.add(_key("address", visit.address), WINDOW_SECONDS)
        if counted.count > self._allowance.per_address:
            self._refusals.count_later(None, TOO_MANY, visit)
            raise _too_many("from this address", counted.seconds_left)

    def take_provider(self, provider: Provider, visit: Visit) -> None:
        """Count a call for a provider. Raises: QuotaError."""
        issuer = provider.pins.issuer
        counted = self._counters.add(_key("provider", issuer), WINDOW_SECONDS)
        if counted.count <= self._allowance.per_provider:
            return
        if self._counters.knows(_key("known", issuer, visit.address)):
            return
        self._refusals.count_later(provider, TOO_MANY, visit)
        raise _too_many("for this organization", counted.seconds_left)

    def remember(self, provider: Provider, visit: Visit) -> None:
        """Keep that somebody signed in from here."""
        self._counters.remember(_key("known", provider.pins.issuer, visit.address), KNOWN_SECONDS)


def _key(kind: str, *parts: str) -> str:
    """Return a counter's name; hashed, so that no address stands in another system."""
    told = "\0".join(parts).encode()
    return f"ringfence:sign-in:{kind}:{hashlib.sha256(told).hexdigest()[:32]}"


def _too_many(where: str, seconds_left: float) -> QuotaError:
    seconds = max(1, ceil(seconds_left))
    return QuotaError(
        f"too many sign-ins {where}",
        code="too-many-sign-ins",
        fix=f"wait {seconds} seconds and try again",
        retry_after=seconds,
    )
