"""The plan as a constraint: what was approved is what may be applied.

Built by the saga from the previews of all stacks, shown to the approver, stored with its digest;
checked against a fresh preview before each apply. Pure, so that the rules can be tested alone.

A value known only after apply is a hole, and so is a secret: the constraint says that the property
is set, not to what. Later stacks are previewed before earlier ones exist, so their holes are filled
when the apply comes; a hole may be filled, everything else must be as approved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from controlplane.adapters.pulumi.messages import UNKNOWN, PlannedResource, Result
from proof.canonical import digest

HOLE = "$hole"
_SECRET = "[secret]"  # noqa: S105 - how the engine prints a secret, not one
# Pulumi's marker of special values inside an object (sdk/go/common/resource/sig.go).
_SIGNATURE = "4dabf18193072939515e22adb298388d"
_IDLE_OPS = frozenset({"same", "read", "refresh"})


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class ConstrainedResource(_Document):
    """One approved resource."""

    urn: str
    type: str
    op: str
    properties: dict[str, Any]
    """Known values as they are; `{"$hole": "computed" | "secret"}` stands for the others."""


class PlanConstraint(_Document):
    """Everything that may be done, stack by stack, in the order of the previews."""

    version: Literal[1] = 1
    stacks: dict[str, tuple[ConstrainedResource, ...]]

    @property
    def digest(self) -> str:
        """Return `sha256:…` over the canonical JSON: what the approver signs."""
        return digest(self.model_dump(mode="json"))

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many resources each operation has, per stack.

        What the engine keeps for itself (the stack, its providers) is approved like the rest but
        is no resource of the customer's, so it is not counted.
        """
        return {
            stack: dict(
                sorted(Counter(i.op for i in items if not i.type.startswith("pulumi:")).items())
            )
            for stack, items in self.stacks.items()
        }

    def holes(self) -> int:
        """Return how many values are not fixed by the approval."""
        return sum(
            _count_holes(item.properties) for items in self.stacks.values() for item in items
        )


@dataclass(frozen=True)
class Violation:
    """One point at which a fresh preview leaves the constraint."""

    urn: str
    rule: Literal["not-approved", "other-operation", "missing", "property", "value"]
    message: str
    path: str | None = None


def build(previews: Iterable[Result]) -> PlanConstraint:
    """Return the constraint over the previews of all stacks of a plan."""
    return PlanConstraint(
        stacks={
            preview.stack: tuple(
                sorted((_constrained(item) for item in preview.plan), key=lambda item: item.urn)
            )
            for preview in previews
        }
    )


def changes(previews: Iterable[Result]) -> dict[str, list[dict[str, Any]]]:
    """Return by URN which properties an update or a replacement changes, old beside new.

    Kept beside the constraint and not in it: what was there before is told to who approves, but
    only what shall be is approved.
    """
    return {
        item.urn: [
            {
                "path": change.path,
                "kind": change.kind,
                "old": _value(change.old),
                "new": _value(change.new),
            }
            for change in item.changes
            if not change.path.startswith("__")
        ]
        for preview in previews
        for item in preview.plan
        if item.changes and item.op not in _IDLE_OPS
    }


def satisfies(constraint: PlanConstraint, fresh: Result) -> list[Violation]:
    """Return where a fresh preview of one stack leaves the constraint; empty when nowhere."""
    approved = {item.urn: item for item in constraint.stacks.get(fresh.stack, ())}
    found: list[Violation] = []
    seen: set[str] = set()
    for resource in fresh.plan:
        seen.add(resource.urn)
        if resource.op in _IDLE_OPS:
            # Nothing would be done: the rest of an apply that was interrupted looks like this.
            continue
        wanted = approved.get(resource.urn)
        if wanted is None:
            found.append(
                Violation(
                    resource.urn, "not-approved", f"would {resource.op} what no approval names"
                )
            )
        elif wanted.op != resource.op and (wanted.op, resource.op) != ("create", "update"):
            found.append(
                Violation(
                    resource.urn,
                    "other-operation",
                    f"would {resource.op}, approved was {wanted.op}",
                )
            )
        else:
            # A creation that was cut off goes on as an update to the same approved values.
            found += _compare(wanted, _constrained(resource).properties)
    found += [
        Violation(urn, "missing", f"approved to {item.op}, but the program no longer declares it")
        for urn, item in approved.items()
        if urn not in seen and item.op not in _IDLE_OPS and item.op != "delete"
    ]
    return found


def _constrained(resource: PlannedResource) -> ConstrainedResource:
    return ConstrainedResource(
        urn=resource.urn,
        type=resource.type,
        op=resource.op,
        properties={
            key: _value(value)
            for key, value in resource.inputs.items()
            if not key.startswith("__") and value is not None
        },
    )


def _value(value: Any) -> Any:
    if value == UNKNOWN:
        return {HOLE: "computed"}
    if value == _SECRET:
        return {HOLE: "secret"}
    if isinstance(value, Mapping):
        if _SIGNATURE in value:
            return {HOLE: "secret"}
        return {key: _value(item) for key, item in value.items() if not key.startswith("__")}
    if isinstance(value, list):
        return [_value(item) for item in value]
    return value


def _is_hole(value: Any) -> bool:
    return isinstance(value, dict) and set(value) == {HOLE}


def _count_holes(value: Any) -> int:
    if _is_hole(value):
        return 1
    if isinstance(value, dict):
        return sum(_count_holes(item) for item in value.values())
    if isinstance(value, list):
        return sum(_count_holes(item) for item in value)
    return 0


def _compare(wanted: ConstrainedResource, got: dict[str, Any]) -> list[Violation]:
    return [
        Violation(wanted.urn, rule, message, path)
        for path, rule, message in _differences("", wanted.properties, got)
    ]


_Difference = tuple[str, Literal["property", "value"], str]


def _differences(path: str, wanted: Any, got: Any) -> list[_Difference]:
    if _is_hole(wanted):
        return []
    if isinstance(wanted, dict) and isinstance(got, dict):
        return _object_differences(path, wanted, got)
    if isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        return [
            difference
            for index, (one, other) in enumerate(zip(wanted, got, strict=True))
            for difference in _differences(f"{path}[{index}]", one, other)
        ]
    if wanted != got:
        shown = "a value known only after apply" if _count_holes(got) else repr(got)
        return [(path, "value", f"{path}: approved {wanted!r}, now {shown}")]
    return []


def _object_differences(
    path: str, wanted: dict[str, Any], got: dict[str, Any]
) -> list[_Difference]:
    found: list[_Difference] = []
    for key in sorted({*wanted, *got}):
        where = f"{path}.{key}" if path else key
        if key not in wanted:
            found.append((where, "property", f"{where}: set now, not in the approved plan"))
        elif key not in got:
            if not _is_hole(wanted[key]):
                found.append((where, "property", f"{where}: in the approved plan, not set now"))
        else:
            found += _differences(where, wanted[key], got[key])
    return found
