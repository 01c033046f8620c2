"""What a person sees when something is not as it should be, and what they can do next."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect
from psycopg.types.json import Jsonb

from tests.console.conftest import OpenAs, Watched, panel, sign_in
from tests.console.world import World

pytestmark = pytest.mark.console
NOBODY = "01a20f48-0000-7000-8000-000000000000"


def main_of(watched: Watched) -> Any:
    """Return the page's own part."""
    return watched.page.get_by_role("main")


@pytest.mark.parametrize(
    ("who", "path", "heading", "says"),
    [
        ("sam", "/nowhere", "There is no such page", "Go to Home"),
        ("sam", "/boundaries/gone", "There is no such thing here", "Go to Home"),
        ("sam", f"/installs/{NOBODY}", "There is no such thing here", "no role that lets you see"),
        ("omar", f"/reports/{NOBODY}", "There is no such thing here", "Go to Home"),
        ("pia", "/approvals", "Not with your role", "ask an administrator for the role"),
        ("pia", "/reports", "Reports", "ask an administrator for the role"),
    ],
    ids=["page", "boundary", "install", "report", "forbidden page", "forbidden part"],
)
def test_a_refused_page_says_why_and_where_to_go(
    who: str, path: str, heading: str, says: str, open_as: OpenAs
) -> None:
    watched = open_as(who, path)
    expect(watched.page.get_by_role("heading", name=heading, level=1)).to_be_visible()
    expect(main_of(watched)).to_contain_text(says, ignore_case=True)


def test_a_fault_of_the_server_gives_an_id_to_tell_and_a_way_to_try_again(
    open_as: OpenAs, world: World
) -> None:
    plan = world.read("SELECT plan FROM run WHERE id = %s", world.runs["research"])
    world.write("UPDATE run SET plan = '[]' WHERE id = %s", world.runs["research"])
    try:
        watched = open_as("sam", f"/installs/{world.installs['research']}?view=plan")
        alert = main_of(watched).get_by_role("alert")
        expect(alert).to_contain_text("Something went wrong on our side")
        expect(alert).to_contain_text("Tell your platform team the request id")
        expect(alert.locator("code")).to_have_text(re.compile("^[0-9a-f-]{36}$"))
    finally:
        world.write("UPDATE run SET plan = %s WHERE id = %s", Jsonb(plan), world.runs["research"])
    alert.get_by_role("button", name="Try again").click()
    expect(panel(watched.page, "Plan")).to_contain_text("8 to create")


def test_without_network_each_part_says_so_and_comes_back_by_itself(
    open_as: OpenAs, world: World
) -> None:
    watched = open_as("sam", "/installs")
    page = watched.page
    page.context.set_offline(True)
    banner = page.get_by_role("status").filter(has_text="No connection")
    expect(banner).to_contain_text("Nothing you do is sent now")
    page.get_by_role("link", name="Treasury").first.click()
    expect(page.get_by_role("heading", name="This page did not load")).to_be_visible()
    expect(main_of(watched).get_by_role("alert")).to_contain_text("No connection")
    page.context.set_offline(False)
    expect(banner).to_have_count(0)
    page.get_by_role("button", name="Try again").click()
    expect(page.get_by_role("heading", name="Treasury", level=1)).to_be_visible()
    watched.errors.clear()  # a script that did not load offline is an error in the page


def end_session(world: World, subject: str) -> None:
    """End a person's newest session, as its idle time does."""
    world.write(
        "UPDATE session SET idle_ends_at = now() - interval '1 second' WHERE id ="
        " (SELECT s.id FROM session s JOIN principal p ON p.id = s.principal_id"
        " WHERE p.subject = %s ORDER BY s.created_at DESC LIMIT 1)",
        subject,
    )


@pytest.mark.parametrize("what", ["a page", "a form", "a download", "a live page"])
def test_a_session_that_ends_during_work_leads_back_to_the_same_page(
    what: str, browser: Browser, world: World
) -> None:
    path = (
        f"/installs/{world.installs['research']}?view=events"
        if what == "a live page"
        else ("/audit?chain=boundary%2Fpayments")
    )
    who = "ren@acme.test" if what == "a live page" else "omar@acme.test"
    context = browser.new_context()
    context.set_default_timeout(15_000)
    page = context.new_page()
    sign_in(page, world.api.url, who.partition("@")[0], path)
    if what == "a form":
        page.goto(f"{world.api.url}/reports")
        path = "/reports"
    expect(page).to_have_url(f"{world.api.url}{path}")
    expect(page.locator(".rf-waiting")).to_have_count(0)
    if what == "a form":
        expect(page.get_by_role("button", name="Ask for the report")).to_be_enabled()
    end_session(world, who)
    leave(page, what)
    expect(page.get_by_role("heading", name="Sign in", exact=True)).to_be_visible(timeout=20_000)
    expect(
        page.get_by_text("Your session has ended. Sign in to go on where you were.")
    ).to_be_visible()
    # Back to where the person was going, not only to where they were.
    path = {
        "a page": f"{path}&code=grant.approved",
        "a live page": path.replace("events", "plan"),
    }.get(what, path)
    page.get_by_role("button", name="Continue to your identity provider").click()
    page.get_by_role("link", name=who).click()
    expect(page).to_have_url(f"{world.api.url}{path}")
    expect(page.get_by_role("heading", level=1)).to_be_visible()
    context.close()


def leave(page: Page, what: str) -> None:
    """Do what needs the session that has ended."""
    if what == "a page":
        page.get_by_role("button", name="Filter").click()
        page.get_by_label("Show events of one code").fill("grant.approved")
        page.get_by_role("button", name="Filter").click()
    elif what == "a form":
        page.get_by_role("button", name="Ask for the report").click()
    elif what == "a download":
        page.get_by_role("link", name="Export organization/acme").click()
    else:
        page.get_by_role("link", name="Plan").click()
