"""The edge of SCIM: the same transaction and the same authorizer, errors in SCIM's own shape.

Separate from `core.http`, whose errors are ours; a provider's connector reads only these.
Source: RFC 7644, 3.12.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import ValidationError
from scim2_models import Error, SCIMException
from sqlalchemy.exc import IntegrityError

from controlplane.core.errors import RingfenceError
from controlplane.core.http import TransactionRoute

Handler = Callable[[Request], Coroutine[Any, Any, Response]]
MEDIA_TYPE = "application/scim+json"
_UNIQUE_ERROR = "23505"


class ScimResponse(JSONResponse):
    """A JSON answer under SCIM's media type."""

    media_type = MEDIA_TYPE


class ScimRoute(TransactionRoute):
    """A route of SCIM: like any other, with errors as connectors expect them."""

    def get_route_handler(self) -> Handler:
        """Wrap the handler; an error has rolled the transaction back when it comes here."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except SCIMException as error:
                return _render(error.to_error())
            except ValidationError as error:
                return _render(Error.from_validation_errors(error)[0])
            except RequestValidationError:
                return _render(Error(status=400, scim_type="invalidSyntax", detail="not JSON"))
            except IntegrityError as error:
                if getattr(error.orig, "sqlstate", None) != _UNIQUE_ERROR:
                    raise
                # Two pushes of the same thing at once: the second one learns it here.
                return _render(Error(status=409, scim_type="uniqueness", detail="exists already"))
            except RingfenceError as error:
                return _render_ours(error)

        return handle


def _render(error: Error, headers: Mapping[str, str] | None = None) -> Response:
    return ScimResponse(error.model_dump(), status_code=int(error.status or 500), headers=headers)


def _render_ours(error: RingfenceError) -> Response:
    headers = {"WWW-Authenticate": "Bearer"} if error.http_status == 401 else {}
    detail = f"{error.public_message}; {error.fix}" if error.fix else error.public_message
    return _render(Error(status=error.http_status, detail=detail), headers)
