"""Whether a sign-in took more than one factor, as far as the provider says how it was done.

Used by reports. Pure. `amr` lists the methods, by the registered names (RFC 8176); `acr` names a
class, of which only those with a published meaning count. What a provider does not say is unknown
and never guessed.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

KNOWLEDGE: Final = frozenset({"pwd", "pin", "kba"})
POSSESSION: Final = frozenset({"otp", "sms", "tel", "hwk", "swk", "sc", "pop"})
INHERENCE: Final = frozenset({"face", "fpt", "iris", "retina", "vbm"})
MULTIPLE: Final = "mfa"
CONTEXTS: Final = frozenset(
    {
        "http://schemas.openid.net/pape/policies/2007/06/multi-factor",
        "phr",  # phishing-resistant: a key that is bound to the site
        "phrh",  # the same, in hardware
    }
)
"""Classes that stand for more than one factor.
Source: OpenID PAPE 1.0; OpenID Connect EAP ACR Values 1.0."""
UNKNOWN: Final = "unknown"


def second_factor(methods: Collection[str], context: str | None) -> str:
    """Return `yes (<what it was>)`, `no`, or `unknown` where the provider does not say."""
    used = set(methods)
    kinds = sum(bool(used & kind) for kind in (KNOWLEDGE, POSSESSION, INHERENCE))
    if MULTIPLE in used or kinds > 1:
        shown = sorted(used & (POSSESSION | INHERENCE)) or [MULTIPLE]
        return f"yes ({', '.join(shown)})"
    if context in CONTEXTS:
        return f"yes ({context})"
    # Names that are not registered may stand for anything.
    return "no" if kinds == 1 and not used - KNOWLEDGE - POSSESSION - INHERENCE else UNKNOWN
