"""The port to a policy engine: one question, one verdict that names what decided.

Implemented by `adapters/cedar.py`; asked by `domains/identity/decision.py`. Separate so that
neither knows the other: the engine knows entities and policies, not what a role is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

Layer = Literal["platform", "organization", "boundary", "environment", "resource", "action"]
LAYERS: tuple[Layer, ...] = (
    "platform",
    "organization",
    "boundary",
    "environment",
    "resource",
    "action",
)
"""From the outermost to the innermost; an inner one can only narrow."""

Entity = dict[str, Any]
"""One entity in Cedar's JSON form: `uid`, `attrs`, `parents`."""

Prepared = Any
"""Entities as the engine has parsed them; opaque, immutable, only for the engine that made them."""


@dataclass(frozen=True)
class Uid:
    """The type and id of an entity."""

    type: str
    id: str

    def json(self) -> dict[str, str]:
        """Return it as entities and requests carry it."""
        return {"type": self.type, "id": self.id}


@dataclass(frozen=True)
class PolicyRequest:
    """May this principal do this action on this resource?"""

    principal: Uid
    action: Uid
    resource: Uid


@dataclass(frozen=True)
class Policy:
    """What a policy says about itself in its annotations."""

    id: str
    effect: Literal["permit", "forbid"]
    layer: Layer
    code: str | None = None
    """Stable error code of a forbid; None where the general one fits."""
    message: str | None = None
    fix: str | None = None


@dataclass(frozen=True)
class Verdict:
    """Allow or deny, and the policies that decided; a deny with none is deny by default."""

    is_allowed: bool
    policies: tuple[Policy, ...]
    """Sorted from the outermost layer inwards, forbids only for a deny."""

    @property
    def layer(self) -> Layer:
        """Return the outermost layer that decided; without a policy, the innermost: action."""
        return self.policies[0].layer if self.policies else "action"


class PolicyEngine(Protocol):
    """Decides by a fixed set of policies."""

    def prepare(self, entities: Sequence[Entity]) -> Prepared:
        """Return entities parsed and held against the schema. Raises: PolicyError."""

    def decide(self, requests: Sequence[PolicyRequest], prepared: Prepared) -> list[Verdict]:
        """Return one verdict per request, in order. Raises: PolicyError."""
