"""An architect from the open role to a running install, and a stream that is cut and goes on."""

from __future__ import annotations

import json
import re

import pytest
from playwright.sync_api import Locator, Page, Request, expect

from iam.role_template import stack_name
from tests.console.conftest import OpenAs, done, panel
from tests.console.worker import WorkerProcess
from tests.console.world import World
from tests.sandbox_aws.conftest import GateProcess

pytestmark = pytest.mark.console
JOB_MS = 30_000


def customer_opens(world: World, gate: GateProcess, grant: str) -> None:
    """Create the role's stack in the customer's account from what the control plane hands out."""
    connection = world.call("sam", "GET", "/v1/boundaries/opened/connection")
    shown = world.call("sam", "GET", f"/v1/connections/{connection['id']}/template")
    opening = world.call("sam", "GET", f"/v1/grants/{grant}")["stack_parameters"]
    gate.client("cloudformation", "customer-admin").create_stack(
        StackName=stack_name("opened"),
        TemplateBody=json.dumps(shown["template"]),
        Parameters=[
            {"ParameterKey": name, "ParameterValue": value}
            for name, value in {**shown["parameters"], **opening}.items()
        ],
        Capabilities=["CAPABILITY_NAMED_IAM"],
    )


def test_an_architect_verifies_the_role_starts_the_install_and_follows_it(
    open_as: OpenAs, world: World, worker: WorkerProcess, gate: GateProcess
) -> None:
    page = open_as("sam", "/boundaries/opened").page
    page.get_by_role("button", name="Ask for access").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("textbox", name="Purpose").fill("first install")
    dialog.get_by_role("button", name="Ask for access").click()
    expect(page.get_by_text("The access request waits for approval")).to_be_visible()
    grant = world.call("sam", "GET", "/v1/boundaries/opened")["standing"]["live_grant"]["id"]
    world.call("ana", "POST", f"/v1/grants/{grant}/approve", {"reason": "as planned"})
    # Nobody loads the page again: it asks by itself.
    expect(page.get_by_text("The customer opens the role")).to_be_visible(timeout=JOB_MS)
    verify = page.get_by_role("button", name="Verify the role")
    verify.click()
    expect(page.get_by_text("Not open as it must be")).to_be_visible(timeout=JOB_MS)
    customer_opens(world, gate, grant)
    verify.click()
    start = page.get_by_role("button", name="Start the install")
    start.click(timeout=JOB_MS)
    page.get_by_role("dialog").get_by_role("button", name="Start with the plan").click()
    expect(page).to_have_url(re.compile(r"/installs/[0-9a-f-]{36}$"))
    expect(page.locator(".rf-link")).to_have_text("live")
    world.adopt("opened", page.url.rpartition("/")[2])
    world.event("opened", "run.state", None, "planning", kind="install.provision")
    world.event("opened", "log", "preflight", None, message="nine checks begin")
    page.get_by_role("link", name="Events").click()
    expect(events_of(page).filter(has_text="nine checks begin")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    page.get_by_role("dialog").get_by_role("button", name="Cancel and take back").click()
    done(page)
    expect(page.get_by_role("button", name="Cancel")).to_have_count(0)
    run = world.call("sam", "GET", f"/v1/runs/{world.runs['opened']}")
    assert "cancel" not in run["can"]


def events_of(page: Page) -> Locator:
    """Return the lines of the event log."""
    found: Locator = panel(page, "Events").get_by_role("listitem")
    return found


def say(world: World, *numbers: int) -> None:
    """Let the worker's log say numbered lines."""
    for number in numbers:
        world.event("research", "log", "cluster", None, message=f"line {number}.")


def numbers_of(page: Page) -> list[int]:
    """Return the numbers of the lines that the log shows, in its order."""
    return [int(n) for n in re.findall(r"line (\d+)\.", panel(page, "Events").inner_text())]


@pytest.mark.parametrize("cut", ["the network is gone", "the server starts again"])
def test_a_stream_that_is_cut_goes_on_after_the_last_event_seen(
    cut: str, open_as: OpenAs, world: World
) -> None:
    base = 100 if cut == "the network is gone" else 200
    watched = open_as("sam", f"/installs/{world.installs['research']}?view=events")
    page, asked = watched.page, []

    def note(request: Request) -> None:
        if request.url.endswith("/events"):
            asked.append(int(request.headers["last-event-id"]))

    page.on("request", note)
    say(world, base + 1, base + 2)
    expect(events_of(page).filter(has_text=f"line {base + 2}.")).to_be_visible()
    seen = last_seq(world)
    if cut == "the network is gone":
        page.context.set_offline(True)
        expect(page.get_by_role("status").filter(has_text="No connection")).to_be_visible()
        say(world, base + 3, base + 4)
        page.context.set_offline(False)
    else:
        world.api.stop()
        say(world, base + 3, base + 4)
        world.api.start_again()
    say(world, base + 5)
    expect(events_of(page).filter(has_text=f"line {base + 5}.")).to_be_visible(timeout=JOB_MS)
    assert [n for n in numbers_of(page) if n > base] == [base + n for n in range(1, 6)]
    assert asked, "the stream was not asked for again"
    assert asked[-1] >= seen, "what had been seen was asked for again"
    page.get_by_role("link", name="Timeline").click()
    expect(page.locator(".rf-link")).to_have_text("live")


def last_seq(world: World) -> int:
    """Return the number of the run's newest event."""
    number: int = world.read("SELECT last_seq FROM run WHERE id = %s", world.runs["research"])
    return number
