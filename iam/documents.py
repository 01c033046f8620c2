"""Policy documents as typed values.

The evaluator, the role template and the rehearsal account read policies through this module, so
that a malformed document is refused in one place, with the field named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_STATEMENT_KEYS = {
    "Sid", "Effect", "Action", "NotAction", "Resource", "NotResource",
    "Principal", "NotPrincipal", "Condition",
}  # fmt: skip


class PolicyError(ValueError):
    """A policy document that AWS would refuse; the message names the field and the fix."""


@dataclass(frozen=True)
class Condition:
    """One operator and key with its values, for example StringEquals sts:ExternalId."""

    operator: str
    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Statement:
    """One statement; a principal map is None where the document has no such element."""

    sid: str
    effect: str
    actions: tuple[str, ...] = ()
    not_actions: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    not_resources: tuple[str, ...] = ()
    principals: Mapping[str, tuple[str, ...]] | None = None
    not_principals: Mapping[str, tuple[str, ...]] | None = None
    conditions: tuple[Condition, ...] = ()


@dataclass(frozen=True)
class Policy:
    """A parsed document; `variables` is false for version 2008-10-17, which has none."""

    name: str
    statements: tuple[Statement, ...]
    variables: bool = True
    source: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)


def parse_policy(document: str | Mapping[str, Any], name: str = "policy") -> Policy:
    """Parse a policy document.

    Raises PolicyError where the document is not JSON, has an unknown element or lacks a needed one.
    Source: https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html
    """
    if isinstance(document, str):
        try:
            document = json.loads(document)
        except json.JSONDecodeError as exc:
            raise PolicyError(f"{name}: not JSON ({exc.msg} at position {exc.pos})") from exc
    if not isinstance(document, Mapping):
        raise PolicyError(f"{name}: a policy document is a JSON object")
    version = document.get("Version", "2008-10-17")
    if version not in ("2012-10-17", "2008-10-17"):
        raise PolicyError(f"{name}: Version {version!r} is unknown, use 2012-10-17")
    unknown = set(document) - {"Version", "Id", "Statement"}
    if unknown:
        raise PolicyError(f"{name}: unknown element {sorted(unknown)[0]!r}")
    raw = document.get("Statement")
    listed = [raw] if isinstance(raw, Mapping) else raw
    if not isinstance(listed, list):
        raise PolicyError(f"{name}: Statement must be an object or a list of objects")
    statements = tuple(_statement(one, f"{name}: Statement[{i}]") for i, one in enumerate(listed))
    return Policy(name, statements, version == "2012-10-17", document)


def _statement(raw: Any, where: str) -> Statement:
    """Parse one statement; exactly one of Action/NotAction, at most one of Resource/NotResource."""
    if not isinstance(raw, Mapping):
        raise PolicyError(f"{where} must be an object")
    unknown = set(raw) - _STATEMENT_KEYS
    if unknown:
        raise PolicyError(f"{where}: unknown element {sorted(unknown)[0]!r}")
    if raw.get("Effect") not in ("Allow", "Deny"):
        raise PolicyError(f"{where}: Effect must be Allow or Deny, got {raw.get('Effect')!r}")
    if ("Action" in raw) == ("NotAction" in raw):
        raise PolicyError(f"{where}: give exactly one of Action and NotAction")
    if "Resource" in raw and "NotResource" in raw:
        raise PolicyError(f"{where}: give one of Resource and NotResource, not both")
    return Statement(
        sid=str(raw.get("Sid", "")),
        effect=str(raw["Effect"]),
        actions=_strings(raw.get("Action"), f"{where}.Action"),
        not_actions=_strings(raw.get("NotAction"), f"{where}.NotAction"),
        resources=_strings(raw.get("Resource"), f"{where}.Resource"),
        not_resources=_strings(raw.get("NotResource"), f"{where}.NotResource"),
        principals=_principals(raw.get("Principal"), f"{where}.Principal"),
        not_principals=_principals(raw.get("NotPrincipal"), f"{where}.NotPrincipal"),
        conditions=_conditions(raw.get("Condition"), f"{where}.Condition"),
    )


def _strings(value: Any, where: str) -> tuple[str, ...]:
    """Accept a string or a list of strings; absent is empty."""
    if value is None:
        return ()
    listed = value if isinstance(value, list) else [value]
    for one in listed:
        if not isinstance(one, str):
            raise PolicyError(f"{where} must be a string or a list of strings, got {one!r}")
    return tuple(listed)


def _principals(value: Any, where: str) -> Mapping[str, tuple[str, ...]] | None:
    """Accept "*" or a map from AWS, Service, Federated or CanonicalUser to names."""
    if value is None:
        return None
    if value == "*":
        return {"*": ("*",)}
    if not isinstance(value, Mapping):
        raise PolicyError(f'{where} must be "*" or an object')
    unknown = set(value) - {"AWS", "Service", "Federated", "CanonicalUser"}
    if unknown:
        raise PolicyError(f"{where}: unknown principal type {sorted(unknown)[0]!r}")
    return {kind: _strings(names, f"{where}.{kind}") for kind, names in value.items()}


def _conditions(value: Any, where: str) -> tuple[Condition, ...]:
    """Flatten {operator: {key: values}}; booleans and numbers become their JSON text."""
    if value is None:
        return ()
    if not isinstance(value, Mapping):
        raise PolicyError(f"{where} must be an object")
    found: list[Condition] = []
    for operator, keys in value.items():
        if not isinstance(keys, Mapping):
            raise PolicyError(f"{where}.{operator} must be an object")
        for key, raw in keys.items():
            listed = raw if isinstance(raw, list) else [raw]
            values = tuple(one if isinstance(one, str) else json.dumps(one) for one in listed)
            found.append(Condition(operator, key, values))
    return tuple(found)
