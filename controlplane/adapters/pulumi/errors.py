"""How the engine fails, in the control plane's own error families.

Raised by `engine.py`, `state.py` and `recovery.py`; read by the sagas, which decide by class. Never
holds a secret: texts come redacted from the child.
"""

from __future__ import annotations

from controlplane.adapters.pulumi.messages import Diagnostic, Result
from controlplane.core.errors import ConflictError, InvalidRequestError, UnavailableError


class EngineFailedError(UnavailableError):
    """The engine or a provider refused or failed; `diagnostics` name resources and causes."""

    code = "engine-failed"

    def __init__(self, result: Result) -> None:
        errors = [item for item in result.diagnostics if item.severity == "error"]
        first = _sentence(errors[0]) if errors else (result.error or "no reason was given")
        super().__init__(
            f"{result.operation} of stack {result.stack} failed: {first}",
            detail={"stack": result.stack, "operation": result.operation},
            internal_context={"error": result.error},
        )
        self.result = result
        self.diagnostics: tuple[Diagnostic, ...] = result.diagnostics


class StaleFenceError(ConflictError):
    """Another worker has taken the run over: this one must stop and write nothing."""

    code = "stale-fence"


class StateLockedError(ConflictError):
    """The stack's state carries the lock of another engine, dead or alive."""

    code = "state-locked"


class ProgramFailedError(InvalidRequestError):
    """The blueprint's program cannot be loaded."""

    code = "program-failed"


class EngineStoppedError(UnavailableError):
    """The child was stopped before it finished; `stable_code` says by what.

    Codes: `engine-timeout`, `engine-memory`, `engine-interrupted`, `engine-died`.
    """

    code = "engine-died"


def raise_for(result: Result) -> Result:
    """Return a good result. Raises: the error that its code stands for."""
    if result.ok:
        return result
    text = result.error or ""
    if result.error_code == "stale-fence" or "ringfence: stale fence" in _all_text(result):
        raise StaleFenceError(
            f"stack {result.stack}: a newer worker holds this run, nothing was written",
            internal_context={"error": text},
        )
    if result.error_code == "locked":
        raise StateLockedError(
            f"the state of stack {result.stack} is locked by another engine",
            fix="recovery clears the lock after it has proven the other engine dead",
            internal_context={"error": text},
        )
    if result.error_code == "program-failed":
        raise ProgramFailedError(text)
    raise EngineFailedError(result)


def _all_text(result: Result) -> str:
    return "\n".join([result.error or "", *(item.message for item in result.diagnostics)])


def _sentence(diagnostic: Diagnostic) -> str:
    name = f"{diagnostic.urn.rsplit('::', 1)[-1]}: " if diagnostic.urn else ""
    return name + " ".join(diagnostic.message.split())[:1000]
