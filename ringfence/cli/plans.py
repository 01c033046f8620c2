"""Print a plan for people: what is done and why, what changes, how long it takes, what it costs.

Called by `ringfence run plan --summary`. Separate from `runs` because it only prints: everything
said here was worked out by the server.
"""

from __future__ import annotations

import json
from typing import Any

from ringfence.cli.output import out, print_table

_HOLES = {"secret": "(secret)", "computed": "(known after the apply)"}


def print_plan(view: dict[str, Any]) -> None:
    """Print the view of a plan."""
    doing = ", ".join(f"{n} to {op}" for op, n in view["operations"].items() if op != "same")
    kept = view["operations"].get("same", 0)
    update, restore = view.get("update"), view.get("restore")
    beside = bool(update and (update["desired"] or update["release"]))
    idle = "nothing to change in the account" if beside else "nothing to do"
    out.print(", ".join(p for p in (doing or idle, kept and f"{kept} kept") if p))
    if update:
        _print_update(update)
    if restore:
        _print_restore(restore)
    if view["shared"]:
        _print_shared(view["shared"])
    out.print()
    print_table(
        ("STACK", "DOES", "WHAT", "NAME", "TIME", "A MONTH", "WHY"),
        [
            (
                resource["stack"],
                resource["operation"],
                resource["what"],
                resource["name"],
                _time(resource["time"]),
                _month(resource["cost"]),
                resource["why"],
            )
            for resource in view["resources"]
        ],
        "the plan has no resources",
    )
    for resource in view["resources"]:
        _print_changes(resource)
    _print_cost(view["cost"])
    if view["time_scale"] != 1:
        out.print(f"times are simulated, at {view['time_scale']:g} of those published")


def changes_something(view: dict[str, Any]) -> bool:
    """Say whether the plan of an update or a restore would change anything, our record included."""
    update, restore = view["update"], view.get("restore")
    return bool(
        any(count for op, count in view["operations"].items() if op != "same")
        or (update and (update["desired"] or update["release"]))
        or (restore and restore["adopted"])
    )


def _print_restore(restore: dict[str, Any]) -> None:
    out.print(f"from the {restore['source']} record", markup=False)
    for item in restore["adopted"]:
        out.print(f"  adopted  {item['stack']}/{item['name']} ({item['id']})", markup=False)
    for item in restore["lost"]:
        data = f": {item['reason']}, and what was in it is gone" if item["reason"] else ""
        line = f"  lost     {item['stack']}/{item['name']} ({item['id']}){data}"
        out.print(line, markup=False)
    for item in restore["kept"]:
        line = f"  stays    {item['stack']}/{item['name']} ({item['id']}): {item['reason']}"
        out.print(line, markup=False)


def _print_update(update: dict[str, Any]) -> None:
    head = f"revision {update['from_revision']} -> {update['to_revision']}"
    if update["from_version"] != update["to_version"]:
        head += f", blueprint {update['from_version']} -> {update['to_version']}"
    out.print(head, markup=False)
    for item in update["inputs"]:
        line = f"  input {item['name']}: {_value(item['old'])} -> {_value(item['new'])}"
        out.print(line, markup=False)
    for item in update["desired"]:
        out.print(f"  {item['change']} {item['kind']} {item['name']}", markup=False)
    if update["release"]:
        out.print("  operator, agent and gateway are upgraded: the way in is opened for it")


def _print_shared(shared: dict[str, Any]) -> None:
    """Say whose cluster it is and who else lives in it: nodes and their kernel are shared."""
    if shared["host"]:
        whose = f"of boundary {shared['host']}: its control plane and its nodes are shared"
    else:
        whose = f"is shared with {', '.join(shared['guests'])}, if they are installed"
    out.print(f"cluster {shared['cluster']} {whose}", markup=False)


def _print_changes(resource: dict[str, Any]) -> None:
    if not resource["changes"]:
        return
    forced = resource["replaced_for"]
    why = f", replaced because of {', '.join(forced)}" if forced else ""
    head = f"\n{resource['operation']} {resource['what']} {resource['name']}{why}"
    out.print(head, markup=False)
    for change in resource["changes"]:
        line = f"  {change['path']}: {_value(change['old'])} -> {_value(change['new'])}"
        out.print(line, markup=False)


def _print_cost(cost: dict[str, Any]) -> None:
    currency = cost["currency"]
    if cost["as_of"] is None:
        out.print("\nno list price is known for anything in this plan")
        return
    out.print(
        f"\nestimate: {cost['monthly']:.2f} {currency} a month after the apply"
        f" ({cost['added']:.2f} added, {cost['ended']:.2f} ended), without"
        f" {cost['unpriced']} resources that have no price here and without what is charged by use",
        markup=False,
    )
    where = f"; the install is in {cost['installed_in']}" if cost["installed_in"] else ""
    out.print(f"list prices of {cost['region']} from {cost['as_of']} on{where}", markup=False)


def _time(time: dict[str, Any] | None) -> str:
    return "" if time is None else f"{time['p50_seconds']:.0f}-{time['p90_seconds']:.0f} s"


def _month(cost: dict[str, Any] | None) -> str:
    return "no price" if cost is None else f"{cost['monthly']:.2f}"


def _value(value: Any) -> str:
    if isinstance(value, dict) and set(value) == {"$hole"}:
        return _HOLES.get(value["$hole"], "(not fixed)")
    return "not set" if value is None else json.dumps(value)
