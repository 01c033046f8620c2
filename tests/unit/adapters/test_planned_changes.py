"""What the engine says of a preview becomes old beside new, and a replacement one resource."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from controlplane.adapters.pulumi.listener import Listener
from controlplane.adapters.pulumi.messages import PlannedResource

URN = "urn:pulumi:s::p::aws:ec2/vpc:Vpc::vpc"


def told(*metadata: dict[str, Any]) -> PlannedResource:
    """Return what a plan holds after the engine's events on one resource."""
    listener = Listener("s", lambda _: None, itertools.count(1))
    for event in metadata:
        full = {"urn": URN, "type": "aws:ec2/vpc:Vpc", **event}
        listener._on_started({"metadata": full, "planning": True})
    (planned,) = listener.plan.values()
    return planned


def state(**inputs: Any) -> dict[str, Any]:
    return {"inputs": inputs}


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("size", 1, 2),
        ("scaling.desired", 2, 3),
        ('tags["ringfence:urn"]', "a", "b"),
        ('tags["quo\\"ted"]', "c", "d"),
        ("cidrs[1]", "y", "z"),
        ("gone", "x", None),
        ("cidrs[7]", None, None),
        ("secret.part", "[secret]", "[secret]"),
    ],
)
def test_a_path_of_the_engine_finds_both_values(path: str, old: Any, new: Any) -> None:
    before = state(
        size=1, scaling={"desired": 2}, tags={"ringfence:urn": "a", 'quo"ted': "c"},
        cidrs=["x", "y"], gone="x", secret="[secret]",
    )  # fmt: skip
    after = state(
        size=2, scaling={"desired": 3}, tags={"ringfence:urn": "b", 'quo"ted': "d"},
        cidrs=["x", "z"], secret="[secret]",
    )  # fmt: skip
    diff = {path: {"diffKind": "update", "inputDiff": False}}
    planned = told({"op": "update", "old": before, "new": after, "detailedDiff": diff})
    (change,) = planned.changes
    assert (change.path, change.old, change.new) == (path, old, new)


PARTS = {
    "create-replacement": {"old": state(cidr="a"), "new": state(cidr="b")},
    "replace": {"old": state(cidr="a"), "new": state(cidr="b")},
    "delete-replaced": {"old": state(cidr="a")},
}


@pytest.mark.parametrize(
    "order",
    [
        ("create-replacement", "replace", "delete-replaced"),
        ("delete-replaced", "replace", "create-replacement"),
    ],
)
def test_a_replacement_is_one_resource_with_the_new_values(order: tuple[str, ...]) -> None:
    diff = {"cidr": {"diffKind": "update-replace", "inputDiff": False}}
    planned = told(*({"op": op, **PARTS[op], "detailedDiff": diff} for op in order))
    assert (planned.op, planned.inputs) == ("replace", {"cidr": "b"})
    assert [(c.path, c.kind, c.old, c.new) for c in planned.changes] == [
        ("cidr", "update-replace", "a", "b")
    ]


def test_without_details_the_properties_named_are_shown_whole() -> None:
    planned = told(
        {
            "op": "replace", "old": state(cidr="a", name="x"), "new": state(cidr="b", name="y"),
            "diffs": ["cidr", "name"], "keys": ["cidr"],
        }
    )  # fmt: skip
    assert {(c.path, c.kind) for c in planned.changes} == {
        ("cidr", "update-replace"),
        ("name", "update"),
    }


def test_a_resource_that_goes_is_shown_as_it_was() -> None:
    assert told({"op": "delete", "old": state(cidr="a")}).inputs == {"cidr": "a"}
