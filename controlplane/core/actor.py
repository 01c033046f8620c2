"""Who acts and why: the context that travels first through every service.

Made at an edge (HTTP authentication, worker, scheduler) and never changed below it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from controlplane.core.db import Scope

ActorKind = Literal["human", "service", "break-glass", "agent", "system", "anonymous"]


@dataclass(frozen=True)
class Restriction:
    """What an API token narrows its holder to; a field that is None narrows nothing."""

    token_id: UUID
    organization_id: UUID | None = None
    boundary_id: UUID | None = None
    roles: frozenset[str] | None = None

    def narrows(self) -> bool:
        """Tell whether the token can do less than its holder."""
        return self.organization_id is not None or self.roles is not None


@dataclass(frozen=True)
class Actor:
    """One identity: a person or service by (issuer, subject), an agent by its key."""

    principal_id: UUID | None
    issuer: str
    subject: str
    kind: ActorKind
    organization_id: UUID | None
    """The organization whose identity provider vouches for the actor; None for the vendor's."""
    display: str
    person_key: str | None = None
    """A claim by which two identities are one person (for example the employee number)."""
    restriction: Restriction | None = None
    """Of the API token that was presented; None for a session and inside the control plane."""

    def is_same_person(self, issuer: str, subject: str, person_key: str | None) -> bool:
        """Tell whether another identity is this person: the same, or one with the same key."""
        if (issuer, subject) == (self.issuer, self.subject):
            return True
        return person_key is not None and person_key == self.person_key


def system_actor(process: str) -> Actor:
    """Return the actor for work nobody asked for (reaper, scan), named by its process."""
    return Actor(None, "ringfence", process, "system", None, process)


@dataclass(frozen=True)
class OpContext:
    """Who does it, in which request, and which rows that may touch."""

    actor: Actor
    request_id: str
    scope: Scope
    roles: frozenset[str] = frozenset()

    def narrowed(self, organization_id: UUID, boundary_id: UUID) -> OpContext:
        """Return the same context for one boundary."""
        return replace(self, scope=Scope(organization_id, frozenset({boundary_id})))
