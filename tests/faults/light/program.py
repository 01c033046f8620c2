"""The light programs: sagas made from a kind such as `light.plain.17`, the same each time.

Read by the worker processes (which execute them) and by the harness (which knows what must come of
them). Separate from the steps because it is pure: all that may differ between two programs is here.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

from controlplane.core.run_engine.graph import Node, Phase, StepGraph

Api = Literal["token", "tag"]
"""How the cloud makes an object: once per client token, or once per call, found by its tag."""
Flavour = Literal["plain", "failing", "stubborn", "gated", "hinted"]
FLAVOURS: tuple[Flavour, ...] = ("plain", "failing", "stubborn", "gated", "hinted")
ALWAYS = -1
"""The cloud refuses every call, until a person has it mended."""
SIZES = (3, 3, 4, 4, 4, 5, 5, 6, 7, 9, 12)
MAX_ATTEMPTS = 3


@dataclass(frozen=True)
class StepSpec:
    """One step and what is to go wrong in it. Units: seconds."""

    key: str
    after: tuple[str, ...] = ()
    phase: Phase = "work"
    planning: bool = False
    api: Api | None = "token"
    """None: the step changes nothing in the cloud."""
    is_skipped: bool = False
    refusals: int = 0
    """How often the cloud refuses to create."""
    undo_refusals: int = 0
    """How often it refuses to delete while the run unwinds."""
    is_spoiled: bool = False
    """The first object comes out failed: it is deleted and made again, as generation 2."""
    lost_replies: int = 0
    """How many of its creations are done and not answered."""
    lag: float = 0.0
    """How long its objects stay invisible to a search after their creation."""
    slow: float = 0.0
    park: Literal["awaiting-approval", "paused", "needs-attention", "closing"] | None = None

    @property
    def makes_objects(self) -> bool:
        """Say whether the step changes the cloud."""
        return self.api is not None and not self.is_skipped


@dataclass(frozen=True)
class Program:
    """A saga of the light world."""

    kind: str
    steps: tuple[StepSpec, ...]

    @property
    def flavour(self) -> str:
        """Return what kind of story it tells."""
        return self.kind.split(".")[1]

    @property
    def fails(self) -> bool:
        """Say whether it must turn around by itself."""
        return any(s.refusals == ALWAYS for s in self.steps)

    @property
    def may_be_stuck(self) -> bool:
        """Say whether the cloud refuses an undo for good."""
        return any(s.undo_refusals == ALWAYS for s in self.steps)

    @cached_property
    def graph(self) -> StepGraph:
        """Return the checked graph of its steps."""
        return StepGraph.of(Node(s.key, s.after, s.phase, MAX_ATTEMPTS) for s in self.steps)

    def step(self, key: str) -> StepSpec:
        """Return a step by key. Raises: KeyError."""
        return {s.key: s for s in self.steps}[key]


@lru_cache(maxsize=4096)
def program(kind: str) -> Program:
    """Return the program of a kind `light.<flavour>.<seed>`. Raises: ValueError."""
    family, flavour, _ = kind.split(".")
    if family != "light" or flavour not in FLAVOURS:
        raise ValueError(f"{kind} is no light program")
    rng = random.Random(kind)
    steps = list(_opening(rng, flavour))
    first = (steps[-1].key,) if steps else ()
    work: list[StepSpec] = []
    for number in range(1, rng.choice(SIZES)):
        before = [s.key for s in work]
        after = tuple(sorted(rng.sample(before, min(len(before), rng.choice((0, 1, 1, 2))))))
        work.append(_ordinary(rng, f"s{number}", after or first, flavour))
    if flavour in ("failing", "stubborn"):
        work = _broken(rng, work, flavour)
    ends = tuple(s.key for s in work if not any(s.key in other.after for other in work))
    parks = flavour != "hinted" and rng.random() < 0.3
    close = StepSpec("close", ends, "close", lag=0.05, park="closing" if parks else None)
    return Program(kind, (*steps, *work, close))


def _opening(rng: random.Random, flavour: str) -> tuple[StepSpec, ...]:
    plan = StepSpec("plan", planning=True, api=None)
    if flavour == "gated":
        gate = StepSpec("gate", ("plan",), planning=True, api=None, park="awaiting-approval")
        return plan, gate
    return (plan,) if rng.random() < 0.3 else ()


def _ordinary(rng: random.Random, key: str, after: tuple[str, ...], flavour: str) -> StepSpec:
    def chance(share: float) -> bool:
        return rng.random() < share

    parks = chance(0.06) and flavour in ("plain", "gated")
    loses = chance(0.2)
    return StepSpec(
        key,
        after,
        api="tag" if chance(0.5) else "token",
        is_skipped=chance(0.08),
        # Together fewer than the attempts, so that the step gets through in the end.
        refusals=rng.choice((1, 1 if loses else 2)) if chance(0.12) else 0,
        undo_refusals=rng.choice((1, 2)) if chance(0.12) else 0,
        is_spoiled=chance(0.15),
        lost_replies=int(loses),
        lag=round(rng.uniform(0.02, 0.12), 3) if chance(0.6) else 0.0,
        slow=round(rng.uniform(0.05, 0.3), 3) if chance(0.2) else 0.0,
        park=rng.choice(("paused", "needs-attention")) if parks else None,
    )


def _broken(rng: random.Random, work: list[StepSpec], flavour: str) -> list[StepSpec]:
    """Let one step of the later half fail for good, and, when stubborn, undos before it too."""
    at = rng.randrange(len(work) // 2, len(work))
    broken: list[StepSpec] = []
    for number, step in enumerate(work):
        values = {**step.__dict__}
        if number == at:
            values |= {"refusals": ALWAYS, "is_skipped": False, "lost_replies": 0}
        elif flavour == "stubborn" and number < at:
            values["undo_refusals"] = ALWAYS if number == 0 else rng.choice((0, 1, 2))
        broken.append(StepSpec(**values))
    return broken
