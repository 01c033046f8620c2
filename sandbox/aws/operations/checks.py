"""What an operation needs to be allowed: one check per action and resource.

Shared by the modules of the services; the gate hands each check to the evaluator.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from iam.documents import Policy
from sandbox.aws.messages import Call

ContextValues = dict[str, str | list[str]]


@dataclass(frozen=True)
class Check:
    """One action on one resource with the context keys that belong to it."""

    action: str
    resource: str = "*"
    context: ContextValues = field(default_factory=dict)
    resource_policies: tuple[Policy, ...] = ()
    resource_account: str = ""
    resource_must_allow: bool = False


Asks = Callable[[Call], list[Check]]


def resource_tags(tags: dict[str, str], *prefixes: str) -> ContextValues:
    """Give tags of an existing resource as `aws:ResourceTag/…` and the service's own keys."""
    found: ContextValues = {}
    for prefix in ("aws", *prefixes):
        found.update({f"{prefix}:ResourceTag/{key}": value for key, value in tags.items()})
    return found


def request_tags(tags: dict[str, str]) -> ContextValues:
    """Give tags of the request as `aws:RequestTag/…` and `aws:TagKeys`."""
    if not tags:
        return {}
    found: ContextValues = {f"aws:RequestTag/{key}": value for key, value in tags.items()}
    found["aws:TagKeys"] = list(tags)
    return found


def on_anything(action: str) -> Asks:
    """Make an entry for an action that AWS cannot scope to a resource."""

    def ask(call: Call) -> list[Check]:
        return [Check(action)]

    return ask
