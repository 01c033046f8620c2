"""The longest chain of a run's steps and the estimate of its end. Pure.

Called by the API for the live view and by the certificate. Separate from the graph's rules because
it knows durations, which decide nothing in the engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.core.run_engine.graph import StepGraph


@dataclass(frozen=True)
class CriticalPath:
    """The steps that decide the run's length, first to last, and their sum in seconds."""

    keys: tuple[str, ...]
    seconds: float


def critical_path(graph: StepGraph, durations: Mapping[str, float]) -> CriticalPath:
    """Return the longest chain through the graph; ties go to the step defined first.

    Units: seconds. A step that is missing from `durations` counts as zero.
    """
    finish: dict[str, float] = {}
    before: dict[str, str | None] = {}
    for key in graph.order:
        slowest = max(graph.nodes[key].after, key=lambda up: finish[up], default=None)
        before[key] = slowest
        finish[key] = (finish[slowest] if slowest else 0.0) + durations.get(key, 0.0)
    if not finish:
        return CriticalPath((), 0.0)
    last: str | None = max(graph.order, key=lambda key: finish[key])
    total = finish[last] if last else 0.0
    chain: list[str] = []
    while last is not None:
        chain.append(last)
        last = before[last]
    return CriticalPath(tuple(reversed(chain)), total)


@dataclass(frozen=True)
class StepClock:
    """What is known of one step's time, in seconds; `elapsed` is None before it starts."""

    estimate: float
    elapsed: float | None
    finished: bool


def expected_duration(clock: StepClock) -> float:
    """Return the measured time of a finished step, else the larger of estimate and elapsed."""
    if clock.elapsed is None:
        return clock.estimate
    return clock.elapsed if clock.finished else max(clock.estimate, clock.elapsed)


def remaining_seconds(graph: StepGraph, clocks: Mapping[str, StepClock]) -> float:
    """Return how long the rest of the run should still take: the longest unfinished chain."""
    left: dict[str, float] = {}
    for key, clock in clocks.items():
        if clock.finished:
            left[key] = 0.0
        else:
            left[key] = max(clock.estimate - (clock.elapsed or 0.0), 0.0)
    return critical_path(graph, left).seconds
