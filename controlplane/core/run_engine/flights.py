"""One step in the air: what is being executed, and how it ended.

Used by the executor, which launches flights and reads landings; `fly` is the body of a step's
thread, the edge at which whatever a step raises becomes its error.
"""

from __future__ import annotations

from collections.abc import Callable
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
