"""The graph of a run's steps: which may start, which may be undone, in which order. Pure.

Called by `decide` for every move of a run and by the critical path. Separate because these rules
have no input or output beyond their arguments, so that tables can test all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from wire.run_event import StepState

Phase = Literal["work", "close"]
"""`work` steps are undone when the run fails; `close` steps run at the end of every run."""

STARTED: frozenset[StepState] = frozenset({"running", "succeeded", "failed", "unwinding"})
"""States in which a step may have left something behind, so that its undo must run."""
SATISFIED: frozenset[StepState] = frozenset({"succeeded", "skipped"})


class GraphError(ValueError):
    """A definition whose steps repeat, name an unknown step, or form a circle."""


@dataclass(frozen=True)
class Node:
    """One step as the graph sees it; `after` holds the keys that must have succeeded first."""

    key: str
    after: tuple[str, ...] = ()
    phase: Phase = "work"
    max_attempts: int = 3
    """Errors allowed in one direction; counted separately for forward and undo."""
    planning: bool = False
    """True for steps that only read: the run shows `planning` while nothing else runs."""


@dataclass(frozen=True)
class StepGraph:
    """A checked, acyclic graph; `order` is a stable topological order."""

    nodes: Mapping[str, Node]
    order: tuple[str, ...]
    dependents: Mapping[str, frozenset[str]] = field(repr=False)
    keeps: bool = False
    """A run that turns around undoes nothing: what its steps did cannot, or must not, be taken
    back."""

    @classmethod
    def of(cls, nodes: Iterable[Node]) -> StepGraph:
        """Check and order `nodes`. Raises: GraphError naming the step at fault."""
        by_key: dict[str, Node] = {}
        for node in nodes:
            if node.key in by_key:
                raise GraphError(f"step {node.key!r} is defined twice")
            by_key[node.key] = node
        _check_edges(by_key)
        dependents = {
            key: frozenset(other.key for other in by_key.values() if key in other.after)
            for key in by_key
        }
        return cls(by_key, _topological_order(by_key), dependents)

    def keys(self, phase: Phase) -> tuple[str, ...]:
        """Return the keys of one phase in topological order."""
        return tuple(key for key in self.order if self.nodes[key].phase == phase)

    def ready(self, states: Mapping[str, StepState], phases: frozenset[Phase]) -> tuple[str, ...]:
        """Return the pending steps of `phases` whose upstream steps of `phases` are satisfied.

        Upstream steps of other phases do not count: a close after a failure runs although the
        work before it never succeeded.
        """
        return tuple(
            key
            for key in self.order
            if states[key] == "pending"
            and self.nodes[key].phase in phases
            and all(
                states[up] in SATISFIED
                for up in self.nodes[key].after
                if self.nodes[up].phase in phases
            )
        )

    def undoable(self, states: Mapping[str, StepState]) -> tuple[str, ...]:
        """Return the started work steps whose own dependents left nothing behind any more.

        Latest first: an unwind goes through the graph in reverse.
        """
        return tuple(
            key
            for key in reversed(self.order)
            if self.nodes[key].phase == "work"
            and states[key] in STARTED
            and not any(
                states[down] in STARTED
                for down in self.dependents[key]
                if self.nodes[down].phase == "work"
            )
        )

    def upstream(self, key: str) -> frozenset[str]:
        """Return every step that comes before `key`, near and far."""
        found: set[str] = set()
        frontier = list(self.nodes[key].after)
        while frontier:
            current = frontier.pop()
            if current not in found:
                found.add(current)
                frontier.extend(self.nodes[current].after)
        return frozenset(found)


def _check_edges(nodes: Mapping[str, Node]) -> None:
    for node in nodes.values():
        for up in node.after:
            if up not in nodes:
                raise GraphError(f"step {node.key!r} comes after {up!r}, which is not defined")
            if node.phase == "work" and nodes[up].phase == "close":
                raise GraphError(f"work step {node.key!r} may not wait for close step {up!r}")


def _topological_order(nodes: Mapping[str, Node]) -> tuple[str, ...]:
    order: list[str] = []
    placed: set[str] = set()
    while len(order) < len(nodes):
        free = [k for k, n in nodes.items() if k not in placed and placed.issuperset(n.after)]
        if not free:
            circle = sorted(set(nodes) - placed)
            raise GraphError(f"steps wait for each other in a circle: {', '.join(circle)}")
        order.extend(free)
        placed.update(free)
    return tuple(order)
