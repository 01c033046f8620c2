"""What happens in one schedule: which programs run, in which world, and which faults hit when.

Pure: a schedule is made from its seed alone, so the seed that a failure prints makes it again.
`drop_one` gives the smaller schedules that the shrinker tries.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

from tests.faults.light.program import program

FAULTS: dict[str, str] = {
    "F1.kill": "SIGKILL of the worker that stands at the point, and an instant restart",
    "F1.kill-all": "SIGKILL of every worker, and an instant restart",
    "F1.drain": "SIGTERM, as in a rolling update",
    "F2.freeze": "SIGSTOP for two leases, then SIGCONT",
    "F2.freeze-for-good": "SIGSTOP, and no SIGCONT as long as the runs last",
    "F3.flush": "FLUSHALL",
    "F3.flush-sent": "FLUSHALL after the messages of new runs were sent, before anyone read one",
    "F3.crash": "SIGKILL of Redis and a restart",
    "F3.two-restarts": "two restarts of Redis in a row",
    "F3.hole": "Redis swallows everything for two leases",
    "F4.restart": "PostgreSQL ends at once and recovers",
    "F4.commit-lost": "the connection ends before the next COMMIT arrives",
    "F4.commit-unknown": "the connection ends after the next COMMIT was done, before its answer",
    "F8.reply-lost": "created, and the answer never comes (scripted in the programs)",
    "F8.lag": "a new object is not found by a search for a while (scripted in the programs)",
    "F10.cut": "every connection of a worker to PostgreSQL is reset",
    "F10.hole-out": "what a worker sends to PostgreSQL is swallowed for two leases",
    "F10.hole-in": "what PostgreSQL answers a worker is swallowed for two leases",
    "F10.hole-for-good": "a worker and PostgreSQL are cut off as long as the runs last",
    "F12.sleep": "the worker's machine sleeps for two leases: its monotonic clock stands still",
    "F12.wall": "the workers' wall clocks are an hour apart",
    "F13.duplicate": "every message in the queue comes four times",
    "F13.shuffle": "the queue's order is turned around",
    "F13.delay": "the queue is taken away and put back after a lease",
    "F13.poison": "junk, unknown tasks, wrong arguments and foreign ids in the queue",
    "F15.cancel": "a person cancels at the point",
    "F15.undo-fails": "the cloud refuses an undo until a person has it mended (in the programs)",
}
IN_PROGRAMS = frozenset({"F8.reply-lost", "F8.lag", "F12.wall", "F15.undo-fails"})
"""Faults of the programs or the world; they need no trigger."""


@dataclass(frozen=True)
class World:
    """How the workers of a schedule are set up."""

    is_hinted: bool = False
    """Workers hardly poll: only messages bring them to work."""
    is_proxied: bool = False
    """Workers reach PostgreSQL and Redis through the proxy."""
    is_skewed: bool = False
    """Wall clocks an hour apart, monotonic clocks that can stand still."""


@dataclass(frozen=True)
class Fault:
    """One fault and its trigger: the `nth` time that run number `run` passes `point`."""

    kind: str
    run: int
    point: str = "*"
    """`after:step_started:s2`, `*` for any point of the run, `start` before its first."""
    nth: int = 1


@dataclass(frozen=True)
class Schedule:
    """One schedule."""

    name: str
    kinds: tuple[str, ...]
    faults: tuple[Fault, ...]
    world: World = World()
    bug: str | None = None

    def to_json(self) -> str:
        """Return it as text that `from_json` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Schedule:
        """Return the schedule of a text."""
        raw: dict[str, Any] = json.loads(text)
        return cls(
            raw["name"],
            tuple(raw["kinds"]),
            tuple(Fault(**fault) for fault in raw["faults"]),
            World(**raw["world"]),
            raw["bug"],
        )

    def scripted(self) -> frozenset[str]:
        """Return the faults that its programs and its world bring by themselves."""
        steps = [step for kind in self.kinds for step in program(kind).steps]
        found = {
            "F8.reply-lost": any(s.lost_replies for s in steps),
            "F8.lag": any(s.lag and s.api == "tag" for s in steps),
            "F15.undo-fails": any(program(kind).may_be_stuck for kind in self.kinds),
            "F12.wall": self.world.is_skewed,
        }
        return frozenset(kind for kind, is_there in found.items() if is_there)


WORLDS: dict[str, World] = {
    "process": World(),
    "network": World(is_proxied=True),
    "queue": World(is_hinted=True, is_proxied=True),
    "clock": World(is_skewed=True),
}
FAULTS_OF: dict[str, tuple[str, ...]] = {
    "process": (
        "F1.kill", "F1.kill", "F1.kill-all", "F1.drain", "F2.freeze",
        "F2.freeze-for-good", "F15.cancel",
    ),
    "network": (
        "F4.restart", "F4.commit-lost", "F4.commit-unknown", "F10.cut", "F10.hole-out",
        "F10.hole-in", "F10.hole-for-good", "F1.kill",
    ),
    "queue": (
        "F3.flush", "F3.flush-sent", "F3.crash", "F3.two-restarts", "F3.hole",
        "F13.duplicate", "F13.shuffle", "F13.delay", "F13.poison", "F1.kill", "F2.freeze",
    ),
    "clock": ("F12.sleep", "F12.sleep", "F2.freeze", "F1.kill"),
}  # fmt: skip
SHARES = {"process": 5, "network": 3, "queue": 3, "clock": 2}


def random_schedule(seed: int, runs: int = 4) -> Schedule:
    """Return the schedule of a seed."""
    rng = random.Random(f"schedule-{seed}")
    name = rng.choices(list(SHARES), list(SHARES.values()))[0]
    flavours = (
        ("hinted",) if name == "queue" else ("plain", "plain", "failing", "stubborn", "gated")
    )
    kinds = tuple(f"light.{rng.choice(flavours)}.{seed}-{n}" for n in range(runs))
    faults = tuple(
        _random_fault(rng, rng.choice(FAULTS_OF[name]), kinds) for _ in range(rng.randint(1, 4))
    )
    return Schedule(f"{name}-{seed}", kinds, faults, WORLDS[name])


SHARP_POINTS = (
    "before:step_started", "inside:step_started", "after:step_started", "done:assume",
    "call:create", "done:create", "before:step_finished", "inside:step_finished",
    "after:step_finished", "before:undo_started", "after:undo_started", "call:delete",
    "done:delete", "inside:undo_finished", "before:undo_finished",
)  # fmt: skip


def _random_fault(rng: random.Random, kind: str, kinds: tuple[str, ...]) -> Fault:
    """Aim at a named point of a step, or at any moment of a run."""
    run = rng.randrange(len(kinds))
    steps = program(kinds[run]).steps
    if kind == "F3.flush-sent":
        return Fault(kind, run, "start")
    if rng.random() < 0.5:
        return Fault(kind, run, f"{rng.choice(SHARP_POINTS)}:{rng.choice(steps).key}")
    return Fault(kind, run, "*", rng.randint(1, 8 * len(steps)))


def one_of_each() -> Iterator[Schedule]:
    """Yield, for every world and every fault of it, a schedule in which that fault surely hits."""
    for world, kinds in FAULTS_OF.items():
        flavour = "hinted" if world == "queue" else "plain"
        for kind in dict.fromkeys(kinds):
            programs = tuple(f"light.{flavour}.each-{kind.replace('.', '-')}-{n}" for n in range(3))
            is_at_start = kind == "F3.flush-sent"
            # Every program passes so many points: three steps of five and more.
            faults = (
                (Fault(kind, 0, "start"),)
                if is_at_start
                else (Fault(kind, 0, "*", 7), Fault(kind, 1, "*", 11))
            )
            yield Schedule(f"each-{world}-{kind}", programs, faults, WORLDS[world])


def boundary_schedules(points: dict[str, list[str]], runs: int = 4) -> Iterator[Schedule]:
    """Yield schedules that kill once at every point that the programs of `points` pass.

    Several runs of the same program are in flight, each killed at another point.
    """
    for kind, passed in points.items():
        for start in range(0, len(passed), runs):
            chosen = passed[start : start + runs]
            yield Schedule(
                f"boundary-{kind}-{start}",
                (kind,) * len(chosen),
                tuple(Fault("F1.kill", run, point) for run, point in enumerate(chosen)),
            )


def soak_schedule(seed: int, kills: int = 3, runs: int = 16) -> Schedule:
    """Return a schedule of many runs in which workers are killed at random moments."""
    rng = random.Random(f"soak-{seed}")
    flavours = ("plain", "plain", "plain", "failing", "gated")
    kinds = tuple(f"light.{rng.choice(flavours)}.soak-{seed}-{n}" for n in range(runs))
    hit = rng.sample(range(runs), kills)
    faults = tuple(
        Fault("F1.kill", run, "*", rng.randint(1, 5 * len(program(kinds[run]).steps)))
        for run in hit
    )
    return Schedule(f"soak-{seed}", kinds, faults)


def drop_one(schedule: Schedule) -> Iterator[Schedule]:
    """Yield the schedules with one fault less, then those with one run less."""
    for number in range(len(schedule.faults)):
        faults = schedule.faults[:number] + schedule.faults[number + 1 :]
        yield replace(schedule, faults=faults)
    for number in reversed(range(len(schedule.kinds))):
        if len(schedule.kinds) > 1 and all(f.run != number for f in schedule.faults):
            kinds = schedule.kinds[:number] + schedule.kinds[number + 1 :]
            faults = tuple(
                replace(f, run=f.run - 1) if f.run > number else f for f in schedule.faults
            )
            yield replace(schedule, kinds=kinds, faults=faults)
