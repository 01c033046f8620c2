"""Drift in a browser: it is read, allowed to stay by two people, or set right by a run."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

import pytest
from playwright.sync_api import expect
from psycopg.types.json import Jsonb

from controlplane.core.ids import new_id
from tests.console.conftest import OpenAs, panel
from tests.console.test_console import check_looks
from tests.console.world import World

pytestmark = pytest.mark.console


@pytest.fixture
def finding(world: World) -> Iterator[UUID]:
    """A changed tag of the network, found by a scan; nothing of it is left behind."""
    found = new_id()
    install = world.installs["payments"]
    world.write(
        "INSERT INTO drift_finding (organization_id, boundary_id, id, install_id, run_id, digest,"
        " stack, urn, type, name, cloud_id, change, properties) SELECT organization_id,"
        " boundary_id, %s, install_id, id, 'sha256:1', 'foundation', 'urn:vpc',"
        " 'aws:ec2/vpc:Vpc', 'vpc', 'vpc-0a1b', 'changed', %s FROM run WHERE id = %s",
        found,
        Jsonb([{"path": "tags.owner", "was": "us", "is": "them"}]),
        world.runs["payments"],
    )
    before = world.read("SELECT drift_at FROM install WHERE id = %s", install)
    world.write("UPDATE install SET drift_at = now(), drift = 'found' WHERE id = %s", install)
    yield found
    world.write("DELETE FROM drift_finding WHERE id = %s", found)
    world.write("UPDATE install SET drift_at = %s, drift = 'none' WHERE id = %s", before, install)


def test_a_finding_is_read_and_accepted_by_a_second_person(
    open_as: OpenAs, world: World, finding: UUID
) -> None:
    path = f"/installs/{world.installs['payments']}"
    watched = open_as("sam", path)
    drift = panel(watched.page, "Drift")
    expect(drift).to_contain_text("Something differs")
    expect(drift).to_contain_text("foundation/vpc")
    expect(drift.get_by_role("button", name="Accept")).to_have_count(0)
    # The access has ended with the install: what would set it right needs another grant.
    expect(drift).to_contain_text("Set right by a run: needs an open grant.")
    check_looks(watched, "drift")
    drift.get_by_role("button", name="Propose that it stays").click()
    dialog = watched.page.get_by_role("dialog")
    dialog.get_by_label("For how many days").fill("7")
    dialog.get_by_role("textbox", name="Why it may stay").fill("their own tag policy")
    dialog.get_by_role("button", name="Propose it").click()
    expect(drift).to_contain_text("Proposed to stay for 7 days: their own tag policy")
    second = panel(open_as("ana", path).page, "Drift")
    second.get_by_role("button", name="Accept").click()
    expect(second).to_contain_text("Accepted until")
    shown = world.call("ana", "GET", f"/v1{path}/drift")
    assert shown["findings"][0]["outcome"] == "accepted"
