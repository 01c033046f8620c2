"""What a resource type is to the provider: its properties, and its checks and differences.

Used by the servicer and by the tables in `types/`. Pure: no AWS call and no protocol object here,
so that check and diff are tested without either.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.aws_provider.cloud import Cloud

# The engine's spelling of "known only after apply" in a property value (pulumi.runtime.rpc).
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"

Properties = dict[str, Any]


class Kind(StrEnum):
    """The shape of a property."""

    STRING = "string"
    INTEGER = "integer"
    BOOLEAN = "boolean"
    JSON = "json"  # a string that holds a JSON document; compared by meaning
    LIST = "list"  # of strings; ordered
    SET = "set"  # of strings; unordered
    MAP = "map"  # string to string
    OBJECT = "object"
    OBJECTS = "objects"  # a list of objects


@dataclass(frozen=True)
class Prop:
    """One input property."""

    kind: Kind = Kind.STRING
    required: bool = False
    replace: bool = False
    """A change needs another resource."""
    default: Any = None
    fields: Mapping[str, "Prop"] = field(default_factory=dict)
    """The properties of an OBJECT, or of each item of OBJECTS."""


@dataclass(frozen=True)
class Change:
    """One changed leaf; `path` as in `vpcConfig.subnetIds[0]`."""

    path: str
    kind: str
    """`add`, `delete` or `update`."""
    replace: bool

    @property
    def top(self) -> str:
        """Return the name of the input property that holds the leaf."""
        return self.path.split(".", 1)[0].split("[", 1)[0]


@dataclass(frozen=True)
class ResourceType:
    """One row of the table: a type token and what to do with it.

    `create(cloud, inputs)` returns the id as soon as the object exists, before it is ready.
    `settle(cloud, id, inputs)` returns when it is ready. `read(cloud, id, known)` returns the live
    inputs and outputs, or None when the object is gone; `known` are the last inputs and outputs.
    `update(cloud, id, new, changed)` applies the changed top-level inputs.
    `delete(cloud, id, known)` returns when the object is gone; it succeeds when it already is.
    """

    type_name: str
    inputs: Mapping[str, Prop]
    outputs: tuple[str, ...]
    create: Callable[["Cloud", Properties], str]
    read: Callable[["Cloud", str, Properties], Properties | None]
    delete: Callable[["Cloud", str, Properties], None]
    update: Callable[["Cloud", str, Properties, frozenset[str]], None] | None = None
    settle: Callable[["Cloud", str, Properties], None] | None = None
    named: bool = False
    """The name is deterministic, so a replacement must delete first."""
    stable_outputs: frozenset[str] = frozenset()
    """Outputs that an update cannot change."""


@dataclass(frozen=True)
class Failure:
    """One refused input, in the words of Check."""

    property: str
    reason: str


def check(resource: ResourceType, inputs: Properties) -> tuple[Properties, list[Failure]]:
    """Return the inputs with defaults filled in, and everything that is wrong with them."""
    failures: list[Failure] = []
    checked = _check_fields(resource.type_name, "", resource.inputs, inputs, failures)
    return checked, failures


def _check_fields(
    token: str, prefix: str, props: Mapping[str, Prop], given: Properties, failures: list[Failure]
) -> Properties:
    checked: Properties = {}
    for name, value in given.items():
        # The SDK sends its own bookkeeping under names that start with two underscores.
        if value is None or name.startswith("__"):
            continue
        path = prefix + name
        prop = props.get(name)
        if prop is None:
            known = ", ".join(sorted(props))
            failures.append(
                Failure(
                    path,
                    f"{token} has no property {path!r} in the rehearsal provider; known: {known}",
                )
            )
            continue
        checked[name] = _check_value(token, path, prop, value, failures)
    for name, prop in props.items():
        if name in checked:
            continue
        if prop.default is not None:
            checked[name] = prop.default
        elif prop.required and given.get(name) is None:
            failures.append(Failure(prefix + name, f"{token} needs the property {prefix + name!r}"))
    return checked


def _check_value(token: str, path: str, prop: Prop, value: Any, failures: list[Failure]) -> Any:
    if value == UNKNOWN:
        return value
    if prop.kind is Kind.OBJECT and isinstance(value, dict):
        return _check_fields(token, path + ".", prop.fields, value, failures)
    if prop.kind is Kind.OBJECTS and isinstance(value, list):
        return [
            item
            if item == UNKNOWN
            else _check_fields(token, f"{path}[{index}].", prop.fields, item, failures)
            if isinstance(item, dict)
            else _refuse(token, f"{path}[{index}]", "object", item, failures)
            for index, item in enumerate(value)
        ]
    if prop.kind is Kind.INTEGER and isinstance(value, float) and value.is_integer():
        return int(value)
    if not _SHAPES[prop.kind](value):
        return _refuse(token, path, prop.kind.value, value, failures)
    return value


def _refuse(token: str, path: str, wanted: str, value: Any, failures: list[Failure]) -> Any:
    failures.append(
        Failure(path, f"{token}: {path!r} must be a {wanted}, got {type(value).__name__}")
    )
    return value


def _is_json(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        json.loads(value)
    except ValueError:
        return False
    return True


def _is_strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


_SHAPES: dict[Kind, Callable[[Any], bool]] = {
    Kind.STRING: lambda value: isinstance(value, str),
    Kind.INTEGER: lambda value: isinstance(value, int) and not isinstance(value, bool),
    Kind.BOOLEAN: lambda value: isinstance(value, bool),
    Kind.JSON: _is_json,
    Kind.LIST: _is_strings,
    Kind.SET: _is_strings,
    Kind.MAP: lambda value: isinstance(value, dict) and _is_strings(list(value.values())),
    Kind.OBJECT: lambda value: isinstance(value, dict),
    Kind.OBJECTS: lambda value: isinstance(value, list),
}


def same(prop: Prop, left: Any, right: Any) -> bool:
    """Say whether two values of a property mean the same; an unknown equals nothing."""
    if contains_unknown(left) or contains_unknown(right):
        return False
    if left is None or right is None:
        return left is right
    if prop.kind is Kind.JSON and _is_json(left) and _is_json(right):
        return bool(json.loads(left) == json.loads(right))
    if prop.kind is Kind.SET and isinstance(left, list) and isinstance(right, list):
        return sorted(left) == sorted(right)
    if prop.kind is Kind.OBJECT and isinstance(left, dict) and isinstance(right, dict):
        return _same_fields(prop.fields, left, right)
    if prop.kind is Kind.OBJECTS and isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(
            _same_fields(prop.fields, one, other) for one, other in zip(left, right, strict=True)
        )
    return bool(left == right)


def _same_fields(fields: Mapping[str, Prop], left: Properties, right: Properties) -> bool:
    return all(same(prop, left.get(name), right.get(name)) for name, prop in fields.items())


def contains_unknown(value: Any) -> bool:
    """Say whether a value is, or holds, something known only after apply."""
    if isinstance(value, dict):
        return any(contains_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(contains_unknown(item) for item in value)
    return bool(value == UNKNOWN)


def diff(resource: ResourceType, old: Properties, new: Properties) -> list[Change]:
    """Return the changed leaves between two sets of inputs, by path."""
    changes: list[Change] = []
    _diff_fields("", resource.inputs, old, new, False, changes)
    return sorted(changes, key=lambda change: change.path)


def _diff_fields(
    prefix: str,
    props: Mapping[str, Prop],
    old: Properties,
    new: Properties,
    replace: bool,
    changes: list[Change],
) -> None:
    for name, prop in props.items():
        before, after = old.get(name), new.get(name)
        if same(prop, before, after):
            continue
        path, replaces = prefix + name, replace or prop.replace
        if before is None or after is None:
            kind = "add" if before is None else "delete"
            changes.append(Change(path, kind, replaces))
        elif prop.kind is Kind.OBJECT and isinstance(before, dict) and isinstance(after, dict):
            _diff_fields(path + ".", prop.fields, before, after, replaces, changes)
        elif prop.kind is Kind.MAP and isinstance(before, dict) and isinstance(after, dict):
            keys = {key: Prop() for key in (*before, *after)}
            _diff_fields(path + ".", keys, before, after, replaces, changes)
        else:
            changes.append(Change(path, "update", replaces))


def merge(resource: ResourceType, known: Properties, live: Properties) -> Properties:
    """Return the inputs as they are live, spelled as known where both mean the same.

    Only inputs that were set before are compared, so that a default chosen by the cloud is no
    drift; with nothing known (an import) every live input counts.
    """
    names = set(known) & set(resource.inputs) if known else set(resource.inputs)
    return _merge_fields({name: resource.inputs[name] for name in names}, known, live)


def _merge_fields(props: Mapping[str, Prop], known: Properties, live: Properties) -> Properties:
    merged: Properties = {}
    for name, prop in props.items():
        # A property that the cloud does not report back keeps its last known value.
        value = live.get(name, known.get(name))
        before = known.get(name)
        if value is None:
            continue
        if prop.kind is Kind.OBJECT and isinstance(value, dict) and isinstance(before, dict):
            inner = {key: prop.fields[key] for key in before if key in prop.fields}
            merged[name] = _merge_fields(inner, before, value)
        else:
            merged[name] = before if same(prop, before, value) else value
    return merged
