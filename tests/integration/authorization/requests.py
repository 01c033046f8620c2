"""The smallest valid request to a route, made from the API's own description.

Used by the tests of the published table. Names and ids in path and body are those of one boundary,
so that the same request can be made about one's own, another's, or nothing that exists.
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from controlplane.app import make_routes
from tests.integration.authorization.world import Spot

DESCRIPTION: dict[str, Any] = make_routes().openapi()


def concrete(path: str, spot: Spot, method: str = "GET") -> str:
    """Fill a path with the names and ids of a boundary, and add the query that it needs.

    A parameter that stands for no object gets an id that does not exist, or the first value of its
    enumeration.
    """
    operation = DESCRIPTION["paths"].get(path, {}).get(method.lower(), {})
    schemas = {p["name"]: p for p in operation.get("parameters", [])}

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name == "boundary":
            return spot.name
        if name == "name":
            return spot.organization
        choices = schemas.get(name, {}).get("schema", {}).get("enum")
        return str(spot.objects.get(name) or (choices[0] if choices else uuid4()))

    needed = {
        name: _example(parameter["schema"], name, spot)
        for name, parameter in schemas.items()
        if parameter["in"] == "query" and parameter.get("required")
    }
    return re.sub(r"{(\w+)}", value, path) + (f"?{urlencode(needed)}" if needed else "")


def body(method: str, path: str, spot: Spot) -> Any:
    """Return the smallest body that fits the description, or None; bytes where it is not JSON."""
    operation = DESCRIPTION["paths"].get(path, {}).get(method.lower(), {})
    content = operation.get("requestBody", {}).get("content", {})
    if content and "application/json" not in content:
        return b"x"
    schema = content.get("application/json", {}).get("schema")
    return None if schema is None else _example(schema, "", spot)


def _example(schema: dict[str, Any], name: str, spot: Spot) -> Any:
    if "$ref" in schema:
        target = schema["$ref"].rsplit("/", 1)[-1]
        return _example(DESCRIPTION["components"]["schemas"][target], name, spot)
    for choice in ("anyOf", "oneOf", "allOf"):
        if choice in schema:
            return _example(schema[choice][0], name, spot)
    for fixed in ("const", "default"):
        if schema.get(fixed) is not None:
            return schema[fixed]
    if "enum" in schema:
        return schema["enum"][0]
    return _of_type(schema, name, spot)


def _of_type(schema: dict[str, Any], name: str, spot: Spot) -> Any:
    kind = schema.get("type")
    if kind == "object":
        properties = schema.get("properties", {})
        # A boundary that may be left out is named, so that the request is about one.
        wanted = [k for k in properties if k in schema.get("required", []) or k == "boundary"]
        return {key: _example(properties.get(key, {}), key, spot) for key in wanted}
    if kind == "array":
        count = schema.get("minItems", 0)
        return [_example(schema.get("items", {}), name, spot) for _ in range(count)]
    if kind in ("integer", "number"):
        return schema.get("minimum", schema.get("exclusiveMinimum", 0) + 1)
    if kind == "boolean":
        return False
    return _text(schema, name, spot)


def _text(schema: dict[str, Any], name: str, spot: Spot) -> str:
    if name == "boundary":
        return spot.name
    if schema.get("format") == "uuid":
        return str(spot.objects.get(name) or uuid4())
    if schema.get("format") == "date-time":
        return "2026-01-01T00:00:00Z"
    if "sha256" in schema.get("pattern", ""):
        return "sha256:" + "0" * 64
    return "x" * max(1, int(schema.get("minLength", 1)))
