"""What an error of a step means for its run: a stable code, a text for people, another try or not.

Called by the executor when a step lands with an error. Separate because it decides what people may
read: the text of an unknown error may hold anything.
"""

from __future__ import annotations

from controlplane.core.errors import RingfenceError
from controlplane.core.logging import redact_text
from controlplane.core.run_engine.definition import RunStoppingError, StepStop


class StepBudgetExceededError(StepStop):
    """A step took more than twice its budget."""


def describe(error: BaseException) -> tuple[str, str, bool]:
    """Return an error's code, what people may read of it, and whether to try again."""
    if isinstance(error, RunStoppingError):
        return "interrupted", str(error), False
    if isinstance(error, StepBudgetExceededError):
        return "over-budget", str(error), False
    if isinstance(error, RingfenceError):
        return error.stable_code, redact_text(error.public_message), error.retryable
    # An unknown fault is ours: its text may hold anything, so only its class is shown.
    return "internal", f"internal error ({type(error).__name__}); see the worker's log", True
