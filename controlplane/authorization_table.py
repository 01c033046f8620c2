"""The permits and the published table of access: `python -m controlplane.authorization_table`.

`--write` writes `policies/routes.cedar` and `actions.cedarschema` from the route table, then
`docs/reference/authorization.{json,md}` from what the policies decide, for every role at every
layer. `--check` fails when a file is not what the code says, or when the application has a route
that the table does not name. A test asks every row of the published table of the real application.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any
from uuid import UUID

from fastapi.routing import APIRoute

from controlplane.app import make_routes
from controlplane.domains.identity import decision
from controlplane.domains.identity.decision import POLICIES, Asker, Place
from controlplane.domains.identity.principals import HeldRole
from controlplane.domains.identity.route_table import ROUTES, Rule
from controlplane.tables.identity import RoleName

REFERENCE = Path(__file__).resolve().parent.parent / "docs" / "reference"
SERVED_BESIDE_ROUTES = {("GET", "/v1/openapi.json")}
"""Answered by the application itself, without a route of ours."""
HERE, ELSEWHERE = UUID(int=1), UUID(int=2)
OWN, OTHER = UUID(int=11), UUID(int=12)
HELD_AT: dict[str, HeldRole] = {
    "platform": HeldRole(None, None, None, "", False),
    "organization": HeldRole(HERE, "here", None, "", False),
    "own boundary": HeldRole(HERE, "here", OWN, "", False),
    "other boundary": HeldRole(HERE, "here", OTHER, "", False),
    "guest pending": HeldRole(HERE, "here", None, "", True),
    "other organization": HeldRole(ELSEWHERE, "elsewhere", None, "", False),
}
"""Where a role is held, seen from a request about the boundary `OWN` of the organization `HERE`."""


def groups(method: str, path: str, rule: Rule) -> list[str]:
    """Return the action groups of a route: what the forbids speak about.

    A request by POST that an auditor may make changes no state of a tenant: it makes evidence.
    """
    found = []
    if rule.layer in ("authenticated", "platform", "document"):
        found.append("platform")
    if method != "GET" and rule.layer != "authenticated" and RoleName.AUDITOR not in rule.roles:
        found.append("write")
    if path.endswith(("/approve", "/deny")):
        found.append("decide")
    return found


def resources(rule: Rule) -> list[str]:
    """Return the kinds of things that a route of this layer acts on."""
    return {
        "authenticated": ["Platform"],
        "platform": ["Platform"],
        "document": ["Platform", "Organization"],
        "organization": ["Organization"],
        "boundary": ["Organization", "Boundary"],
    }.get(rule.layer, [])


def render_schema() -> str:
    """Return the actions of the schema, one per route for people."""
    lines = [
        "// Written by controlplane.authorization_table from the route table; not by hand.",
        'action "platform", "write", "decide";',
    ]
    for (method, path), rule in sorted(ROUTES.items()):
        if not resources(rule):
            continue
        inside = ", ".join(f'"{g}"' for g in groups(method, path, rule))
        lines += [
            f'action "{method} {path}"' + (f" in [{inside}]" if inside else ""),
            f"  appliesTo {{ principal: Principal, resource: [{', '.join(resources(rule))}] }};",
        ]
    return "\n".join(lines) + "\n"


def render_permits() -> str:
    """Return one permit per route, kind of resource, and layer at which a role counts."""
    parts = ["// Written by controlplane.authorization_table from the route table; not by hand.\n"]
    for (method, path), rule in sorted(ROUTES.items()):
        for kind in resources(rule):
            parts += _permits(f"{method} {path}", rule, kind)
    return "\n".join(parts)


def _permits(action: str, rule: Rule, kind: str) -> list[str]:
    if rule.layer == "authenticated":
        return [_permit(f"{action} by anyone known", "platform", action, kind, "")]
    held = [(kind.lower(), "resource.holders")]
    if kind == "Boundary":
        held.insert(0, ("organization", "resource.organization.holders"))
    return [
        _permit(
            f"{action} on {kind.lower()} by {layer} role",
            layer,
            action,
            kind,
            "".join(f'\n  {where}["{role}"],' for role in RoleName if role in rule.roles),
        )
        for layer, where in held
    ]


def _permit(name: str, layer: str, action: str, kind: str, holders: str) -> str:
    when = f"\nwhen {{ principal in [{holders.rstrip(',')}\n] }}" if holders else ""
    return (
        f'@id("{name}")\n@layer("{layer}")\n'
        f'permit (principal, action == Action::"{action}", resource is {kind}){when};\n'
    )


def statuses(method: str, path: str, rule: Rule) -> dict[str, dict[str, str]]:
    """Return what each role gets, by where it is held: `allow` or the status of the refusal.

    The request is about the boundary `OWN` of the organization `HERE` and names it by header.
    """
    if rule.layer == "public":
        return {}
    return {
        str(role): {where: _status(f"{method} {path}", rule, where, role) for where in HELD_AT}
        for role in RoleName
    }


def _status(action: str, rule: Rule, where: str, role: RoleName) -> str:
    held = HELD_AT[where]
    held = HeldRole(
        held.organization_id, held.organization_name, held.boundary_id, role, held.is_pending_guest
    )
    # Of another provider where an approval is still missing; otherwise of the role's organization.
    home = None if held.is_pending_guest else held.organization_id
    asker = Asker("somebody", "human", home, (held,))
    if rule.layer in ("authenticated", "platform"):
        return _of(decision.decide(asker, action, [Place()])[0].is_allowed)
    if rule.layer == "document" and where == "platform":
        # A file that makes a new organization; one that is there asks for a role inside it.
        return _of(decision.decide(asker, action, [Place()])[0].is_allowed)
    if rule.layer != "document" and where in ("platform", "other organization"):
        # A role elsewhere does not show that this organization exists.
        return "404"
    if rule.layer in ("document", "organization"):
        return _of(decision.decide(asker, action, [Place(HERE)])[0].is_allowed)
    whole, own, other = decision.decide(
        asker, action, [Place(HERE), Place(HERE, OWN), Place(HERE, OTHER)]
    )
    if whole.is_allowed or own.is_allowed:
        return "allow"
    if other.is_allowed and _names_no_boundary(action):
        # It is about what the caller may see, and shows nothing of this boundary.
        return "allow"
    # Who may do it somewhere is not told that there is another place.
    return "404" if other.is_allowed else "403"


def _names_no_boundary(action: str) -> bool:
    """Tell whether a route is about the organization as far as the caller sees it."""
    named = action.replace("/v1/organizations/{name}", "")
    return "{" not in named and (action.startswith("GET ") or named != action)


def _of(is_allowed: bool) -> str:
    return "allow" if is_allowed else "403"


def rows() -> list[dict[str, Any]]:
    """Return the table, one row per route, sorted by path."""
    return [
        {
            "method": method,
            "path": path,
            "layer": rule.layer,
            "nobody": {"public": "allow", "agent": "401"}.get(rule.layer, "401"),
            "agent_key_only": rule.layer == "agent",
            "groups": groups(method, path, rule),
            "roles": {} if rule.layer == "agent" else statuses(method, path, rule),
        }
        for (method, path), rule in sorted(ROUTES.items(), key=lambda item: item[0][::-1])
    ]


def render_json() -> str:
    """Return the table as it is checked in."""
    return json.dumps({"held_at": list(HELD_AT), "routes": rows()}, indent=1) + "\n"


def render_markdown() -> str:
    """Return the table for reading: per route, where each role must be held to be allowed."""
    roles = [str(role) for role in RoleName]
    lines = [
        "# Who may call which route",
        "",
        "Generated from the policies; `make check` fails when it is not up to date, and a test",
        "asks every cell of the real application. `org`: the role counts when it is held for the",
        "whole organization; `bnd`: when it is held for the boundary that is asked about; `any`:",
        "held anywhere. All else is refused: with 403 to who may know that the thing exists,",
        "with 404 to who may not. `authorization.json` has the status of every cell.",
        "",
        f"| route | layer | {' | '.join(roles)} |",
        "|---|---|" + "---|" * len(roles),
    ]
    for row in rows():
        cells = [_cell(row["layer"], row["roles"].get(role)) for role in roles]
        name = f"{row['method']} {row['path']}"
        lines.append(f"| `{name}` | {row['layer']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _cell(layer: str, cell: dict[str, str] | None) -> str:
    if layer == "public":
        return "any"
    if cell is None:
        return "-"
    if layer == "authenticated":
        return "any" if cell["platform"] == "allow" else "-"
    names = {"organization": "org", "own boundary": "bnd"}
    return " ".join(short for where, short in names.items() if cell[where] == "allow") or "-"


def route_keys() -> set[tuple[str, str]]:
    """Return (method, path) of every route of the application, also of included routers."""
    pending: list[Any] = list(make_routes().routes)
    found = set()
    while pending:
        route = pending.pop()
        if isinstance(route, APIRoute):
            found |= {(method, route.path_format) for method in route.methods or ()}
        included = getattr(route, "original_router", None)
        pending += included.routes if included is not None else []
    return found


def unlisted_routes() -> list[str]:
    """Return the application's routes that are not in the table, and the table's that are gone."""
    there, listed = route_keys(), set(ROUTES) - SERVED_BESIDE_ROUTES
    return [f"{m} {p} is not in the table" for m, p in sorted(there - listed)] + [
        f"{m} {p} is in the table only" for m, p in sorted(listed - there)
    ]


def files() -> list[tuple[Path, Any]]:
    """Return every generated file with what renders it; policies first, for the others ask them."""
    return [
        (POLICIES / "actions.cedarschema", render_schema),
        (POLICIES / "routes.cedar", render_permits),
        (REFERENCE / "authorization.json", render_json),
        (REFERENCE / "authorization.md", render_markdown),
    ]


def main() -> int:
    """Write the files, or compare them with `--check`; exit code 1 when something is wrong."""
    problems = unlisted_routes()
    for path, render in files():
        wanted = render()
        if path.exists() and path.read_text() == wanted:
            continue
        if "--write" in sys.argv[1:]:
            path.write_text(wanted)
            decision.forget_policies()
        else:
            problems.append(f"{path} is not up to date; run with --write")
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
