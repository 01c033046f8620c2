"""A file in which boundaries share a cluster: both sides must say so, and agree."""

from __future__ import annotations

from typing import Any

import pytest

from controlplane.domains.documents.hosting import hosting_problems

TARGET = {"account": "production", "region": "eu-central-1"}


def file_of(host: dict[str, Any], guest: dict[str, Any], **target: str) -> dict[str, Any]:
    """Return a raw file of two boundaries by their inputs."""
    return {
        "boundaries": [
            {"name": "payments", "target": TARGET, "inputs": host},
            {"name": "research", "target": {**TARGET, **target}, "inputs": guest},
        ]
    }


HOST: dict[str, Any] = {"cidr": "10.20.0.0/16", "guests": ["research"]}
GUEST: dict[str, Any] = {"cluster": "existing", "host": "payments"}


def test_a_host_and_its_guest_agree() -> None:
    assert hosting_problems(file_of(HOST, GUEST)) == []
    assert hosting_problems(file_of({"cidr": "10.20.0.0/16"}, {"cidr": "10.30.0.0/16"})) == []


@pytest.mark.parametrize(
    ("host", "guest", "target", "path", "message"),
    [
        (HOST | {"guests": []}, GUEST, {}, "boundaries[1].inputs.host", "does not let"),
        (HOST, GUEST | {"host": "ghost"}, {}, "boundaries[1].inputs.host", "no other boundary"),
        (HOST, GUEST | {"host": "research"}, {}, "boundaries[1].inputs.host", "no other boundary"),
        (HOST, {"cluster": "existing"}, {}, "boundaries[1].inputs.host", "no host is named"),
        (HOST, GUEST | {"cidr": "10.30.0.0/16"}, {}, "boundaries[1].inputs.cidr", "its host's"),
        (HOST, GUEST | {"guests": ["payments"]}, {}, "boundaries[1].inputs.guests", "its host's"),
        (HOST, GUEST, {"region": "eu-west-1"}, "boundaries[1].inputs.host", "another account"),
        (GUEST | {"host": "research"}, GUEST, {}, "boundaries[1].inputs.host", "a guest itself"),
        (HOST | {"guests": ["ghost"]}, {}, {}, "boundaries[0].inputs.guests", "no other boundary"),
        (HOST | {"host": "x"}, GUEST, {}, "boundaries[0].inputs.host", "has no host"),
    ],
    ids=["not-let-in", "unknown-host", "own-host", "no-host", "addresses", "guests-of-a-guest",
         "another-region", "a-chain", "unknown-guest", "host-without-existing"],
)  # fmt: skip
def test_what_does_not_agree_is_named_with_its_place(
    host: dict[str, Any], guest: dict[str, Any], target: dict[str, str], path: str, message: str
) -> None:
    found = hosting_problems(file_of(host, guest, **target))
    assert any(one.path == path and message in one.message for one in found), found
    assert all(one.fix for one in found)


@pytest.mark.parametrize("raw", [None, [], {"boundaries": 1}, {"boundaries": [1, {"inputs": 1}]}])
def test_a_file_of_any_shape_is_read(raw: Any) -> None:
    assert hosting_problems(raw) == []
