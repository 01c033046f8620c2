"""The organization's file: what a solution architect writes and the control plane applies.

Read by the command line (which adds file and line to each problem) and by the API. `check` is pure
and reports every problem at once; what only the server knows (blueprints, accounts, models) is
passed in. Shape and meaning are checked separately, so that an unknown field in one boundary does
not hide an overlapping network in another.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from ipaddress import IPv4Network
from typing import Any

from pydantic import ValidationError

from wire.organization_document import (
    AccountEntry,
    BoundaryEntry,
    ConnectionEntry,
    GroupEntry,
    ModelsEntry,
    OrganizationDocument,
    ProvisioningEntry,
    RoleMappingEntry,
    SignInEntry,
    TargetEntry,
)
from wire.version import Document, UnsupportedVersionError

__all__ = [
    "AccountEntry",
    "BoundaryEntry",
    "ConnectionEntry",
    "GroupEntry",
    "ModelsEntry",
    "OrganizationDocument",
    "Problem",
    "ProvisioningEntry",
    "RoleMappingEntry",
    "SignInEntry",
    "TargetEntry",
    "check",
    "join_path",
    "path_parts",
]


class Problem(Document):
    """One thing that is wrong, where it is, and what to do about it."""

    path: str
    """As in `boundaries[1].inputs.cidr`; empty for the whole document."""
    message: str
    fix: str


def path_parts(path: str) -> tuple[str | int, ...]:
    """Split a problem's path into keys and indexes, for finding its line in a file."""
    return tuple(
        int(index) if index else key for key, index in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)
    )


def join_path(parts: Collection[str | int]) -> str:
    """Write keys and indexes as a problem's path."""
    text = ""
    for part in parts:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


def check(
    document: Any,
    *,
    blueprints: Mapping[str, Collection[str]] | None = None,
    accounts: Collection[str] | None = None,
    models: Mapping[str, str] | None = None,
) -> list[Problem]:
    """Return all problems of a raw document, ordered by path; an empty list means it is sound.

    Shapes: `blueprints` maps a name to its versions, `accounts` holds the account numbers that
    exist, `models` maps a name to `base` or `adapter`; None leaves that check to the server.
    """
    if not isinstance(document, dict):
        return [
            Problem(
                path="",
                message="the document is not a mapping",
                fix="start it with `organization: <name>`",
            )
        ]
    found = [
        *_shape(document),
        *_duplicates(document),
        *_references(document),
        *_networks(document),
        *_role_mappings(document),
        *_roles(document),
    ]
    if blueprints is not None:
        found += _blueprints(document, blueprints)
    if accounts is not None:
        found += _accounts(document, accounts)
    if models is not None:
        found += _models(document, models)
    unique = {(p.path, p.message): p for p in found}
    return sorted(unique.values(), key=lambda p: [str(x).zfill(6) for x in path_parts(p.path)])


def _shape(document: dict[str, Any]) -> list[Problem]:
    try:
        OrganizationDocument.from_wire(document)
    except ValidationError as error:
        # The rejected value is left out: a secret may have been pasted into the file.
        return [_shape_problem(e) for e in error.errors(include_url=False, include_input=False)]
    return []


def _shape_problem(error: Any) -> Problem:
    parts = [part for part in error["loc"] if part != "[key]"]
    path = join_path(parts)
    kind = error["type"]
    if isinstance(error.get("ctx", {}).get("error"), UnsupportedVersionError):
        cause = error["ctx"]["error"]
        return Problem(path="version", message=str(cause), fix="write `version: 1`")
    name = parts[-1] if parts else "the document"
    if kind == "extra_forbidden":
        known = _known_fields(parts[:-1])
        fix = f"remove it; known here are {', '.join(known)}" if known else "remove it"
        return Problem(path=path, message=f"unknown field {name!r}", fix=fix)
    if kind == "missing":
        return Problem(path=path, message=f"{name!r} is missing", fix=f"add `{name}:`")
    if kind == "string_pattern_mismatch":
        pattern = error["ctx"]["pattern"]
        return Problem(
            path=path, message=f"{name!r} is not of the form {pattern}", fix="change it to fit"
        )
    if kind == "string_type":
        fix = (
            f'put it in quotes, as in `{name}: "111122223333"`'
            if name == "account"
            else ("write it as text, in quotes where it looks like a number")
        )
        return Problem(path=path, message=f"{name!r} must be text", fix=fix)
    if kind in _CONTAINER_TYPES:
        noun, example = _CONTAINER_TYPES[kind]
        return Problem(path=path, message=f"{name!r} must be a {noun}", fix=f"write {example}")
    return Problem(path=path, message=str(error["msg"]), fix="change it to fit")


_CONTAINER_TYPES = {
    "tuple_type": ("list", "one `- …` line per entry"),
    "list_type": ("list", "one `- …` line per entry"),
    "dict_type": ("mapping", "one `name: value` line per entry, indented"),
    "model_type": ("mapping", "one `name: value` line per entry, indented"),
}

_CONTAINERS: dict[str, type[Document]] = {
    "": OrganizationDocument,
    "accounts": AccountEntry,
    "groups": GroupEntry,
    "role_mappings": RoleMappingEntry,
    "provisioning": ProvisioningEntry,
    "boundaries": BoundaryEntry,
    "boundaries.target": TargetEntry,
    "boundaries.connection": ConnectionEntry,
    "boundaries.models": ModelsEntry,
}


def _known_fields(parts: list[str | int]) -> list[str]:
    kind = _CONTAINERS.get(".".join(str(p) for p in parts if not isinstance(p, int)))
    return list(kind.model_fields) if kind is not None else []


def _items(document: Mapping[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    """Return the mappings of a list with their index; what has another shape is left out."""
    value = document.get(key)
    if not isinstance(value, list | tuple):
        return []
    return [(i, item) for i, item in enumerate(value) if isinstance(item, dict)]


def _texts(value: Any) -> list[tuple[int, str]]:
    if not isinstance(value, list | tuple):
        return []
    return [(i, item) for i, item in enumerate(value) if isinstance(item, str)]


def _duplicates(document: dict[str, Any]) -> Iterator[Problem]:
    for key, field, noun in (
        ("boundaries", "name", "boundary"),
        ("groups", "name", "group"),
        ("accounts", "name", "account name"),
        ("accounts", "account", "account"),
    ):
        first: dict[str, int] = {}
        for index, item in _items(document, key):
            value = item.get(field)
            if not isinstance(value, str):
                continue
            if value in first:
                yield Problem(
                    path=f"{key}[{index}].{field}",
                    message=f"the {noun} {value!r} is there already, as {key}[{first[value]}]",
                    fix=f"give it another {field}, or remove one of the two",
                )
            first.setdefault(value, index)
    for index, boundary in _items(document, "boundaries"):
        yield from _repeated(boundary.get("groups"), f"boundaries[{index}].groups")
        models = boundary.get("models")
        if isinstance(models, dict):
            yield from _repeated(models.get("adapters"), f"boundaries[{index}].models.adapters")


def _repeated(value: Any, path: str) -> Iterator[Problem]:
    seen: set[str] = set()
    for index, text in _texts(value):
        if text in seen:
            yield Problem(
                path=f"{path}[{index}]", message=f"{text!r} is named twice", fix="remove one"
            )
        seen.add(text)


def _references(document: dict[str, Any]) -> Iterator[Problem]:
    accounts = {item.get("name") for _, item in _items(document, "accounts")}
    groups = {item.get("name") for _, item in _items(document, "groups")}
    for index, boundary in _items(document, "boundaries"):
        target = boundary.get("target")
        name = target.get("account") if isinstance(target, dict) else None
        if isinstance(name, str) and name not in accounts:
            yield Problem(
                path=f"boundaries[{index}].target.account",
                message=f"there is no account called {name!r} in `accounts`",
                fix=f"use one of {_listed(accounts)}, or add it to `accounts`",
            )
        for position, group in _texts(boundary.get("groups")):
            if group not in groups:
                yield Problem(
                    path=f"boundaries[{index}].groups[{position}]",
                    message=f"there is no group called {group!r} in `groups`",
                    fix=f"use one of {_listed(groups)}, or add it to `groups`",
                )


def _role_mappings(document: dict[str, Any]) -> Iterator[Problem]:
    groups = {item.get("name") for _, item in _items(document, "groups")}
    boundaries = {item.get("name") for _, item in _items(document, "boundaries")}
    first: dict[tuple[Any, Any, Any], int] = {}
    for index, mapping in _items(document, "role_mappings"):
        group, boundary = mapping.get("group"), mapping.get("boundary")
        if isinstance(group, str) and group not in groups:
            yield Problem(
                path=f"role_mappings[{index}].group",
                message=f"there is no group called {group!r} in `groups`",
                fix=f"use one of {_listed(groups)}, or add it to `groups`, with `members: []`"
                " where the identity provider says who is in it",
            )
        if isinstance(boundary, str) and boundary not in boundaries:
            yield Problem(
                path=f"role_mappings[{index}].boundary",
                message=f"there is no boundary called {boundary!r} in `boundaries`",
                fix=f"use one of {_listed(boundaries)}, or leave it out for the whole organization",
            )
        key = (str(group), str(mapping.get("role")), str(boundary))
        if key in first:
            yield Problem(
                path=f"role_mappings[{index}]",
                message=f"this mapping is there already, as role_mappings[{first[key]}]",
                fix="remove one of the two",
            )
        first.setdefault(key, index)


def _listed(names: Collection[Any]) -> str:
    known = sorted(str(name) for name in names if name is not None)
    return ", ".join(known) if known else "(none)"


def _networks(document: dict[str, Any]) -> Iterator[Problem]:
    earlier: list[tuple[str, IPv4Network]] = []
    for index, boundary in _items(document, "boundaries"):
        inputs = boundary.get("inputs")
        cidr = inputs.get("cidr") if isinstance(inputs, dict) else None
        if not isinstance(cidr, str):
            continue
        path = f"boundaries[{index}].inputs.cidr"
        try:
            network = IPv4Network(cidr)
        except ValueError as error:
            yield Problem(
                path=path,
                message=f"{cidr!r} is not an IPv4 network: {error}",
                fix="write the first address of the block and its length, as in 10.20.0.0/16",
            )
            continue
        for name, other in earlier:
            if network.overlaps(other):
                yield Problem(
                    path=path,
                    message=f"{cidr} overlaps with {other} of boundary {name!r}",
                    fix=f"choose a block outside {other}",
                )
        earlier.append((str(boundary.get("name", f"boundaries[{index}]")), network))


def _roles(document: dict[str, Any]) -> Iterator[Problem]:
    """A file in which nobody can ask, or nobody else can approve, leads nowhere: say so early."""
    people = document.get("people")
    if not isinstance(people, dict):
        return
    askers = {text for _, text in _texts(people.get("solution-architect"))}
    approvers = {text for _, text in _texts(people.get("approver"))}
    # Who is in a mapped group is for the identity provider to say: it may be somebody.
    mapped = {m.get("role") for _, m in _items(document, "role_mappings") if "boundary" not in m}
    if not askers and "solution-architect" not in mapped:
        yield Problem(
            path="people",
            message="nobody is a solution-architect, so nobody can request a grant",
            fix="add `solution-architect: [<subject>]`",
        )
    if not approvers - askers and "approver" not in mapped:
        yield Problem(
            path="people",
            message="no approver is another person than the solution architects: four eyes",
            fix="add `approver: [<subject of somebody else>]`",
        )


def _blueprints(
    document: dict[str, Any], blueprints: Mapping[str, Collection[str]]
) -> Iterator[Problem]:
    for index, boundary in _items(document, "boundaries"):
        name, version = boundary.get("blueprint"), boundary.get("version")
        if not isinstance(name, str):
            continue
        if name not in blueprints:
            yield Problem(
                path=f"boundaries[{index}].blueprint",
                message=f"there is no blueprint {name!r}",
                fix=f"use one of {_listed(blueprints)}",
            )
        elif isinstance(version, str) and version not in blueprints[name]:
            yield Problem(
                path=f"boundaries[{index}].version",
                message=f"blueprint {name!r} has no version {version}",
                fix=f"use one of {_listed(blueprints[name])}",
            )


def _accounts(document: dict[str, Any], accounts: Collection[str]) -> Iterator[Problem]:
    for index, entry in _items(document, "accounts"):
        number = entry.get("account")
        if isinstance(number, str) and number not in accounts:
            yield Problem(
                path=f"accounts[{index}].account",
                message=f"account {number} does not exist",
                fix="check the twelve digits against the account's own console",
            )


def _models(document: dict[str, Any], models: Mapping[str, str]) -> Iterator[Problem]:
    for index, boundary in _items(document, "boundaries"):
        entry = boundary.get("models")
        if not isinstance(entry, dict):
            continue
        path = f"boundaries[{index}].models"
        base = entry.get("base")
        if isinstance(base, str):
            yield from _model(base, "base", f"{path}.base", models)
        for position, adapter in _texts(entry.get("adapters")):
            yield from _model(adapter, "adapter", f"{path}.adapters[{position}]", models)


def _model(name: str, kind: str, path: str, models: Mapping[str, str]) -> Iterator[Problem]:
    if models.get(name) == kind:
        return
    known = _listed([n for n, k in models.items() if k == kind])
    message = f"there is no {kind} model {name!r}"
    if name in models:
        message = f"{name!r} is not a model of kind {kind}"
    yield Problem(path=path, message=message, fix=f"use one of {known}")
