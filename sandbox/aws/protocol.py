"""Find out which API operation a request asks for, and its parameters.

Uses the service models that ship with botocore, so that paths and names are AWS's own. Called by
the gate after the signature holds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote

import botocore.session

from sandbox.aws.errors import PROTOCOLS, AwsError
from sandbox.aws.messages import Request

_MODELS = {"servicequotas": "service-quotas"}


@dataclass(frozen=True)
class _Route:
    """One REST operation: method, path pattern and the query keys that select it."""

    operation: str
    method: str
    path: re.Pattern[str]
    query: tuple[tuple[str, str | None], ...]


def read_operation(service: str, request: Request) -> tuple[str, dict[str, Any]]:
    """Give operation and parameters. Raises AwsError where no operation fits."""
    protocol = PROTOCOLS[service]
    if protocol in ("query", "ec2"):
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        form = {**dict(request.query()), **form}
        action = form.pop("Action", "")
        if not action:
            raise AwsError("MissingAction", "The request names no Action")
        return action, {k: v for k, v in form.items() if not k.startswith("X-Amz-")}
    if protocol == "json":
        target = request.headers.get("x-amz-target", "")
        return target.rpartition(".")[2], _json(request.body)
    return _rest(service, request)


def _json(body: bytes) -> dict[str, Any]:
    """Parse a JSON body; empty is no parameters."""
    try:
        value = json.loads(body or b"{}")
    except ValueError as exc:
        raise AwsError("SerializationException", "The body is not JSON") from exc
    if not isinstance(value, dict):
        raise AwsError("SerializationException", "The body must be a JSON object")
    return value


def _rest(service: str, request: Request) -> tuple[str, dict[str, Any]]:
    """Match method, path and query against the service's routes, the most specific first."""
    query: dict[str, Any] = {}
    for key, value in request.query():
        if not key.startswith("X-Amz-"):
            earlier = query.get(key)
            query[key] = value if earlier is None else [*_listed(earlier), value]
    for route in _routes(service):
        found = route.path.match(request.raw_path)
        if request.method != route.method or not found:
            continue
        if any(k not in query or (v is not None and query[k] != v) for k, v in route.query):
            continue
        params = {name: unquote(text) for name, text in found.groupdict().items()}
        params.update(query)
        if service != "s3":
            names = _path_members(service, route.operation)
            params = {names.get(name, name): value for name, value in params.items()}
            params.update(_json(request.body))
        return _by_header(route.operation, request), params
    raise AwsError("UnknownOperationException", f"No {service} operation fits this path", 404)


def _listed(value: Any) -> list[Any]:
    """Make a list of a value that may be one."""
    return value if isinstance(value, list) else [value]


def _by_header(operation: str, request: Request) -> str:
    """Tell copies from writes: only a header differs."""
    if "x-amz-copy-source" in request.headers:
        return {"PutObject": "CopyObject", "UploadPart": "UploadPartCopy"}.get(operation, operation)
    return operation


@lru_cache(maxsize=256)
def _path_members(service: str, operation: str) -> dict[str, str]:
    """Map names in the path to the members of the API: EKS writes {name} for clusterName."""
    model = botocore.session.get_session().get_service_model(_MODELS.get(service, service))
    shape = model.operation_model(operation).input_shape
    return {
        member.serialization["name"]: name
        for name, member in (shape.members if shape else {}).items()
        if member.serialization.get("location") == "uri"
    }


@lru_cache(maxsize=8)
def _routes(service: str) -> tuple[_Route, ...]:
    """Build the routes of a REST service from its model."""
    model = botocore.session.get_session().get_service_model(_MODELS.get(service, service))
    routes = []
    for name in model.operation_names:
        http = model.operation_model(name).http
        path, _, literal = http["requestUri"].partition("?")
        pairs = [one.partition("=") for one in literal.split("&") if one]
        query = [(key, value if sep else None) for key, sep, value in pairs]
        if service == "s3":
            query += [(key, None) for key in _S3_SELECTORS.get(name, ())]
        routes.append(_Route(name, http["method"], _path_pattern(path), tuple(query)))
    return tuple(sorted(routes, key=lambda one: (-len(one.query), -_weight(one), one.operation)))


# Required query parameters that the path of the model does not show.
_S3_SELECTORS = {
    "UploadPart": ("partNumber", "uploadId"),
    "UploadPartCopy": ("partNumber", "uploadId", "x-never"),
    "CompleteMultipartUpload": ("uploadId",),
    "AbortMultipartUpload": ("uploadId",),
    "ListParts": ("uploadId",),
    "CopyObject": ("x-never",),
}  # fmt: skip


def _weight(route: _Route) -> int:
    """Prefer paths with more literal text."""
    return len(re.sub(r"\(\?P<[^)]*\)", "", route.path.pattern))


def _path_pattern(path: str) -> re.Pattern[str]:
    """Turn /clusters/{name} into a pattern; {Key+} takes slashes."""
    parts = re.split(r"(\{[^}]+\})", path.rstrip("/") or "/")
    text = ""
    for part in parts:
        if part.startswith("{"):
            name = part[1:-1]
            text += f"(?P<{name.rstrip('+')}>.+)" if name.endswith("+") else f"(?P<{name}>[^/]+)"
        else:
            text += re.escape(part)
    return re.compile(f"^{text}/?$" if text != "/" else "^/$")
