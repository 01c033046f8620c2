"""An update and a restore asked for in a browser: what is said, and which run comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.console.conftest import OpenAs, panel
from tests.console.test_console import check_looks
from tests.console.world import World

pytestmark = pytest.mark.console


@pytest.fixture
def reopened(world: World) -> Iterator[str]:
    """The access to an installed boundary is open again; its runs are gone afterwards."""
    grant, install = world.grants["payments"], world.installs["payments"]
    state = world.read("SELECT state FROM access_grant WHERE id = %s", grant)
    until = world.read("SELECT grant_until FROM access_grant WHERE id = %s", grant)
    world.write(
        "UPDATE access_grant SET state = 'active', grant_until = now() + interval '1 hour'"
        " WHERE id = %s",
        grant,
    )
    yield f"/installs/{install}"
    world.write(
        "DELETE FROM outbox WHERE args->>'run_id' IN (SELECT id::text FROM run"
        " WHERE install_id = %s AND id <> %s)",
        install, world.runs["payments"],
    )  # fmt: skip
    world.write(
        "DELETE FROM run WHERE install_id = %s AND id <> %s", install, world.runs["payments"]
    )
    world.write(
        "UPDATE access_grant SET state = %s, grant_until = %s WHERE id = %s", state, until, grant
    )


@pytest.mark.parametrize("asked", ["Update", "Restore"])
def test_a_change_is_asked_for_with_a_reason_and_leads_to_its_plan(
    open_as: OpenAs, world: World, reopened: str, asked: str
) -> None:
    watched = open_as("sam", reopened)
    page = watched.page
    stands = panel(page, "How the install stands")
    expect(stands.get_by_role("button", name="Ask for access")).to_have_count(0)
    check_looks(watched, "changes")
    stands.get_by_role("button", name=asked).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("before somebody else has approved the plan")
    make = dialog.get_by_role("button", name="Make the plan")
    expect(make).to_be_disabled()
    if asked == "Update":
        inputs = dialog.get_by_label("Inputs, as JSON")
        expect(inputs).to_have_value(re.compile('"cidr"'))
        present = inputs.input_value()
        inputs.fill('{"cidr": 5}')
        dialog.get_by_role("textbox", name="Why").fill("a wider network")
        make.click()
        # Refused before anything begins, with the field.
        expect(dialog).to_contain_text("cidr")
        check_looks(watched, "ask-update")
        inputs.fill(present)
    else:
        dialog.get_by_role("textbox", name="Why").fill("the record was lost")
        check_looks(watched, "ask-restore")
    make.click()
    page.wait_for_url(re.compile(r"view=plan"))
    (run,) = re.findall(r"run=([0-9a-f-]{36})", page.url)
    kind, reason = (
        world.read(f"SELECT {column} FROM run WHERE id = %s", run)
        for column in ("kind", "params->>'reason'")
    )
    said = {"Update": "a wider network", "Restore": "the record was lost"}
    assert (kind, reason) == (f"install.{asked.lower()}", said[asked])


def test_without_access_it_is_said_once_what_both_need(open_as: OpenAs, world: World) -> None:
    stands = panel(
        open_as("sam", f"/installs/{world.installs['payments']}").page, "How the install stands"
    )
    expect(stands).to_contain_text("Update and Restore: both need an open grant.")
    expect(stands.get_by_role("button", name="Ask for access")).to_have_count(1)
