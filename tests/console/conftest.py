"""A real browser on a real API process: one seeded world, and every persona signed in once.

Each page opened here is watched: a report of the content security policy, a request to another
host, or an error in the page fails the test that caused it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect, sync_playwright

from controlplane.console import STATIC
from tests.browser import SWITCHES, find
from tests.console.provider import LoginServer
from tests.console.server import ApiProcess, start_api
from tests.console.worker import WorkerProcess, start_worker
from tests.console.world import GLOBEX_ISSUER, IN_BOTH, NEWCOMERS, PENDING, World, build_world
from tests.integration.api.people import ADMINS, PEOPLE, register
from tests.integration.sign_in.issuer import ISSUER, Issuer
from tests.postgres import DatabaseUrls, PostgresServer, migrated
from tests.redis_server import RedisServer
from tests.sandbox_aws.conftest import GateProcess
from tests.sandbox_aws.conftest import gate as gate  # the rehearsal account

SUBJECTS = list(dict.fromkeys([*PEOPLE, *ADMINS, *IN_BOTH, *NEWCOMERS, PENDING]))
PICTURES = Path(__file__).parents[2] / "build" / "console"
TIMEOUT_MS = 8_000
WIDE, NARROW = {"width": 1280, "height": 900}, {"width": 400, "height": 850}
REPORTS = """
window.__reports = [];
document.addEventListener("securitypolicyviolation", (event) => {
  window.__reports.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


@dataclass
class Watched:
    """A page and what it did that it must not do."""

    page: Page
    origin: str
    allowed: set[str]
    foreign: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    def go(self, path: str) -> Page:
        """Open a path and wait until the page has settled."""
        self.page.goto(f"{self.origin}{path}")
        self.settle()
        return self.page

    def settle(self) -> None:
        """Wait until a heading is there and nothing says that it is loading."""
        self.page.locator("h1").first.wait_for()
        # Not `wait_for_function`: it evaluates text, which the page's policy rightly refuses.
        expect(self.page.locator(".rf-waiting")).to_have_count(0)

    def show(self, look: str) -> None:
        """Show the page as `light` or `dark`, with `-400` on a phone's width."""
        theme, _, width = look.partition("-")
        self.page.emulate_media(color_scheme=cast(Any, theme), reduced_motion="reduce")
        self.page.set_viewport_size(cast(Any, NARROW if width else WIDE))
        has = re.compile("pf-v6-theme-dark")
        html = self.page.locator("html")
        if theme == "dark":
            expect(html).to_have_class(has)
        else:
            expect(html).not_to_have_class(has)
        # Colours change over a moment, and half-way they have any contrast. Ended and not waited
        # for: what is folded away is not drawn, and its changes never come to their end.
        self.page.evaluate(
            "document.getAnimations().filter((a) =>"
            " a.effect.getComputedTiming().iterations !== Infinity).forEach((a) => a.finish())"
        )

    def picture(self, name: str) -> None:
        """Keep a picture of the whole page, which scrolls inside its frame."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        size = self.page.viewport_size
        assert size is not None
        tall = self.page.evaluate(
            "() => { const m = document.getElementById('main');"
            " return m ? m.scrollHeight - m.clientHeight : 0 }"
        )
        self.page.set_viewport_size({"width": size["width"], "height": size["height"] + tall})
        self.page.screenshot(path=PICTURES / f"{name}.png", full_page=True)

    def complaints(self) -> list[str]:
        """Return what the page did that it must not."""
        reports: list[str] = self.page.evaluate("window.__reports ?? []")
        return [*reports, *self.foreign, *self.errors]


OpenAs = Callable[..., Watched]


@pytest.fixture(scope="session")
def console_database(postgres: PostgresServer) -> DatabaseUrls:
    """A database of these tests' own: the world in it lives as long as they do."""
    return migrated(postgres)


@pytest.fixture(scope="session")
def issuers() -> Iterator[list[Issuer]]:
    """Each organization's identity provider, with a page on which one says who one is."""
    made = [Issuer(client_keys=lambda: {"keys": []}, issuer=i) for i in (ISSUER, GLOBEX_ISSUER)]
    servers = [LoginServer(issuer, SUBJECTS) for issuer in made]
    yield made
    for server in servers:
        server.close()


@pytest.fixture(scope="session")
def api(
    console_database: DatabaseUrls, issuers: list[Issuer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ApiProcess]:
    """The API's process, with the demo's people."""
    if not (STATIC / "index.html").is_file():
        pytest.fail("the console is not built; run: make web")
    folder = tmp_path_factory.mktemp("console")
    register(console_database, folder)
    started = start_api(console_database, folder, issuers)
    keys = f"{started.url}/v1/sign-in/keys"
    for issuer in issuers:
        issuer.client_keys = lambda: httpx2.get(keys, trust_env=False).json()
    yield started
    started.stop()


@pytest.fixture(scope="session")
def world(api: ApiProcess, console_database: DatabaseUrls) -> World:
    """The seeded control plane."""
    return build_world(api, console_database)


@pytest.fixture(scope="session")
def worker(
    world: World,
    console_database: DatabaseUrls,
    gate: GateProcess,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[WorkerProcess]:
    """The worker's process, with its broker and the rehearsal account."""
    server = RedisServer()
    server.start()
    folder = tmp_path_factory.mktemp("worker")
    started = start_worker(console_database, folder, world.api.key, server, gate)
    yield started
    started.stop()
    server.stop()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Chromium."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=find(), args=list(SWITCHES))
        yield opened
        opened.close()


def done(page: Page) -> None:
    """Wait for the end of a dialog, which is the server's answer.

    What is behind it has no role meanwhile, so that a button that is not there proves nothing.
    """
    expect(page.get_by_role("dialog")).to_have_count(0)


def panel(page: Page, title: str) -> Any:
    """Return a titled part of the page."""
    return page.get_by_role("region", name=title)


def sign_in(page: Page, origin: str, name: str, path: str = "/") -> None:
    """Sign in as people do: organization, the provider's page, and back."""
    page.goto(f"{origin}{path}")
    who = next(s for s in SUBJECTS if s.partition("@")[0] == name)
    organization = "globex" if who.endswith("@globex.test") else "acme"
    page.get_by_role("textbox", name="Organization").fill(organization)
    page.get_by_role("button", name="Continue to your identity provider").click()
    page.get_by_role("link", name=who).click()
    page.get_by_role("button", name=re.compile(f"Signed in as {name}", re.IGNORECASE)).wait_for()


@pytest.fixture(scope="session")
def signed_in(browser: Browser, world: World) -> Callable[[str], Any]:
    """Return the cookies of a persona, who signs in once for all tests."""
    known: dict[str, Any] = {}

    def of(name: str) -> Any:
        if name not in known:
            context = browser.new_context()
            context.set_default_timeout(TIMEOUT_MS)
            sign_in(context.new_page(), world.api.url, name)
            known[name] = context.storage_state()
            context.close()
        return known[name]

    return of


@pytest.fixture
def open_as(
    browser: Browser, world: World, issuers: list[Issuer], signed_in: Callable[[str], Any]
) -> Iterator[OpenAs]:
    """Open a watched page as a persona (None: nobody); at the end it must have behaved."""
    opened: list[tuple[BrowserContext, Watched]] = []

    def open_page(
        name: str | None, path: str = "/", *, dark: bool = False, narrow: bool = False
    ) -> Watched:
        context = browser.new_context(
            storage_state=signed_in(name) if name else None,
            viewport=NARROW if narrow else WIDE,  # type: ignore[arg-type]  # a plain dict
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(REPORTS)
        watched = Watched(
            context.new_page(), world.api.url, {urlsplit(i.url).netloc for i in issuers}
        )
        context.route("**/*", lambda route: _pass(route, watched))
        watched.page.on("pageerror", lambda error: watched.errors.append(str(error)))
        opened.append((context, watched))
        watched.go(path)
        return watched

    yield open_page
    complaints = [c for _, watched in opened for c in watched.complaints()]
    for context, _ in opened:
        context.close()
    assert complaints == []


def _pass(route: Route, watched: Watched) -> None:
    host = urlsplit(route.request.url).netloc
    if host in (urlsplit(watched.origin).netloc, *watched.allowed) or route.request.url.startswith(
        "blob:"
    ):
        route.continue_()
    else:
        watched.foreign.append(f"asked another host: {route.request.url}")
        route.abort()
