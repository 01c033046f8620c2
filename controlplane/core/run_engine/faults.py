"""What an error of a step means for its run: a stable code, a text for people, another try or not.

Called by the executor when a step lands with an error. Separate because it decides what people may
read: the text of an unknown error may hold anything.
"""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, OperationalError

from controlplane.core.errors import RingfenceError
from controlplane.core.logging import redact_text
from controlplane.core.run_engine.definition import RunStoppingError, StepStop

OUTAGE = "database-unreachable"
"""Our own database was gone in the middle of a step: not the step's failure, so not counted."""
MOST_OUTAGES = 50
"""Tries of one step after which an outage counts after all: a step may be what brings it about."""
_SERVER_GOES = frozenset({"57P01", "57P02", "57P03"})
"""admin_shutdown, crash_shutdown, cannot_connect_now (PostgreSQL, "Error Codes")."""


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
    if _is_outage(error):
        return OUTAGE, "our database could not be reached; the step begins again", True
    # An unknown fault is ours: its text may hold anything, so only its class is shown.
    return "internal", f"internal error ({type(error).__name__}); see the worker's log", True


def failures_after(code: str, failures: int, attempt: int) -> int:
    """Return how often a step has failed, after one more that may be tried again.

    What happens to us must not use up what a step has for the customer's cloud: a throttled call
    and a restart of our database are no reason to take an install back.
    """
    return failures if code == OUTAGE and attempt <= MOST_OUTAGES else failures + 1


def _is_outage(error: BaseException) -> bool:
    """Say whether the database went away, as opposed to having answered with an error."""
    if not isinstance(error, DBAPIError):
        return False
    sqlstate = getattr(error.orig, "sqlstate", None)
    # Without a state the client says it: the connection was lost, or none could be made.
    gone = sqlstate in _SERVER_GOES or (sqlstate or "08").startswith("08")
    return error.connection_invalidated or (isinstance(error, OperationalError) and gone)
