"""The console in a browser: one walk per persona, then what must hold on every page."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import expect

from controlplane.console import STATIC
from tests.console.conftest import OpenAs, Watched, panel, sign_in
from tests.console.world import World

pytestmark = pytest.mark.console
AXE = Path(__file__).parents[2] / "web" / "node_modules" / "axe-core" / "axe.min.js"
FIRST_LOAD_BUDGET = 350_000
"""Bytes of compressed JavaScript before the first page works."""
PAGES: dict[str, tuple[str | None, str]] = {
    "sign-in": (None, "/sign-in"),
    "home": ("sam", "/"),
    "home-of-an-engineer": ("pia", "/"),
    "approvals": ("ana", "/approvals"),
    "grant": ("ana", "/approvals/grant/{grants[treasury]}"),
    "plan": ("ana", "/approvals/plan/{runs[markets]}"),
    "installs": ("sam", "/installs"),
    "timeline": ("sam", "/installs/{installs[research]}"),
    "timeline-ended": ("sam", "/installs/{installs[payments]}"),
    "events": ("sam", "/installs/{installs[research]}?view=events"),
    "boundary": ("sam", "/boundaries/payments"),
    "models": ("max", "/boundaries/payments/models"),
    "usage": ("max", "/boundaries/payments/usage"),
    "gateway": ("max", "/boundaries/payments/gateway"),
    "audit": ("omar", "/audit?chain=boundary%2Fpayments"),
    "reports": ("omar", "/reports"),
    "report": ("omar", "/reports/{reports[ready]}"),
    "report-failed": ("omar", "/reports/{reports[failed]}"),
    "people": ("max", "/people"),
    "tokens": ("sam", "/tokens"),
    "lost": ("sam", "/nowhere"),
    "not-found": ("sam", "/boundaries/gone"),
    "forbidden": ("pia", "/approvals"),
    "no-role": ("noa", "/"),
    "guest-waits": ("mia", "/"),
    "empty-home": ("gia", "/"),
    "empty-boundary": ("gia", "/boundaries/payments"),
    "empty-models": ("gus", "/boundaries/payments/models"),
    "empty-usage": ("gus", "/boundaries/payments/usage"),
    "empty-gateway": ("gus", "/boundaries/payments/gateway"),
    "empty-installs": ("gus", "/installs"),
    "empty-reports": ("gus", "/reports"),
    "empty-approvals": ("gil", "/approvals"),
    "empty-tokens": ("gus", "/tokens"),
    "two-organizations": ("kim", "/"),
}


def at(world: World, path: str) -> str:
    """Fill ids of the world into a path."""
    return path.format(
        grants=world.grants, runs=world.runs, installs=world.installs, reports=world.reports
    )


@pytest.mark.parametrize("name", PAGES)
def test_axe_finds_nothing_wide_and_narrow_light_and_dark(
    name: str, open_as: OpenAs, world: World
) -> None:
    who, path = PAGES[name]
    check_looks(open_as(who, at(world, path)), name)


def check_looks(watched: Watched, name: str) -> None:
    """Picture the page as it stands in four looks; axe finds nothing, nothing scrolls sideways."""
    watched.page.evaluate(AXE.read_text())
    for look in ("light", "dark-400", "dark", "light-400"):
        watched.show(look)
        watched.picture(f"{name}-{look}")
        found = watched.page.evaluate(
            "axe.run(document, {resultTypes: ['violations']}).then((r) => r.violations.map((v) =>"
            " `${v.id}: ${v.help}:"
            " ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`))"
        )
        assert found == [], look
        watched.show(look)  # the picture needed another height
        wide = watched.page.evaluate(
            "['html', '#main'].map((s) => document.querySelector(s)).filter(Boolean)"
            ".map((e) => e.scrollWidth - e.clientWidth)"
        )
        assert max(wide) <= 0, f"{name} scrolls sideways by {max(wide)} px ({look})"


def test_an_architect_sees_the_next_step_of_each_boundary_and_asks_for_access(
    open_as: OpenAs, world: World
) -> None:
    page = open_as("sam").page
    table = page.get_by_role("grid", name="Boundaries")
    expect(
        table.get_by_role("row", name=re.compile("Payments.*installed.*healthy.*closed"))
    ).to_be_visible()
    expect(table.get_by_role("row", name=re.compile("Research.*installing"))).to_be_visible()
    step = panel(page, "Next step").locator(".rf-next", has_text="Labs")
    step.get_by_role("button", name="Ask for access").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Purpose").fill("first install of labs")
    dialog.get_by_role("button", name="Ask for access").click()
    expect(dialog).to_be_hidden()
    expect(step).to_contain_text("The access request waits for approval")
    shown = world.call("sam", "GET", "/v1/boundaries/labs")["standing"]["live_grant"]
    assert (shown["state"], shown["purpose"]) == ("requested", "first install of labs")
    page.goto(f"{world.api.url}/approvals/grant/{shown['id']}")
    expect(page.get_by_text("This is your own request")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)


def test_an_approver_reads_what_is_asked_and_denies_it_with_a_reason(
    open_as: OpenAs, world: World
) -> None:
    page = open_as("ana", "/approvals").page
    page.get_by_role("link", name="first install", exact=True).first.click()
    expect(panel(page, "What is asked")).to_contain_text("CHG-4211")
    permissions = panel(page, "Permissions asked for")
    expect(permissions.get_by_role("listitem").first).to_be_visible()
    permissions.get_by_label("Find an action or resource").fill("eks:CreateCluster")
    permissions.locator("summary").first.click()
    expect(permissions.get_by_text("eks:CreateCluster", exact=True)).to_be_visible()
    page.get_by_role("button", name="Deny").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Deny")).to_be_disabled()
    dialog.get_by_role("textbox", name="Reason").fill("not before the freeze ends")
    dialog.get_by_role("button", name="Deny").click()
    expect(page.get_by_role("heading", name="Approvals", level=1)).to_be_visible()
    grant = world.call("ana", "GET", f"/v1/grants/{world.grants['treasury']}")
    assert (grant["state"], grant["decision_reason"]) == ("denied", "not before the freeze ends")


def test_an_approver_approves_exactly_the_plan_that_is_shown(open_as: OpenAs, world: World) -> None:
    page = open_as("ana", at(world, "/approvals/plan/{runs[markets]}")).page
    expect(panel(page, "Plan")).to_contain_text("8 to create")
    expect(panel(page, "Plan").locator("li", has_text="node group")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("dialog").get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Approvals", level=1)).to_be_visible()
    plan = world.call("ana", "GET", f"/v1/runs/{world.runs['markets']}/plan")
    assert plan["approved_digest"] == plan["digest"]


def test_a_timeline_follows_its_run_live(open_as: OpenAs, world: World) -> None:
    page = open_as("sam", at(world, "/installs/{installs[research]}")).page
    expect(page.locator(".rf-link")).to_have_text("live")
    cluster = page.locator(".rf-step", has_text="Cluster and nodes")
    expect(cluster).to_contain_text("running")
    world.finish_step("research", "cluster", 31.5)
    expect(cluster).not_to_contain_text("running")
    expect(cluster.get_by_role("button")).to_contain_text("on the critical path")
    cluster.get_by_role("button").click()
    expect(cluster).to_contain_text("After Network, key, bucket")


def test_the_end_of_a_run_shows_its_certificate(open_as: OpenAs, world: World) -> None:
    page = open_as("sam", at(world, "/installs/{installs[payments]}")).page
    certificate = panel(page, "Install certificate")
    expect(certificate).to_contain_text("137 granted, 119 seen in use")
    expect(certificate).to_contain_text("by the agent")
    with page.expect_download() as download:
        certificate.get_by_role("button", name="Download").click()
    assert download.value.suggested_filename == "payments.certificate.json"


def test_an_engineer_finds_the_address_and_makes_and_revokes_a_key(
    open_as: OpenAs, world: World
) -> None:
    page = open_as("pia").page
    expect(page.get_by_text("http://127.88.5.130:8080/v1", exact=True)).to_be_visible()
    expect(
        page.get_by_role("navigation", name="Main").get_by_role("link", name="Approvals")
    ).to_have_count(0)
    page.get_by_role("button", name="Create a key").click()
    key = page.get_by_test_id("shown-once").text_content()
    assert key is not None
    assert key.startswith("rfk_")
    page.get_by_role("button", name="I have it, hide it").click()
    expect(page.get_by_text(key)).to_have_count(0)
    page.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke the key").click()
    expect(page.get_by_role("grid", name="Gateway keys")).to_contain_text("revoked")


def test_an_auditor_begins_with_the_chains_and_may_change_nothing(
    open_as: OpenAs, world: World
) -> None:
    page = open_as("omar", "/welcome").page
    expect(page.get_by_role("heading", name="Audit", level=1)).to_be_visible()
    page.get_by_role("link", name="boundary/payments", exact=True).click()
    events = panel(page, "Events of boundary/payments")
    expect(events.get_by_text("grant.approved").first).to_be_visible()
    page.goto(f"{world.api.url}/boundaries/payments")
    expect(page.get_by_role("heading", name="Payments", level=1)).to_be_visible()
    expect(page.get_by_role("button", name="End this access now")).to_have_count(0)


def test_an_administrator_of_a_boundary_sees_that_boundary_only(open_as: OpenAs) -> None:
    page = open_as("bea").page
    rows = page.get_by_role("grid", name="Boundaries").get_by_role("row")
    expect(rows).to_have_count(2)
    page.get_by_role("link", name="Payments").first.click()
    page.get_by_role("link", name="Usage").click()
    expect(page.get_by_role("group", name="Acceptance rate (changes)")).to_be_visible()
    expect(page.get_by_text("synthetic", exact=True).first).to_be_visible()


def test_an_administrator_of_the_platform_sees_who_has_which_role_where(open_as: OpenAs) -> None:
    page = open_as("max", "/people").page
    row = page.get_by_role("row", name=re.compile("bea@acme.test"))
    expect(row).to_contain_text("Boundary administrator in payments")
    expect(row).to_contain_text("payments-admins")


def test_the_keyboard_alone_reaches_the_page_and_focus_follows_the_route(
    open_as: OpenAs,
) -> None:
    page = open_as("sam").page
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.get_by_role("navigation", name="Main").get_by_role("link", name="Installs").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Installs", level=1)).to_be_visible()
    expect(page.locator("#main")).to_be_focused()


def test_the_chosen_theme_stays(open_as: OpenAs) -> None:
    watched = open_as("sam")
    watched.page.get_by_role("button", name="Use the dark theme").click()
    watched.go("/installs")
    expect(watched.page.locator("html")).to_have_class(re.compile("pf-v6-theme-dark"))


def test_signing_out_ends_the_session(browser: Any, world: World) -> None:
    context = browser.new_context()
    page = context.new_page()
    sign_in(page, world.api.url, "rui")
    page.get_by_role("button", name=re.compile("Signed in as")).click()
    page.get_by_role("menuitem", name="Sign out").click()
    page.wait_for_url(lambda url: "/end" in url or "/sign-in" in url)
    page.goto(f"{world.api.url}/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    context.close()


def test_the_first_load_is_within_its_budget(open_as: OpenAs) -> None:
    watched = open_as("sam")
    loaded = watched.page.evaluate(
        "performance.getEntriesByType('resource').filter((e) => /\\.js$/.test(e.name))"
        ".map((e) => new URL(e.name).pathname)"
    )
    sizes = {path: packed(path) for path in set(loaded)}
    assert sum(sizes.values()) < FIRST_LOAD_BUDGET, sizes


def packed(path: str) -> int:
    """Return how many bytes of a script travel."""
    return (STATIC / (path.removeprefix("/") + ".gz")).stat().st_size
