"""The main job of each role by the keyboard alone: Tab, Enter, Space, arrows, Escape."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import OpenAs, panel
from tests.console.world import World

pytestmark = pytest.mark.console
MOST_TABS = 120


def tab_to(page: Page, wanted: Locator) -> None:
    """Press Tab until something is in focus; it must come, and its focus must be seen."""
    wanted.wait_for()
    for _ in range(MOST_TABS):
        page.keyboard.press("Tab")
        if wanted.evaluate("(e) => e === document.activeElement"):
            return
    pytest.fail(f"{wanted} cannot be reached with Tab")


def enter(page: Page, wanted: Locator) -> None:
    """Go to a thing and press Enter."""
    tab_to(page, wanted)
    page.keyboard.press("Enter")


def asked_for(world: World, boundary: str) -> str:
    """Return the grant that waits in a boundary, asked for unless it was already."""
    live = world.call("sam", "GET", f"/v1/boundaries/{boundary}")["standing"]["live_grant"]
    path, wanted = (
        f"/v1/boundaries/{boundary}/grants",
        {"purpose": "labs", "duration_seconds": 3600},
    )
    return str((live or world.call("sam", "POST", path, wanted))["id"])


def test_an_architect_opens_and_leaves_the_request_for_access(open_as: OpenAs) -> None:
    page = open_as("gia").page
    ask = panel(page, "Next step").get_by_role("button", name="Ask for access")
    enter(page, ask)
    dialog = page.get_by_role("dialog")
    tab_to(page, dialog.get_by_role("textbox", name="Purpose"))
    page.keyboard.type("first install")
    tab_to(page, dialog.get_by_role("button", name="Ask for access"))
    # The focus stays in the dialog, all the way round.
    tab_to(page, dialog.get_by_role("textbox", name="Purpose"))
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)
    expect(ask).to_be_focused()


def test_an_approver_reaches_the_decision_and_its_reason(open_as: OpenAs, world: World) -> None:
    page = open_as("ana", f"/approvals/grant/{asked_for(world, 'labs')}").page
    enter(page, page.get_by_role("button", name="Deny"))
    dialog = page.get_by_role("dialog")
    tab_to(page, dialog.get_by_role("textbox", name="Reason"))
    page.keyboard.type("not in the freeze")
    tab_to(page, dialog.get_by_role("button", name="Deny"))
    tab_to(page, dialog.get_by_role("button", name="Back"))
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)


def test_an_auditor_reads_an_event_and_a_row_of_a_report(open_as: OpenAs, world: World) -> None:
    watched = open_as("omar", "/audit")
    page = watched.page
    enter(page, page.get_by_role("link", name="boundary/payments", exact=True))
    events = panel(page, "Events of boundary/payments")
    enter(page, events.locator("summary").first)
    expect(events.locator("details").first).to_have_attribute("open", "")
    watched.go(f"/reports/{world.reports['ready']}")
    rows = page.get_by_role("list", name="Rows of the report")
    enter(page, rows.locator("summary").first)
    expect(rows.locator("details").first).to_have_attribute("open", "")


def test_an_administrator_changes_the_figure_and_sorts_the_people(open_as: OpenAs) -> None:
    watched = open_as("bea", "/boundaries/payments")
    page = watched.page
    enter(page, page.get_by_role("link", name="Usage", exact=True))
    span = page.get_by_role("combobox", name="Span")
    tab_to(page, span)
    page.keyboard.press("ArrowDown")
    expect(page).to_have_url(re.compile("days=30"))
    watched = open_as("max", "/people")
    column = watched.page.get_by_role("columnheader", name="Person")
    enter(watched.page, column.get_by_role("button"))
    expect(column).to_have_attribute("aria-sort", "descending")


def test_an_engineer_makes_a_key_and_hides_it(open_as: OpenAs) -> None:
    page = open_as("rui", "/boundaries/research/gateway").page
    enter(page, page.get_by_role("button", name="Create a key"))
    expect(page.get_by_test_id("shown-once")).to_be_visible()
    enter(page, page.get_by_role("button", name="I have it, hide it"))
    expect(page.get_by_test_id("shown-once")).to_have_count(0)
