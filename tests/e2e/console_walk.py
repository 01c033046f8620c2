"""Walk through the console of a running sandbox as each of its people, by the real sign-in.

Run by the end-to-end test inside the demo's network namespace, after the demo and before the
sandbox stops: `python -m tests.e2e.console_walk HOME OUTPUT`. It keeps a picture of each first page
and writes what was found to `console.json`, which the tests read.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from playwright.sync_api import Browser, Page, expect, sync_playwright

from sandbox.identity_provider.settings import PASSWORD
from tests.browser import SWITCHES, find

TIMEOUT_MS = 15_000
FIRST_PAGES = {
    "sam@acme.test": ("/", "Payments", "Research"),
    "ana@acme.test": ("/approvals", "Approvals"),
    "omar@acme.test": ("/audit", "Audit"),
    "max@acme.test": ("/", "Payments", "Research"),
    "bea@acme.test": ("/", "Payments"),
    "pia@acme.test": ("/", "Payments"),
}
"""Where each person lands, and what stands there."""


def walk(browser: Browser, origin: str, subject: str, password: str, output: Path) -> Any:
    """Sign in as one person, read the first page, and sign out again."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.set_default_timeout(TIMEOUT_MS)
    page = context.new_page()
    hosts: set[str] = set()
    page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
    page.goto(origin)
    page.get_by_role("textbox", name="Organization").fill("acme")
    page.get_by_role("button", name="Continue to your identity provider").click()
    page.get_by_role("radio", name=re.compile(re.escape(subject))).check()
    page.get_by_label("Password of this sandbox").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(re.compile(re.escape(origin)))
    path, *texts = FIRST_PAGES[subject]
    main = page.locator("main")
    for text in texts:
        expect(main.get_by_text(text).first).to_be_visible(timeout=TIMEOUT_MS)
    expect(page.locator(".rf-waiting")).to_have_count(0)
    page.screenshot(path=output / f"console-{subject.partition('@')[0]}.png", full_page=True)
    found = {
        "path": urlsplit(page.url).path,
        "expected": path,
        "text": main.inner_text(),
        "hosts": sorted(hosts),
    }
    found["signed_out"] = _sign_out(page)
    context.close()
    return found


def _sign_out(page: Page) -> bool:
    """End the session as a page of ours does; tell whether the API knows nobody any more."""
    states: list[str] = page.evaluate(
        """async () => {
          const session = async () => (await fetch("/v1/session")).json();
          const before = await session();
          const headers = { "Ringfence-CSRF": before.csrf_token };
          await fetch("/v1/sign-out", { method: "POST", headers });
          return [before.state, (await session()).state];
        }"""
    )
    return states == ["signed-in", "signed-out"]


def main() -> int:
    """Entry of `python -m tests.e2e.console_walk HOME OUTPUT`."""
    home, output = Path(sys.argv[1]), Path(sys.argv[2])
    origin = json.loads((output / "result.json").read_text())["console_url"]
    password = (home / "secrets" / PASSWORD).read_text().strip()
    found = {}
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find(), args=list(SWITCHES))
        for subject in FIRST_PAGES:
            found[subject] = walk(browser, origin, subject, password, output)
        browser.close()
    (output / "console.json").write_text(json.dumps(found, indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
