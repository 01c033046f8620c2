"""What a role may do, read from the route table: the words behind R1's `actions`.

Used by `entitlements.py`. The digest of the policies that decide, forbids included, is the policy
version of a row: when one changes, so does the digest, and two reports can be told apart.
"""

from __future__ import annotations

from functools import cache

from controlplane.domains.identity.decision import POLICIES
from controlplane.domains.identity.route_table import ROUTES
from controlplane.tables.identity import RoleName
from proof.canonical import digest
from wire.report import LegendEntry

PRIVILEGED = frozenset(
    {
        RoleName.PLATFORM_ADMIN.value,
        RoleName.SOLUTION_ARCHITECT.value,
        RoleName.APPROVER.value,
        RoleName.BOUNDARY_ADMIN.value,
    }
)
"""Roles that may change something for others, or decide on it."""
_OTHERS = {
    "model-user": "use the model through the gateway of the boundary",
    "guest": "hold the roles that the organization gives",
    "": "nothing: it holds no role",
}


@cache
def policy_version() -> str:
    """Return the digest of the policies that decide who may call what."""
    return digest({path.name: path.read_text() for path in sorted(POLICIES.glob("*.cedar*"))})


@cache
def actions_of(role: str) -> tuple[str, ...]:
    """Return the routes that a role opens, changes before reads."""
    wanted = "agent" if role == "agent" else None
    found = [
        f"{method} {path}"
        for (method, path), rule in ROUTES.items()
        if (rule.layer == wanted if wanted else role in rule.roles)
    ]
    return tuple(sorted(found, key=lambda text: (text.startswith("GET"), text)))


@cache
def summary(role: str) -> str:
    """Return a role's actions in a few words; the legend has them in full."""
    if role in _OTHERS:
        return _OTHERS[role]
    actions = actions_of(role)
    if not actions:
        return "the statements of the role's template with this policy version"
    reads = sum(action.startswith("GET") for action in actions)
    return f"{len(actions) - reads} to change or decide, {reads} to read (legend: {role})"


def legend() -> tuple[LegendEntry, ...]:
    """Return every role with the routes that it opens."""
    roles = [*(role.value for role in RoleName), "agent"]
    return tuple(
        LegendEntry(
            key=role,
            title=summary(role).removesuffix(f" (legend: {role})"),
            items=actions_of(role),
        )
        for role in roles
    )
