"""What the caller may do in which boundary, for answers that differ between boundaries of one list.

Used by routes that list over several boundaries: the authorizer has let the caller in because one
role somewhere suffices; what is shown of each boundary depends on what may be done in that one. The
same policies decide as for a request, so that nothing is offered which would then be refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.orm import Session

from controlplane.core.actor import OpContext
from controlplane.domains.identity import decision, service
from controlplane.domains.identity.decision import Asker, Place
from controlplane.domains.identity.principals import HeldRole


@dataclass(frozen=True)
class Reach:
    """The caller, in the organization of the transaction."""

    asker: Asker
    organization_id: UUID | None

    def may(self, method: str, path: str, boundary_id: UUID | None) -> bool:
        """Tell whether the policies let the caller use a route of the table in this boundary.

        None asks for the whole organization: there a role of one boundary does not count.
        """
        place = Place(self.organization_id, boundary_id)
        (verdict,) = decision.decide(self.asker, f"{method} {path}", [place])
        return verdict.is_allowed

    @property
    def roles(self) -> tuple[HeldRole, ...]:
        """The roles that count in this organization, at whichever layer."""
        return tuple(
            r
            for r in self.asker.roles
            if r.organization_id == self.organization_id and not r.is_pending_guest
        )


def reach_of(session: Session, ctx: OpContext) -> Reach:
    """Return what the caller may do in the organization of the transaction's scope."""
    held = service.held_roles(session, ctx.actor)
    return Reach(Asker.of(ctx.actor, held), ctx.scope.organization_id)
