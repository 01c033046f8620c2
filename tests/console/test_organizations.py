"""A person with roles in two organizations: everything on the page is of the chosen one."""

from __future__ import annotations

import json
import re
from pathlib import Path

import httpx2
import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import OpenAs, Watched, panel
from tests.console.world import World

pytestmark = pytest.mark.console


def choice(watched: Watched) -> Locator:
    """Return the switch of organizations."""
    return watched.page.get_by_role("combobox", name="Organization")


def choose(watched: Watched, organization: str) -> None:
    """Switch, and wait for the page of the other organization."""
    choice(watched).select_option(organization)
    expect(choice(watched)).to_have_value(organization)
    watched.page.wait_for_url(re.compile(r"/(audit)?$"))
    watched.settle()


def export(page: Page, chain: str) -> list[dict[str, object]]:
    """Save a chain's export to disk and return its lines."""
    line = panel(page, "Chains").get_by_role("listitem").filter(has_text=chain)
    with page.expect_download() as download:
        line.get_by_role("link", name="Export").click()
    path: Path = download.value.path()
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_pages_and_downloads_follow_the_chosen_organization(open_as: OpenAs, world: World) -> None:
    watched = open_as("kim", "/audit")
    page = watched.page
    chains = panel(page, "Chains")
    expect(chains.get_by_role("link", name="organization/acme", exact=True)).to_be_visible()
    choose(watched, "globex")
    expect(chains.get_by_role("link", name="organization/globex", exact=True)).to_be_visible()
    expect(chains.get_by_role("link", name="organization/acme", exact=True)).to_have_count(0)
    page.reload()
    expect(chains.get_by_role("link", name="organization/globex", exact=True)).to_be_visible()
    page.get_by_role("link", name="Home", exact=True).click()
    expect(page.get_by_role("main").get_by_text("Globex payments").first).to_be_visible()
    expect(page.get_by_role("main").get_by_text("Research")).to_have_count(0)
    # Both organizations have a boundary of this name, so a download could be of the wrong one.
    page.get_by_role("link", name="Audit", exact=True).click()
    of_globex = export(page, "boundary/payments")
    choose(watched, "acme")
    page.get_by_role("link", name="Audit", exact=True).click()
    of_acme = export(page, "boundary/payments")
    assert str(world.boundaries["payments"]) in json.dumps(of_acme)
    assert str(world.boundaries["payments"]) not in json.dumps(of_globex)
    assert len(of_globex) > 1


def test_what_is_offered_follows_the_role_in_the_chosen_organization(open_as: OpenAs) -> None:
    watched = open_as("lee", "/audit")
    navigation = watched.page.get_by_role("navigation", name="Main")
    expect(navigation.get_by_role("link", name="Reports")).to_be_visible()
    choose(watched, "globex")
    expect(watched.page.get_by_text("Use the models of Globex payments")).to_be_visible()
    for name in ("Audit", "Reports", "Approvals", "People"):
        expect(navigation.get_by_role("link", name=name)).to_have_count(0)


def test_a_run_of_another_organization_is_not_found_and_the_page_says_where_to_look(
    open_as: OpenAs, world: World
) -> None:
    watched = open_as("kim", f"/installs/{world.installs['payments']}")
    expect(watched.page.get_by_role("heading", name="Install", level=1)).to_be_visible()
    choice(watched).select_option("globex")
    expect(choice(watched)).to_have_value("globex")
    watched.go(f"/installs/{world.installs['payments']}")
    expect(watched.page.get_by_role("heading", name="There is no such thing here")).to_be_visible()
    expect(watched.page.get_by_role("main")).to_contain_text("another of your organizations")


def test_a_download_that_names_two_organizations_is_refused(open_as: OpenAs, world: World) -> None:
    watched = open_as("kim", "/audit")
    cookies = {c["name"]: c["value"] for c in watched.page.context.cookies()}
    path = "/v1/audit/export?chain=boundary/payments&organization=globex"
    with httpx2.Client(base_url=world.api.url, cookies=cookies, trust_env=False) as http:
        both = http.get(path, headers={"Ringfence-Organization": "acme"})
        assert (both.status_code, both.json()["error"]["field"]) == (400, "organization")
        strange = http.get(path.replace("globex", "hooli"))
        assert strange.status_code == 404
        none = http.get(path.replace("&organization=globex", ""))
        assert none.status_code == 400
        # On any other route the query says nothing: it is for what a link opens.
        other = http.get("/v1/boundaries?organization=globex")
        assert other.status_code == 400
