"""The take-over kit of an install whose endpoint never is public: its customer comes in alone."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from controlplane.sagas.provisioning.ports import Ports
from tests.sagas.stage import Stage
from tests.sagas.test_install_by_runner import IMAGE, by_runner
from tests.sagas.test_install_takeover import States, files, ports, states, take

__all__ = ["by_runner", "ports", "states"]
"""Fixtures, which pytest finds here."""


@pytest.fixture
def kit(by_runner: Stage, ports: Ports, states: States) -> dict[str, bytes]:
    """The files of a kit of an install by the runner."""
    assert by_runner.go(by_runner.start()) == "succeeded"
    state, made = take(by_runner, ports, X25519PrivateKey.generate())
    assert state == "succeeded", made
    return files(made["archive"])


def test_its_runbook_goes_in_from_inside_and_never_opens_the_endpoint(
    kit: dict[str, bytes],
) -> None:
    text = kit["RUNBOOK.md"].decode()
    assert json.loads(kit["inputs.json"])["reach"] == "in-vpc-runner"
    assert "    python takeover.py chart\n" in text
    assert "`clusterSecurityGroupId`" in text
    rows = re.findall(r"^\| (\d) \| [\w ,.]+ \| (.*) \|$", text, re.MULTILINE)
    assert [number for number, _ in rows] == ["1", "2", "3"]
    assert "takeover.py remove-chart" in rows[0][1]
    assert "takeover.py delete --skip-chart" in rows[2][1]
    assert "--cidr YOUR-ADDRESS" not in text
    assert not re.search(r"<!--|\{\w+\}|is a guest|\| kubectl", text)


def test_a_public_endpoints_runbook_has_the_way_by_address_and_no_word_of_a_private_one(
    stage: Stage, ports: Ports
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    state, made = take(stage, ports, X25519PrivateKey.generate())
    assert state == "succeeded", made
    text = files(made["archive"])["RUNBOOK.md"].decode()
    assert "takeover.py chart --cidr YOUR-ADDRESS/32" in text
    assert "--set 'control_plane_cidrs=" in text
    assert not re.search(r"<!--|remove-chart|clusterSecurityGroupId|never was public", text)


def test_nothing_of_our_way_in_is_in_a_kit(kit: dict[str, bytes]) -> None:
    ours = (b"ringfence/runner", b"-runner-execution", IMAGE.rpartition(":")[2].encode())
    found = [
        path
        for path, data in kit.items()
        if not path.startswith(("programs/", "certificate.json"))
        and any(word in data for word in ours)
    ]
    assert found == []


def test_a_later_release_of_the_runner_keeps_no_customer_from_the_kit(
    by_runner: Stage, ports: Ports, kit: dict[str, bytes]
) -> None:
    assert "certificate.json" in kit
    images = {**ports.settings.images, "ringfence/runner": IMAGE.replace("d" * 64, "e" * 64)}
    later = replace(ports, settings=replace(ports.settings, images=images))
    state, made = take(by_runner, later, X25519PrivateKey.generate())
    assert state == "succeeded", made
