"""The first page of somebody without a role, of a guest who waits, and of an empty organization."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.console.conftest import OpenAs, panel
from tests.console.world import World

pytestmark = pytest.mark.console


def test_somebody_without_a_role_learns_whom_to_tell_what_and_goes_on_by_itself(
    open_as: OpenAs, world: World
) -> None:
    page = open_as("noa").page
    part = panel(page, "You have no role yet")
    expect(part).to_contain_text("subject: noa@acme.test")
    expect(part).to_contain_text("issuer: https://sandbox.ringfence.dev")
    expect(page.get_by_role("navigation", name="Main").get_by_role("link")).to_have_count(1)
    world.write(
        "INSERT INTO role_assignment (organization_id, id, boundary_id, principal_id, role,"
        " valid_from, reason) SELECT %s, gen_random_uuid(), NULL, id, 'auditor', now(), 'named'"
        " FROM principal WHERE subject = 'noa@acme.test'",
        world.organization_id,
    )
    boundaries = page.get_by_role("grid", name="Boundaries")
    expect(boundaries).to_be_visible(timeout=15_000)
    navigation = page.get_by_role("navigation", name="Main")
    expect(navigation.get_by_role("link", name="Audit")).to_be_visible()
    world.write("DELETE FROM role_assignment WHERE reason = 'named'")


def test_a_guest_who_waits_is_told_for_whom(open_as: OpenAs, world: World) -> None:
    guest = "principal_id = (SELECT id FROM principal WHERE subject = 'mia@acme.test')"
    world.read(f"SELECT count(*) FROM guest_assignment WHERE {guest}")
    page = open_as("mia").page
    expect(panel(page, "You are not let in yet")).to_contain_text("globex names you as a guest")


def test_an_organization_in_which_nothing_is_installed_begins_with_its_first_step(
    open_as: OpenAs,
) -> None:
    page = open_as("gia").page
    step = panel(page, "Next step")
    expect(step).to_contain_text("Ask for access")
    expect(step.get_by_role("button", name="Ask for access")).to_be_visible()
    page.get_by_role("link", name="Installs", exact=True).click()
    expect(page.get_by_text("Nothing is installed yet.")).to_be_visible()
    page.get_by_role("link", name="See the next step at Home").click()
    expect(step).to_be_visible()


def test_an_administrator_of_an_empty_organization_sees_what_each_page_waits_for(
    open_as: OpenAs,
) -> None:
    watched = open_as("gus", "/boundaries/payments/models")
    expect(watched.page.get_by_text("No agent has reported yet.")).to_be_visible()
    watched.go("/boundaries/payments/usage")
    expect(watched.page.get_by_text("Nothing was used in this span.")).to_be_visible()
    watched.go("/boundaries/payments/gateway")
    expect(
        watched.page.get_by_text("The gateway has not reported its address yet.")
    ).to_be_visible()
    watched.go("/reports")
    expect(watched.page.get_by_text("No report yet.")).to_be_visible()
    watched.go("/approvals")
    expect(watched.page.get_by_role("heading", name="Approvals", level=1)).to_be_visible()
