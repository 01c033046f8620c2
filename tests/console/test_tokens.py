"""Access tokens in the browser: made, copied, used for real, revoked, refused."""

from __future__ import annotations

import httpx2
import pytest
from playwright.sync_api import expect

from tests.console.conftest import OpenAs, done, panel
from tests.console.world import World

pytestmark = pytest.mark.console


def who_am_i(world: World, token: str) -> httpx2.Response:
    """Ask the API with a bearer token, as a script does."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx2.get(f"{world.api.url}/v1/me", headers=headers, trust_env=False)


def test_a_token_is_shown_once_works_and_is_refused_after_its_revocation(
    open_as: OpenAs, world: World
) -> None:
    watched = open_as("bea", "/tokens")
    page = watched.page
    page.context.grant_permissions(["clipboard-read", "clipboard-write"], origin=world.api.url)
    page.get_by_label("Name").fill("nightly export")
    page.get_by_label("Ends after").select_option("7")
    page.get_by_role("button", name="Create the token").click()
    token = page.get_by_test_id("shown-once").text_content() or ""
    assert token.startswith("rfp_")
    page.get_by_role("button", name="Copy your token").click()
    expect(page.get_by_role("status").filter(has_text="Copied")).to_have_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == token
    used = who_am_i(world, token)
    assert (used.status_code, used.json()["subject"]) == (200, "bea@acme.test")

    page.get_by_role("link", name="Home", exact=True).click()
    expect(page.get_by_role("heading", name="Home", level=1)).to_be_visible()
    page.go_back()
    listed = panel(page, "Tokens").get_by_role("listitem").filter(has_text="nightly export")
    expect(listed).to_contain_text("with all your roles")
    expect(listed).to_contain_text("last used")
    assert token not in page.content()

    listed.get_by_role("button", name="Revoke nightly export").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke the token").click()
    done(page)
    expect(listed).to_have_count(0)
    assert who_am_i(world, token).status_code == 401
