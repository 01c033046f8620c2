"""The organization's file: every problem, each with its place and fix, all at once."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from wire.organization import OrganizationDocument, check, join_path, path_parts

FILE = Path(__file__).parents[3] / "examples" / "acme" / "organization.yaml"
BLUEPRINTS = {"eks-model-stack": ["0.4.0"]}
ACCOUNTS = ["111122223333"]
MODELS = {"tiny-coder": "base", "payments-style": "adapter", "research-style": "adapter"}


def sound() -> dict[str, Any]:
    """Return the demo's file."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text())
    return document


def check_all(document: Any) -> dict[str, tuple[str, str]]:
    """Return (message, fix) of all problems by path."""
    found = check(document, blueprints=BLUEPRINTS, accounts=ACCOUNTS, models=MODELS)
    return {p.path: (p.message, p.fix) for p in found}


def test_the_demos_file_is_sound_and_has_a_requester_and_another_approver() -> None:
    assert check_all(sound()) == {}
    document = OrganizationDocument.from_wire(sound())
    assert document.people["solution-architect"] == ("sam@acme.test",)
    assert document.people["approver"] == ("ana@acme.test",)
    assert [b.name for b in document.boundaries] == ["payments", "research"]


MISTAKES: list[tuple[str, Callable[[dict[str, Any]], None], str, str]] = [
    (
        "an unknown field",
        lambda d: d["boundaries"][0].update(colour="blue"),
        "boundaries[0].colour",
        "unknown field 'colour'",
    ),
    (
        "a duplicate boundary",
        lambda d: d["boundaries"][1].update(name="payments"),
        "boundaries[1].name",
        "is there already, as boundaries[0]",
    ),
    (
        "a mapping of an unknown group",
        lambda d: d["role_mappings"][1].update(group="nobody"),
        "role_mappings[1].group",
        "there is no group called 'nobody'",
    ),
    (
        "a mapping in an unknown boundary",
        lambda d: d["role_mappings"][0].update(boundary="treasury"),
        "role_mappings[0].boundary",
        "there is no boundary called 'treasury'",
    ),
    (
        "a mapping to an unknown role",
        lambda d: d["role_mappings"][0].update(role="king"),
        "role_mappings[0].role",
        "Input should be",
    ),
    (
        "the same mapping twice",
        lambda d: d["role_mappings"].append(dict(d["role_mappings"][0])),
        "role_mappings[2]",
        "is there already, as role_mappings[0]",
    ),
    (
        "an unknown field of a mapping",
        lambda d: d["role_mappings"][0].update(colour="blue"),
        "role_mappings[0].colour",
        "unknown field 'colour'",
    ),
    (
        "an unknown subject attribute",
        lambda d: d.update(provisioning={"subject": "email"}),
        "provisioning.subject",
        "Input should be",
    ),
    (
        "a missing blueprint",
        lambda d: d["boundaries"][0].update(blueprint="gke"),
        "boundaries[0].blueprint",
        "there is no blueprint 'gke'",
    ),
    (
        "an unknown version",
        lambda d: d["boundaries"][0].update(version="9.0.0"),
        "boundaries[0].version",
        "has no version 9.0.0",
    ),
    (
        "an overlapping network",
        lambda d: d["boundaries"][1]["inputs"].update(cidr="10.20.0.0/20"),
        "boundaries[1].inputs.cidr",
        "overlaps with 10.20.0.0/16 of boundary 'payments'",
    ),
    (
        "a network with host bits",
        lambda d: d["boundaries"][1]["inputs"].update(cidr="10.30.1.0/16"),
        "boundaries[1].inputs.cidr",
        "is not an IPv4 network",
    ),
    (
        "an account that does not exist",
        lambda d: d["accounts"][0].update(account="222222222222"),
        "accounts[0].account",
        "account 222222222222 does not exist",
    ),
    (
        "an account number that YAML read as a number",
        lambda d: d["accounts"][0].update(account=111122223333),
        "accounts[0].account",
        "must be text",
    ),
    (
        "an account name nobody declared",
        lambda d: d["boundaries"][0]["target"].update(account="staging"),
        "boundaries[0].target.account",
        "no account called 'staging'",
    ),
    (
        "a group nobody declared",
        lambda d: d["boundaries"][0].update(groups=["ops"]),
        "boundaries[0].groups[0]",
        "no group called 'ops'",
    ),
    (
        "an adapter given as base",
        lambda d: d["boundaries"][0]["models"].update(base="payments-style"),
        "boundaries[0].models.base",
        "is not a model of kind base",
    ),
    (
        "an unknown adapter",
        lambda d: d["boundaries"][0]["models"].update(adapters=["finance-style"]),
        "boundaries[0].models.adapters[0]",
        "there is no adapter model 'finance-style'",
    ),
    (
        "nobody to approve but the requester",
        lambda d: d["people"].update(approver=["sam@acme.test"]),
        "people",
        "four eyes",
    ),
    (
        "a missing section",
        lambda d: d.pop("accounts"),
        "accounts",
        "'accounts' is missing",
    ),
    (
        "a boundary name too long for role names",
        lambda d: d["boundaries"][0].update(name="p" * 25),
        "boundaries[0].name",
        "is not of the form",
    ),
    (
        "a version of the file from the future",
        lambda d: d.update(version=7),
        "version",
        "version 7 is not accepted",
    ),
]


@pytest.mark.parametrize(
    ("_name", "break_it", "path", "message"), MISTAKES, ids=[m[0] for m in MISTAKES]
)
def test_a_mistake_is_named_with_place_and_fix(
    _name: str, break_it: Callable[[dict[str, Any]], None], path: str, message: str
) -> None:
    document = sound()
    break_it(document)
    found = check_all(document)
    assert path in found, found
    assert message in found[path][0]
    assert found[path][1]


def test_no_mistake_hides_another() -> None:
    document = sound()
    expected = set()
    for name, break_it, path, _ in MISTAKES[:1] + MISTAKES[3:5] + MISTAKES[6:7] + MISTAKES[9:13]:
        assert name
        break_it(document)
        expected.add(path)
    assert expected <= set(check_all(document))


@pytest.mark.parametrize(
    "document", [None, [], "text", {}, {"boundaries": 7}, {"boundaries": [None, {"inputs": []}]}]
)
def test_any_document_gives_problems_and_never_an_error(document: Any) -> None:
    assert check_all(copy.deepcopy(document))


def test_a_pasted_secret_is_not_repeated_in_a_problem() -> None:
    document = sound()
    document["accounts"][0]["account"] = "hunter2-hunter2"
    document["password"] = "hunter2"
    document["boundaries"][0]["target"]["region"] = "hunter2"
    shape = check(document)
    assert len(shape) >= 3
    assert not [p for p in shape if "hunter2" in p.message + p.fix]


@pytest.mark.parametrize("path", ["boundaries[1].inputs.cidr", "people", "accounts[0].account", ""])
def test_a_path_splits_into_keys_and_indexes_and_back(path: str) -> None:
    assert join_path(path_parts(path)) == path
