"""The HTTP edge: one transaction per request, committed before the response; errors rendered.

`TransactionRoute` is the route class of every router for people. It asks the application's
authorizer who may do this (deny by default), opens one transaction under that scope, runs the
endpoint, and commits before the response leaves: a `yield` dependency of FastAPI would commit
after it. `StreamRoute` authorizes only: a stream opens its own short transactions and holds no
connection while it waits.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from typing import Annotated, Any, Protocol

import structlog
from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from sqlalchemy.exc import DataError, DBAPIError, OperationalError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from controlplane.core import logging
from controlplane.core.actor import OpContext
from controlplane.core.db import Database
from controlplane.core.errors import (
    ConflictError,
    InternalError,
    InvalidRequestError,
    RingfenceError,
    UnavailableError,
)
from controlplane.core.ids import new_id

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
REQUEST_ID_HEADER = "Ringfence-Request"
ORGANIZATION_QUERY = "organization"
LARGEST_BODY = 8_000_000
"""Bytes; the largest message is an agent's status of some thousand resources."""
LARGEST_SEQUENCE = 2**63 - 1
"""The largest sequence number that a column holds: the upper limit of every `after`."""
RECHECK_SECONDS = 2.0
"""How long a stream goes on at most after its caller may not have it any more."""
_LOCK_ERRORS = frozenset({"40001", "40P01", "55P03"})
_UNIQUE_ERROR = "23505"
_VALUE_ERRORS = frozenset({None, "22003", "22007", "22008", "22021", "22P05"})
"""Data errors by a value that no column can hold: out of range, no time, no text. The driver itself
refuses a NUL in a text, without a state."""
_log = logging.get(__name__)


class Authorizer(Protocol):
    """Decides who may call a route; given to the application, so that core knows no domain."""

    def __call__(self, request: Request, method: str, path: str) -> OpContext:
        """Return the caller's context. Raises: UnauthenticatedError, ForbiddenError."""

    def again(self, request: Request, method: str, path: str) -> OpContext:
        """Decide once more while the answer is being sent; nothing is kept alive by it.

        Raises: UnauthenticatedError, ForbiddenError, NotFoundError.
        """


class TransactionRoute(APIRoute):
    """Authorize, open a scoped transaction, run, commit, answer."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            context = await _authorize(request, self.path_format)
            database: Database = request.app.state.database
            session = await run_in_threadpool(database.begin, context.scope)
            request.state.session = session
            try:
                response = await handler(request)
                await run_in_threadpool(session.commit)
            except BaseException:
                await run_in_threadpool(session.rollback)
                raise
            finally:
                await run_in_threadpool(session.close)
            return response

        return handle


class StreamRoute(APIRoute):
    """Authorize only; for streams, long polls, and what commits in parts of its own."""

    def get_route_handler(self) -> Handler:
        """Wrap FastAPI's handler."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            await _authorize(request, self.path_format)
            return await handler(request)

        return handle


class OpenStream:
    """The right to a stream while it is open: asked again every few seconds, not per event."""

    def __init__(self, request: Request, path: str, context: OpContext) -> None:
        self._request = request
        self._path = path
        self._asked_at = time.monotonic()
        self.context = context
        """As of the last asking; a role that was lost in between narrows its scope."""

    @property
    def is_due(self) -> bool:
        """Tell whether the right is to be asked for again before anything is sent."""
        return time.monotonic() - self._asked_at >= RECHECK_SECONDS

    async def renew(self) -> bool:
        """Ask again if it is due; return False when the stream must end."""
        if not self.is_due:
            return True
        authorizer: Authorizer = self._request.app.state.authorizer
        try:
            self.context = await run_in_threadpool(
                authorizer.again, self._request, self._request.method, self._path
            )
        except RingfenceError as error:
            _log.info("stream ended", reason=error.stable_code, route=self._path)
            return False
        self._asked_at = time.monotonic()
        return True


async def current_stream(request: Request) -> OpenStream:
    """Return the right to the stream that this request opens; only under `StreamRoute`."""
    return OpenStream(request, request.scope["route"].path_format, request.state.context)


async def _authorize(request: Request, path: str) -> OpContext:
    authorizer: Authorizer = request.app.state.authorizer
    context = await run_in_threadpool(authorizer, request, request.method, path)
    request.state.context = context
    return context


async def current_context(request: Request) -> OpContext:
    """Return who calls, as the route class found out."""
    context: OpContext = request.state.context
    return context


async def current_session(request: Request) -> Session:
    """Return the request's transaction; only under `TransactionRoute`."""
    session: Session = request.state.session
    return session


async def current_database(request: Request) -> Database:
    """Return the database, for streams that open their own transactions."""
    database: Database = request.app.state.database
    return database


async def organization_query(
    organization: Annotated[
        str | None, Query(description="The organization, where no header can name it: in a link")
    ] = None,
) -> None:
    """Declare the query by which a download names its organization; the authorizer reads it."""


Context = Annotated[OpContext, Depends(current_context)]
Transaction = Annotated[Session, Depends(current_session)]
CurrentDatabase = Annotated[Database, Depends(current_database)]
CurrentStream = Annotated[OpenStream, Depends(current_stream)]


def install_edge(app: FastAPI) -> None:
    """Add request ids, the access log and the error handlers to the application."""
    app.add_exception_handler(RingfenceError, _on_ringfence_error)
    app.add_exception_handler(RequestValidationError, _on_shape_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(DBAPIError, _on_database_error)
    app.add_exception_handler(UnicodeEncodeError, _on_half_a_character)
    app.add_middleware(EdgeMiddleware)


class EdgeMiddleware:
    """Gives each request an id, logs one line at its end, and is the last catch of errors.

    Plain ASGI and not Starlette's base class, which would buffer streams.
    """

    def __init__(self, app: Any) -> None:
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Handle one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = str(new_id())
        scope.setdefault("state", {})["request_id"] = request_id
        started = False
        status = 500

        async def send_with_id(message: Any) -> None:
            nonlocal started, status
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                message["headers"] = [
                    *message["headers"],
                    (REQUEST_ID_HEADER.lower().encode(), request_id.encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                await self._app(scope, _limited(receive), send_with_id)
            except Exception:
                _log.exception("request failed", method=scope["method"])
                if started:
                    raise
                response = _render(
                    InternalError("something went wrong on our side; it has been logged"),
                    request_id,
                )
                await response(scope, receive, send_with_id)
            route = scope.get("route")
            _log.info(
                "request",
                method=scope["method"],
                route=getattr(route, "path_format", "unmatched"),
                status=status,
            )


def _limited(receive: Any) -> Any:
    """Return ASGI's `receive` with a limit on the body, whatever its header says."""
    received = 0

    async def receive_some() -> Any:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > LARGEST_BODY:
            raise InvalidRequestError(
                f"the body is larger than {LARGEST_BODY} bytes", code="too-large"
            )
        return message

    return receive_some


def request_id(request: Request) -> str:
    """Return the id that the edge gave this request."""
    found: str = request.state.request_id
    return found


class ErrorResponse(JSONResponse):
    """An error's body; what the caller sent may stand in it, also text that UTF-8 cannot carry."""

    def render(self, content: Any) -> bytes:
        """Return JSON; half of a surrogate pair stays the escape that it came as."""
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        return text.encode("utf-8", "backslashreplace")


def _render(error: RingfenceError, identifier: str) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else {}
    if error.retryable:
        headers["Retry-After"] = str(error.retry_after)
    body = {"error": {**error.body(), "request_id": identifier}}
    return ErrorResponse(body, status_code=error.http_status, headers=headers)


async def _on_ringfence_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RingfenceError)
    if error.http_status >= 500 or error.internal_context:
        _log.warning("refused", code=error.stable_code, **error.internal_context)
    return _render(error, request_id(request))


_ANY_FIX = "send what docs/reference/openapi.json says of this field"
_FIXES = {
    "uuid_parsing": "give the whole id as a list or the answer that made it shows it, not a name",
    "missing": "send the field",
    "extra_forbidden": "leave the field out",
}
"""By the kind that the validation library gives a problem."""


async def _on_shape_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    # `input` is left out: it may be a secret sent in the wrong place.
    problems = [
        {
            "path": ".".join(str(part) for part in found["loc"]),
            # The library's own opening of a text that a validator of ours wrote.
            "message": found["msg"].removeprefix("Value error, "),
            "fix": _FIXES.get(found["type"], _ANY_FIX),
        }
        for found in error.errors()
    ]
    body = {
        "error": {
            "code": "invalid-shape",
            "message": "the request does not have the documented shape",
            "field": problems[0]["path"] if problems else None,
            "fix": problems[0]["fix"] if problems else _ANY_FIX,
            "problems": problems,
            "request_id": request_id(request),
        }
    }
    return ErrorResponse(body, status_code=422)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    body = {
        "error": {
            "code": code,
            "message": str(error.detail),
            "request_id": request_id(request),
        }
    }
    return ErrorResponse(body, status_code=error.status_code, headers=error.headers)


async def _on_half_a_character(request: Request, error: Exception) -> Response:
    # JSON can spell half of a surrogate pair (\ud800); neither checks nor columns can hold it.
    shown = InvalidRequestError(
        "the request has half of a surrogate pair in a text",
        code="invalid-value",
        fix="send texts that UTF-8 can carry",
    )
    return _render(shown, request_id(request))


async def _on_database_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, DBAPIError)
    state = getattr(error.orig, "sqlstate", None)
    _log.error("database error", sqlstate=state, kind=type(error.orig).__name__)
    shown: RingfenceError
    if state in _LOCK_ERRORS:
        shown = UnavailableError(
            "somebody else changed the same thing at the same time", fix="send the request again"
        )
    elif state == _UNIQUE_ERROR:
        shown = ConflictError(
            "somebody else made the same thing at the same time", fix="read it, then decide again"
        )
    elif isinstance(error, DataError) and state in _VALUE_ERRORS:
        shown = InvalidRequestError(
            "the request has a value that cannot be stored",
            code="invalid-value",
            fix="send texts without NUL characters, and numbers and times of a usual size",
        )
    elif isinstance(error, OperationalError):
        shown = UnavailableError("the database does not answer", fix="try again in a moment")
    else:
        shown = InternalError("something went wrong on our side; it has been logged")
    return _render(shown, request_id(request))
