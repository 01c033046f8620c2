"""The one error tree of the control plane and its closed families.

Services raise these; adapters translate library errors into them; the three edges (HTTP, task,
command) render them. `public_message` is for the caller, `internal_context` for the log only.
Source: architecture.md 7.
"""

from __future__ import annotations

from typing import Any, ClassVar


class RingfenceError(Exception):
    """Something that a caller is told about. Subclass a family, not this."""

    code: ClassVar[str] = "internal"
    http_status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    retry_after: int = 2
    """Seconds after which a retryable request may be sent again."""

    def __init__(
        self,
        public_message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        fix: str | None = None,
        detail: dict[str, Any] | None = None,
        internal_context: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(public_message)
        self.public_message = public_message
        self.stable_code = code or self.code
        self.field = field
        self.fix = fix
        self.detail = detail or {}
        """Further public facts, merged into the error body."""
        self.internal_context = internal_context or {}

    def body(self) -> dict[str, Any]:
        """Return the error as the caller sees it."""
        shown: dict[str, Any] = {"code": self.stable_code, "message": self.public_message}
        if self.field is not None:
            shown["field"] = self.field
        if self.fix is not None:
            shown["fix"] = self.fix
        return {**shown, **self.detail}


class InvalidRequestError(RingfenceError):
    """The request is understood and cannot be done as it stands."""

    code = "invalid-request"
    http_status = 400


class UnauthenticatedError(RingfenceError):
    """Nobody, or nobody that we know."""

    code = "unauthenticated"
    http_status = 401


class ForbiddenError(RingfenceError):
    """The caller is known and may not do this."""

    code = "forbidden"
    http_status = 403

    def __init__(
        self,
        public_message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        fix: str | None = None,
        detail: dict[str, Any] | None = None,
        internal_context: dict[str, Any] | None = None,
        decided: dict[str, str] | None = None,
    ) -> None:
        super().__init__(
            public_message,
            code=code,
            field=field,
            fix=fix,
            detail=detail,
            internal_context=internal_context,
        )
        self.decided = decided or {}
        """The layer and the policy that decided, for the audit."""


class NotFoundError(RingfenceError):
    """Not there, or not for the caller to know."""

    code = "not-found"
    http_status = 404


class ConflictError(RingfenceError):
    """The present state does not allow this."""

    code = "conflict"
    http_status = 409


class GoneError(RingfenceError):
    """It was there and will not come back."""

    code = "gone"
    http_status = 410


class QuotaError(RingfenceError):
    """Too many, too much or too fast."""

    code = "quota"
    http_status = 429
    retryable = True

    def __init__(
        self,
        public_message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        fix: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(public_message, code=code, field=field, fix=fix)
        if retry_after is not None:
            self.retry_after = retry_after


class UnavailableError(RingfenceError):
    """Something we depend on does not answer now."""

    code = "unavailable"
    http_status = 503
    retryable = True


class InternalError(RingfenceError):
    """Our fault; the public half says nothing about the cause."""

    code = "internal"
    http_status = 500
