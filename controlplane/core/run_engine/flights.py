"""Steps in the air: what is being executed, how it ended, and when it may be tried again.

Used by the executor, which launches flights and reads landings; `fly` is the body of a step's
thread, the edge at which whatever a step raises becomes its error. Separate from the executor
because nothing here knows rows.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from controlplane.core.run_engine.definition import (
    ParkedError,
    Step,
    StepContext,
    StepResult,
    StepStop,
    StopFlag,
)
from controlplane.core.run_engine.faults import StepBudgetExceededError

LOOK_SECONDS = 0.5
"""How long a budget that ran out goes unnoticed."""


@dataclass
class Flight:
    """A step that is being executed now."""

    step: Step
    is_undo: bool
    attempt: int
    deadline: float
    stop: StopFlag = field(default_factory=StopFlag)


@dataclass(frozen=True)
class Landing:
    """How a step thread ended: a result of the forward action, None for an undo, or an error."""

    key: str
    result: StepResult | None
    error: BaseException | None


def fly(
    flight: Flight, context: StepContext[Any, Any], landed: Callable[[Landing], object]
) -> None:
    """Carry one step out in either direction and tell `landed` how it ended."""
    result: StepResult | None = None
    error: BaseException | None = None
    try:
        if flight.is_undo and flight.step.undo is not None:
            flight.step.undo(context)
        else:
            result = flight.step.forward(context)
    except ParkedError as stop:
        result = stop.park
    except StepStop as stop:
        error = stop
    except Exception as fault:  # noqa: BLE001  # edge: a step; becomes its error
        error = fault
    landed(Landing(flight.step.key, result, error))


class Flights:
    """The steps of one run that are executed now, at most so many at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._flying: dict[str, Flight] = {}
        self._landed: queue.SimpleQueue[Landing | None] = queue.SimpleQueue()
        self._not_before: dict[str, float] = {}
        # Threads stay for the next step: to start one takes longer than to write a step's end.
        self._work: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = 0
        self._idle = 0

    def __contains__(self, key: str) -> bool:
        return key in self._flying

    def __bool__(self) -> bool:
        return bool(self._flying)

    def free_to_begin(self, keys: Iterable[str]) -> list[str]:
        """Return those of `keys` that neither fly nor wait, as many as there is room for."""
        now = time.monotonic()
        due = [k for k in keys if k not in self._flying and now >= self._not_before.get(k, 0.0)]
        return due[: max(self._most - len(self._flying), 0)]

    def launch(self, flight: Flight, context: StepContext[Any, Any]) -> None:
        """Execute a step in a thread that does nothing else meanwhile."""
        key = flight.step.key
        self._not_before.pop(key, None)
        self._flying[key] = flight
        self._work.put(lambda: fly(flight, context, self._landed.put))
        if self._idle:
            self._idle -= 1
            return
        self._threads += 1
        name = f"steps-{context.run.id}-{self._threads}"
        threading.Thread(target=self._serve, name=name, daemon=True).start()

    def close(self) -> None:
        """Let the threads end, each when its step has."""
        for _ in range(self._threads):
            self._work.put(None)

    def _serve(self) -> None:
        while (task := self._work.get()) is not None:
            task()

    def landings(self, seconds: float | None = None) -> Iterator[tuple[Flight, Landing]]:
        """Wait for a step to land, or for the moment a failed one may run again; yield what did.

        `wake` ends the wait; `seconds` bounds it.
        """
        waits = [when for key, when in self._not_before.items() if key not in self._flying]
        pause = min((max(when - time.monotonic(), 0.01) for when in waits), default=LOOK_SECONDS)
        try:
            landing = self._landed.get(timeout=min(pause, seconds or LOOK_SECONDS))
            while True:
                if landing is not None:
                    self._idle += 1
                    yield self._flying.pop(landing.key), landing
                landing = self._landed.get_nowait()
        except queue.Empty:
            self._check_deadlines()

    def wake(self) -> None:
        """End the wait for a landing."""
        self._landed.put(None)

    def delay(self, key: str, seconds: float) -> None:
        """Let a step begin again only after so long."""
        self._not_before[key] = time.monotonic() + seconds

    def stop(self, reason: StepStop, *, work_only: bool = False) -> None:
        """Ask the steps to stop."""
        for flight in list(self._flying.values()):
            if not (work_only and flight.step.phase == "close"):
                flight.stop.set(reason)

    def has_forward_work(self) -> bool:
        """Say whether a step of the work flies forward."""
        return any(not f.is_undo and f.step.phase == "work" for f in self._flying.values())

    def _check_deadlines(self) -> None:
        for flight in self._flying.values():
            if time.monotonic() > flight.deadline:
                flight.stop.set(
                    StepBudgetExceededError(
                        f"{flight.step.key} took more than twice its budget and was stopped"
                    )
                )
