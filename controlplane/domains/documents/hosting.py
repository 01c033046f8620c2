"""Check in a file which boundaries are to live in another one's cluster. Pure.

Called by `service` on the raw file, beside the checks of each boundary's own inputs: here two
boundaries must agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from wire.organization import Problem

EXISTING = "existing"
_PLACE = ("account", "region")
_HOSTS_OWN = ("cidr", "zones", "guests")


def hosting_problems(raw: Any) -> list[Problem]:
    """Return what is wrong between guests and hosts of a raw file."""
    listed = raw.get("boundaries") if isinstance(raw, dict) else None
    entries = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    by_name = {one["name"]: one for one in entries if isinstance(one.get("name"), str)}
    found: list[Problem] = []
    for index, entry in enumerate(listed if isinstance(listed, list) else []):
        if isinstance(entry, dict) and isinstance(entry.get("inputs", {}), dict):
            found += _of(f"boundaries[{index}].inputs", entry, by_name)
    return found


def host_of(inputs: Mapping[str, Any]) -> str | None:
    """Return whose cluster inputs ask for; None for one of its own."""
    return str(inputs.get("host") or "") if inputs.get("cluster") == EXISTING else None


def _of(path: str, entry: dict[str, Any], by_name: dict[str, dict[str, Any]]) -> Iterator[Problem]:
    inputs = entry.get("inputs", {})
    yield from _guests(path, entry, inputs, by_name)
    name = host_of(inputs)
    if name is None:
        if inputs.get("host") is not None:
            yield Problem(
                path=f"{path}.host",
                message="a boundary with a cluster of its own has no host",
                fix="take it out, or write `cluster: existing`",
            )
        return
    for own in _HOSTS_OWN:
        if own in inputs:
            yield Problem(
                path=f"{path}.{own}", message=f"{own!r} of a guest is its host's", fix="take it out"
            )
    yield from _host(f"{path}.host", entry, name, by_name)


def _guests(
    path: str, entry: dict[str, Any], inputs: dict[str, Any], by_name: dict[str, dict[str, Any]]
) -> Iterator[Problem]:
    guests = inputs.get("guests", [])
    for guest in guests if isinstance(guests, list) else []:
        if guest == entry.get("name") or guest not in by_name:
            yield Problem(
                path=f"{path}.guests",
                message=f"{guest!r} is no other boundary of this file",
                fix="name boundaries of this file",
            )


def _host(
    path: str, entry: dict[str, Any], name: str, by_name: dict[str, dict[str, Any]]
) -> Iterator[Problem]:
    host = by_name.get(name)
    if host is None or name == entry.get("name"):
        yield Problem(
            path=path,
            message=f"{name!r} is no other boundary of this file" if name else "no host is named",
            fix="name the boundary whose cluster it is",
        )
        return
    if _target(host) != _target(entry):
        yield Problem(
            path=path,
            message=f"{name!r} is in another account or region",
            fix="name a host with the same target",
        )
    theirs = host.get("inputs")
    theirs = theirs if isinstance(theirs, dict) else {}
    if host_of(theirs) is not None:
        yield Problem(
            path=path,
            message=f"{name!r} is a guest itself",
            fix="name the boundary whose cluster it is",
        )
    elif entry.get("name") not in (theirs.get("guests") or ()):
        yield Problem(
            path=path,
            message=f"{name!r} does not let this boundary in",
            fix=f"add {entry.get('name')!r} to `guests` in the inputs of {name!r}",
        )


def _target(entry: dict[str, Any]) -> tuple[Any, ...]:
    target = entry.get("target")
    return tuple(target.get(part) for part in _PLACE) if isinstance(target, dict) else ()
