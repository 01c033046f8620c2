"""Which roles the caller holds where, for answers that differ between boundaries of one list.

Used by routes that list over several boundaries: the authorizer has let the caller in because one
role somewhere suffices; what is shown of each boundary depends on the roles held in that boundary.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.domains.identity import service
from controlplane.domains.identity.principals import HeldRole
from controlplane.domains.identity.route_table import find_rule


@dataclass(frozen=True)
class Reach:
    """The caller's roles in the organization of the transaction."""

    roles: tuple[HeldRole, ...]

    def may(self, method: str, path: str, boundary_id: UUID | None) -> bool:
        """Tell whether the route table lets the caller use a route in this boundary.

        None asks for the whole organization: there a role of one boundary does not count.
        """
        rule = find_rule(method, path)
        if rule is None:
            return False
        return any(
            r.role in rule.roles and r.boundary_id in (None, boundary_id) for r in self.roles
        )


def reach_of(session: Session, ctx: OpContext) -> Reach:
    """Return what the caller holds in the organization of the transaction's scope."""
    held = service.held_roles(session, ctx.actor)
    return Reach(
        tuple(
            r
            for r in held
            if r.organization_id == ctx.scope.organization_id and not r.is_pending_guest
        )
    )
