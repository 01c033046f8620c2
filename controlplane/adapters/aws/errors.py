"""AWS's errors in the control plane's own families.

Used by every module beside it, so that no botocore class crosses the border. Keeps AWS's code and
request id, which the customer can look up in CloudTrail; never a parameter of the call.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from controlplane.adapters.redaction import redact
from controlplane.core.errors import (
    ConflictError,
    ForbiddenError,
    NotFoundError,
    QuotaError,
    RingfenceError,
    UnauthenticatedError,
    UnavailableError,
)

DENIED = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "UnauthorizedOperation",
        "Client.UnauthorizedOperation",
        "AuthorizationError",
    }
)
_EXPIRED = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN_CALLER = frozenset(
    {
        "InvalidClientTokenId",
        "UnrecognizedClientException",
        "InvalidAccessKeyId",
        "SignatureDoesNotMatch",
        "AuthFailure",
    }
)
_THROTTLED = frozenset(
    {"Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequestsException"}
    | {"SlowDown", "LimitExceeded", "LimitExceededException", "ServiceQuotaExceededException"}
)
_MISSING = frozenset(
    {"NoSuchEntity", "ResourceNotFoundException", "NoSuchBucket", "NoSuchKey", "404", "NotFound"}
    | {"NotFoundException", "NoSuchBucketPolicy"}
)


def error_code(error: ClientError) -> str:
    """Return AWS's own code."""
    return str(error.response.get("Error", {}).get("Code", "Unknown"))


@contextmanager
def translated(action: str) -> Iterator[None]:
    """Run calls of `action` (`iam:AttachRolePolicy`) and raise our errors for AWS's.

    Raises: ForbiddenError `aws-denied`, UnauthenticatedError `aws-session-ended`, QuotaError,
    NotFoundError, UnavailableError (no answer, or a fault of AWS), ConflictError (the rest).
    """
    try:
        yield
    except ClientError as error:
        raise _of_client(action, error) from error
    except BotoCoreError as error:
        raise UnavailableError(
            f"{action}: AWS does not answer ({type(error).__name__})",
            code="aws-unreachable",
            internal_context={"error": redact(str(error))},
        ) from error


def _of_client(action: str, error: ClientError) -> RingfenceError:
    code = error_code(error)
    metadata = error.response.get("ResponseMetadata", {})
    message = redact(str(error.response.get("Error", {}).get("Message", "")))[:500]
    family, stable = _family(code, int(metadata.get("HTTPStatusCode", 400)))
    return family(
        f"{action} failed with {code}: {message}",
        code=stable,
        detail={"action": action, "aws_code": code, "request_id": metadata.get("RequestId")},
    )


def _family(code: str, status: int) -> tuple[type[RingfenceError], str]:
    if code in DENIED:
        return ForbiddenError, "aws-denied"
    if code in _EXPIRED or code in _UNKNOWN_CALLER:
        return UnauthenticatedError, "aws-session-ended"
    if code in _THROTTLED:
        return QuotaError, "aws-throttled"
    if code in _MISSING or code.endswith(".NotFound"):
        return NotFoundError, "aws-not-found"
    if status >= 500:
        return UnavailableError, "aws-fault"
    return ConflictError, "aws-refused"
