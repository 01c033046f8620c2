"""The four properties of every saga, as changes of its definition: craft.md 4.8, omicron's helpers.

`twice` runs every action twice, `undone_twice` every undo, `failing` lets one step fail before or
after its action. A test executes the changed definition with the real engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from controlplane.core.errors import InvalidRequestError
from controlplane.core.run_engine.definition import Definition, Park, Step, StepContext, StepResult


def twice(definition: Definition) -> Definition:
    """Return the saga with every forward action carried out twice in a row."""

    def doubled(step: Step) -> Step:
        def forward(context: StepContext[Any, Any]) -> StepResult:
            first = step.forward(context)
            return first if isinstance(first, Park) else step.forward(context)

        return replace(step, forward=forward)

    return _each(definition, doubled)


def undone_twice(definition: Definition) -> Definition:
    """Return the saga with every undo carried out twice in a row."""

    def doubled(step: Step) -> Step:
        original = step.undo
        if original is None:
            return step

        def undo(context: StepContext[Any, Any]) -> None:
            original(context)
            original(context)

        return replace(step, undo=undo)

    return _each(definition, doubled)


def failing(definition: Definition, key: str, *, after_action: bool) -> Definition:
    """Return the saga in which step `key` fails for good, before its action or after it."""

    def broken(step: Step) -> Step:
        if step.key != key:
            return step

        def forward(context: StepContext[Any, Any]) -> StepResult:
            if after_action:
                result = step.forward(context)
                if isinstance(result, Park):
                    return result
            raise InvalidRequestError(f"injected into {key}", code="injected")

        return replace(step, forward=forward)

    return _each(definition, broken)


def _each(definition: Definition, change: Callable[[Step], Step]) -> Definition:
    return replace(definition, steps=tuple(change(step) for step in definition.steps))
