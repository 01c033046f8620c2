"""Parse a message of `wire` from a request's body, with the field named in the error.

Used by the routes of agents: their bodies are versioned messages, not shapes of our own API.
"""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from controlplane.core.errors import InvalidRequestError
from wire.version import Message, UnsupportedVersionError

M = TypeVar("M", bound=Message)


def parse_message(kind: type[M], raw: dict[str, Any]) -> M:
    """Return a message of this or the previous version. Raises: InvalidRequestError."""
    try:
        return kind.from_wire(raw)
    except UnsupportedVersionError as error:
        raise InvalidRequestError(str(error), field="version") from error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        # The library's text for this one repeats the value, which may be anything.
        is_quoted = first["type"] == "union_tag_invalid"
        text = "is of no type that this version knows" if is_quoted else first["msg"]
        raise InvalidRequestError(
            f"not a {kind.SCHEMA}: {text}", field=".".join(str(p) for p in first["loc"])
        ) from error
