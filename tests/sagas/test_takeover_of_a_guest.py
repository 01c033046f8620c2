"""The take-over kit of a boundary in another one's cluster: all of its own, nothing of its host."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from controlplane.domains.installs import takeover
from controlplane.sagas.provisioning.ports import Ports
from controlplane.sagas.takeover import documents
from proof.sealing import encode_public
from proof.takeover import unpack, verify_folder
from sandbox.toolchain import TOOLS
from tests.sagas.stage import Stage
from tests.sagas.test_install_of_a_guest import guest
from tests.sagas.test_install_takeover import States, files, ports, states, take
from wire.takeover import KitHost, Recipient

__all__ = ["guest", "ports", "states"]
"""Fixtures, which pytest finds here."""

HOST = KitHost(
    boundary="core",
    namespaces=("boundary-payments", "ringfence-system-payments"),
    group="ringfence-guest-payments",
)


@pytest.fixture
def kit(guest: Stage, ports: Ports) -> dict[str, bytes]:
    """The files of a kit of a guest that was installed."""
    assert guest.go(guest.start()) == "succeeded"
    state, made = take(guest, ports, X25519PrivateKey.generate())
    assert state == "succeeded", made
    return files(made["archive"])


def test_a_guests_kit_names_its_host_and_what_it_needs_of_it(
    guest: Stage, ports: Ports, tmp_path: Path
) -> None:
    assert guest.go(guest.start()) == "succeeded"
    state, made = take(guest, ports, X25519PrivateKey.generate())
    assert state == "succeeded", made
    unpack(base64.b64decode(made["archive"]), tmp_path / "kit")
    manifest = verify_folder(tmp_path / "kit", ports.signer.fingerprint).manifest
    assert (manifest.boundary, manifest.cluster) == ("payments", "ringfence-core")
    assert manifest.host == HOST
    assert [tool.name for tool in manifest.tools][-1] == "kubectl"
    facts = json.loads((tmp_path / "kit/kit.json").read_text())
    assert facts["host"] == HOST.model_dump(mode="json")
    assert facts["system_namespace"] == "ringfence-system-payments"
    assert (tmp_path / "kit/guest_place.py").is_file()


def test_a_guests_kit_is_asked_for_as_any_other(guest: Stage) -> None:
    guest.bench.change("UPDATE install SET lifecycle = 'installed'")
    tenant = guest.bench.tenant
    recipient = Recipient(public=encode_public(X25519PrivateKey.generate()))
    with guest.bench.api.transaction(tenant.scope) as session:
        _, run = takeover.request_kit(session, tenant.requester, tenant.install_id, recipient)
    assert guest.bench.run(run)["kind"] == takeover.MAKE


def test_only_the_guests_own_states_are_read_for_its_kit(
    guest: Stage, ports: Ports, states: States, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert guest.go(guest.start()) == "succeeded"
    read, asked = states.read_stack, []

    def noting(*place: Any) -> tuple[dict[str, Any], datetime]:
        asked.append(place)
        return read(*place)

    monkeypatch.setattr(states, "read_stack", noting)
    state, made = take(guest, ports, X25519PrivateKey.generate())
    assert state == "succeeded", made
    own = guest.bench.tenant.boundary_id
    assert [place[:2] for place in asked] == [(own, "ringfence-payments")] * 2
    found = files(made["archive"])
    names = {path for path in found if path.startswith("state/")}
    assert names == {
        "state/foundation.json", "state/cluster.json", "state/passphrase.sealed.json",
    }  # fmt: skip


def test_nothing_by_which_its_host_could_be_changed_is_in_a_guests_kit(
    guest: Stage, kit: dict[str, bytes]
) -> None:
    (host,) = guest.bench.rows("SELECT id FROM boundary WHERE name = 'core'")
    (install,) = guest.bench.rows("SELECT id FROM install WHERE boundary_id = %s", host["id"])
    for secret in (
        str(host["id"]),
        str(install["id"]),
        "ringfence-core-closer",
        "/ringfence/core/",
    ):
        assert [path for path, data in kit.items() if secret.encode() in data] == []
    values = json.loads(kit["chart/values.json"])
    assert values["customResources"] == values["clusterScope"] == {"install": False}
    assert values["boundary"]["namespace"] == "boundary-payments"
    inputs = json.loads(kit["inputs.json"])
    assert (inputs["cluster"], inputs["host"]) == ("existing", "core")
    assert "zones" not in inputs


def test_a_guests_runbook_says_who_removes_what_in_which_order(kit: dict[str, bytes]) -> None:
    text = kit["RUNBOOK.md"].decode()
    rows = re.findall(r"^\| (\d) \| who keeps (\w+) \| (.*) \|$", text, re.MULTILINE)
    assert [(number, who) for number, who, _ in rows] == [
        ("1", "payments"), ("2", "payments"), ("3", "core"), ("4", "core"), ("5", "core"),
    ]  # fmt: skip
    whats = [what for _, _, what in rows]
    assert "takeover.py delete" in whats[0]
    assert "delete namespace boundary-payments ringfence-system-payments" in whats[3]
    assert "refuses while payments is there" in whats[4]
    assert "`ringfence-guest-payments`" in text
    assert "-n ringfence-system-payments scale deployment agent" in text
    # The way in that opens a cluster's endpoint is not a guest's.
    assert "--cidr" not in text
    assert not re.search(r"<!--|\{\w+\}", text)


def test_the_runbook_of_a_cluster_of_its_own_has_no_word_of_a_host(
    stage: Stage, ports: Ports
) -> None:
    assert stage.go(stage.start()) == "succeeded"
    state, made = take(stage, ports, X25519PrivateKey.generate())
    assert state == "succeeded", made
    kit = files(made["archive"])
    text = kit["RUNBOOK.md"].decode()
    assert "takeover.py delete --cidr YOUR-ADDRESS/32" in text
    assert "-n ringfence-system scale deployment agent" in text
    assert not re.search(r"<!--|\{\w+\}|is a guest|\| kubectl", text)
    assert "guest_place.py" not in kit
    assert json.loads(kit["kit.json"])["host"] is None


def test_a_kit_names_the_tools_at_the_versions_of_the_toolchain() -> None:
    pinned = {program: tool.version for tool in TOOLS for program in tool.packages}
    assert pinned["pulumi"] == documents.ENGINE_VERSION
    assert pinned["helm"] == documents.HELM_VERSION
    assert pinned["kubectl"] == documents.KUBECTL_VERSION
