"""A chain as it is named: `platform`, `organization/<name>`, `boundary/<name>`.

Used by the routes, the export and the signing task, so that a chain has one name everywhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from controlplane.core.audit import PLATFORM_CHAIN
from controlplane.core.db import Scope

PLATFORM = "platform"


@dataclass(frozen=True)
class Chain:
    """One chain: its name and the ids under which its rows are found."""

    name: str
    organization_id: UUID | None = None
    boundary_id: UUID | None = None

    @property
    def chain_id(self) -> UUID:
        """Return the boundary's id, else the organization's, else zero."""
        return self.boundary_id or self.organization_id or PLATFORM_CHAIN

    @property
    def scope(self) -> Scope:
        """Return the scope that opens this chain and no other."""
        if self.organization_id is None:
            return Scope.platform()
        boundaries = frozenset({self.boundary_id}) if self.boundary_id else None
        return Scope(self.organization_id, boundaries)

    @property
    def target(self) -> str:
        """Return the chain as an event's target."""
        return f"audit-chain/{self.chain_id}"


def organization_chain(name: str, organization_id: UUID) -> Chain:
    """Return an organization's own chain."""
    return Chain(f"organization/{name}", organization_id)


def boundary_chain(name: str, organization_id: UUID, boundary_id: UUID) -> Chain:
    """Return a boundary's chain."""
    return Chain(f"boundary/{name}", organization_id, boundary_id)
