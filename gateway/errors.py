"""Errors of the API in OpenAI's shape: a closed list, each with its status and usage error type.

Raised by the relay, rendered by the API. Separate so that every answer a caller can get stands in
one place. A message never repeats anything of the request.
"""

from __future__ import annotations

import orjson
from aiohttp import web

from wire.usage import ErrorType


class ApiError(Exception):
    """An answer that is an error."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        usage: ErrorType,
        param: str | None = None,
    ) -> None:
        super().__init__(code)
        self.status, self.code, self.message = status, code, message
        self.usage, self.param = usage, param

    def body(self) -> bytes:
        """Return the JSON body."""
        kinds = {
            401: "authentication_error",
            403: "permission_error",
            404: "not_found_error",
            429: "rate_limit_error",
        }
        default = "invalid_request_error" if self.status < 500 else "server_error"
        detail = {
            "message": self.message,
            "type": kinds.get(self.status, default),
            "param": self.param,
            "code": self.code,
        }
        return orjson.dumps({"error": detail})

    def response(self, headers: dict[str, str] | None = None) -> web.Response:
        """Return the HTTP answer."""
        return web.Response(
            body=self.body(),
            status=self.status,
            content_type="application/json",
            headers=headers,
        )


def invalid_key() -> ApiError:
    """The key is missing, unknown or expired: the three are not told apart."""
    return ApiError(
        *(401, "invalid_api_key", "The API key is missing, unknown or has expired."),
        ErrorType.INVALID_REQUEST,
    )


def invalid(message: str, param: str | None = None, status: int = 400) -> ApiError:
    """The request's shape is wrong."""
    return ApiError(status, "invalid_request", message, ErrorType.INVALID_REQUEST, param)


def synthetic_refused() -> ApiError:
    """The customer has not allowed this key's group to report made-up use."""
    message = (
        "This key's group may not report synthetic use; the customer allows it in the ConfigMap"
        " usage-policy, key synthetic-groups."
    )
    return ApiError(403, "synthetic_not_allowed", message, ErrorType.INVALID_REQUEST)


def model_not_found() -> ApiError:
    """The model is unknown or outside the caller's entitlement: the same answer."""
    message = "The model does not exist or you do not have access to it."
    return ApiError(404, "model_not_found", message, ErrorType.MODEL_NOT_FOUND, "model")


def not_ready() -> ApiError:
    """The engine is starting, busy or without the adapter."""
    message = "The model is not ready yet; try again shortly."
    return ApiError(503, "model_not_ready", message, ErrorType.UPSTREAM_UNREACHABLE)


def unreachable() -> ApiError:
    """No connection to the engine."""
    message = "The engine of this model cannot be reached; try again shortly."
    return ApiError(503, "engine_unreachable", message, ErrorType.UPSTREAM_UNREACHABLE)


def upstream() -> ApiError:
    """The engine failed or broke its stream."""
    message = "The engine of this model failed while answering."
    return ApiError(502, "engine_error", message, ErrorType.UPSTREAM_ERROR)


def timeout() -> ApiError:
    """The engine was silent for too long."""
    message = "The engine of this model did not answer in time."
    return ApiError(504, "engine_timeout", message, ErrorType.UPSTREAM_TIMEOUT)


def unavailable(code: str, message: str) -> ApiError:
    """The gateway itself cannot take the request now."""
    return ApiError(503, code, message, ErrorType.UPSTREAM_UNREACHABLE)
