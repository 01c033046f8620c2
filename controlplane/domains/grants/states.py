"""The state machine of an access grant, pure.

requested -> approved -> active -> (expired | revoked | closing | closed), requested -> denied.
Source: access.md 4, decisions 2 and 5.
"""

from __future__ import annotations

from typing import Final

from controlplane.core.errors import ConflictError
from controlplane.tables.access import GrantState as G

ALLOWED: Final[dict[G, frozenset[G]]] = {
    G.REQUESTED: frozenset({G.APPROVED, G.DENIED, G.REVOKED}),
    G.APPROVED: frozenset({G.ACTIVE, G.EXPIRED, G.REVOKED, G.CLOSING, G.CLOSED}),
    G.ACTIVE: frozenset({G.EXPIRED, G.REVOKED, G.CLOSING, G.CLOSED}),
    G.CLOSING: frozenset({G.CLOSED, G.EXPIRED}),
    G.EXPIRED: frozenset({G.CLOSED}),
    G.REVOKED: frozenset({G.CLOSED}),
    G.CLOSED: frozenset(),
    G.DENIED: frozenset(),
}
"""What may follow on each state. An ended grant may still be *proven* closed, never reopened."""


def require(current: str, wanted: G) -> None:
    """Raise ConflictError unless `wanted` may follow on `current`."""
    if wanted not in ALLOWED[G(current)]:
        raise ConflictError(
            f"the grant is {current}; it cannot become {wanted}",
            code="grant-state",
            fix="request a new grant" if current in _ENDED else None,
        )


_ENDED = frozenset({G.EXPIRED, G.REVOKED, G.CLOSED, G.DENIED})
