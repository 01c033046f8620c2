"""People steer a run in a browser: pause, resume, cancel, retry, skip; and read why it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.console.conftest import OpenAs, Watched, done, panel
from tests.console.test_console import check_looks
from tests.console.test_keyboard import enter, tab_to
from tests.console.world import World

pytestmark = pytest.mark.console
VPC = "urn:pulumi:foundation::ringfence-steered::aws:ec2/vpc:Vpc::vpc"
DENIED = "AccessDenied: not authorized to perform ec2:CreateVpc"


@pytest.fixture
def run(world: World) -> Iterator[str]:
    """The run of `steered`, under way in its foundation; put back as it was afterwards."""
    identifier = str(world.runs["steered"])
    world.write("DELETE FROM run_event WHERE run_id = %s", identifier)
    _set(world, "running", last_seq=0)
    world.write(
        "UPDATE step SET state = 'pending', failures = 0, error_code = NULL, error_message = NULL,"
        " started_at = NULL, finished_at = NULL, skippable = (key = 'first-answer')"
        " WHERE run_id = %s",
        identifier,
    )
    for key in ("preflight", "plan", "approval"):
        world.finish_step("steered", key, 2.0)
    world.write(
        "UPDATE step SET state = 'running', attempt = 1, started_at = now() WHERE run_id = %s"
        " AND key = 'foundation'",
        identifier,
    )
    yield identifier
    _set(world, "running", last_seq=0)


def _set(world: World, state: str, **columns: Any) -> None:
    """Bring the run into a state, as its engine would."""
    found: dict[str, Any] = {
        **dict.fromkeys(("parked_reason", "parked_at", "resume_at", "pause_requested_at")),
        **dict.fromkeys(("pause_reason", "cancel_requested_at", "outcome", "at_fault")),
        **dict.fromkeys(("error_code", "error_message", "finished_at")),
        "cancel_keeps": False,
        "state": state,
        **columns,
    }
    fields = ", ".join(f"{name} = %s" for name in found)
    world.write(
        f"UPDATE run SET {fields} WHERE id = %s",
        *found.values(),
        world.runs["steered"],
    )


def _fail(world: World) -> None:
    """Let the foundation fail for good on a resource, and the run wait for a person."""
    _set(world, "needs-attention", parked_reason="step foundation failed 3 times")
    world.write(
        "UPDATE step SET state = 'failed', failures = 3, error_code = 'aws-denied',"
        " error_message = %s, finished_at = now() WHERE run_id = %s AND key = 'foundation'",
        DENIED, world.runs["steered"],
    )  # fmt: skip
    world.event(
        "steered", "resource", "foundation", "failed",
        stack="foundation", urn=VPC, type="aws:ec2/vpc:Vpc", op="create",
    )  # fmt: skip


def page_of(open_as: OpenAs, world: World, who: str) -> Watched:
    watched: Watched = open_as(who, f"/installs/{world.installs['steered']}")
    return watched


def button(page: Page, name: str) -> Locator:
    found: Locator = page.get_by_role("button", name=name, exact=True)
    return found


def shown(world: World, run: str) -> dict[str, Any]:
    found: dict[str, Any] = world.call("sam", "GET", f"/v1/runs/{run}")
    return found


def test_a_pause_is_asked_for_with_a_reason_and_taken_back(
    open_as: OpenAs, world: World, run: str
) -> None:
    page = page_of(open_as, world, "sam").page
    button(page, "Pause").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("button", name="Pause")).to_be_disabled()
    dialog.get_by_role("textbox", name="Reason").fill("a freeze until noon")
    dialog.get_by_role("button", name="Pause").click()
    expect(page.get_by_text("A pause was asked for")).to_be_visible()
    kept = world.read("SELECT pause_reason FROM run WHERE id = %s", run)
    assert kept == "Sam: a freeze until noon"
    button(page, "Do not pause").click()
    expect(page.get_by_text("A pause was asked for")).to_have_count(0)
    assert not shown(world, run)["pause_requested"]


def test_a_paused_run_says_who_and_why_and_goes_on_when_resumed(
    open_as: OpenAs, world: World, run: str
) -> None:
    _set(world, "paused", parked_reason="Ana: a freeze until noon")
    watched = page_of(open_as, world, "sam")
    expect(watched.page.get_by_text("Ana: a freeze until noon")).to_be_visible()
    # One way on, not two with different words.
    expect(button(watched.page, "Try again")).to_have_count(0)
    check_looks(watched, "run-paused")
    button(watched.page, "Resume").click()
    expect(watched.page.get_by_text("Ana: a freeze until noon")).to_have_count(0)
    assert shown(world, run)["state"] == "running"


def test_what_failed_is_told_with_its_cause_and_the_command_that_is_safe(
    open_as: OpenAs, world: World, run: str
) -> None:
    _fail(world)
    watched = page_of(open_as, world, "sam")
    page = watched.page
    failure = page.locator(".rf-failure")
    for text in (
        "The run needs a person",
        "Vpc vpc",
        DENIED,
        "the role lacks an action",
        "aws-denied",
    ):
        expect(failure).to_contain_text(text)
    expect(failure.locator("pre")).to_have_text(f"ringfence run retry {run}")
    check_looks(watched, "run-failed")
    button(page, "Try again").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Which step").select_option("foundation")
    dialog.get_by_role("button", name="Try again").click()
    expect(failure).to_have_count(0)
    assert shown(world, run)["state"] == "running"
    tried = world.read(
        "SELECT detail->'steps'->>0 FROM run_event WHERE run_id = %s AND kind = 'run.state'"
        " ORDER BY seq DESC LIMIT 1", run,
    )  # fmt: skip
    assert tried == "foundation"


def test_only_a_second_person_goes_on_without_a_step(
    open_as: OpenAs, world: World, run: str
) -> None:
    _set(world, "paused", parked_reason="Ana: the model answers too slowly")
    requester = page_of(open_as, world, "sam").page
    expect(button(requester, "Resume")).to_be_visible()
    expect(button(requester, "Skip a step")).to_have_count(0)
    page = page_of(open_as, world, "ana").page
    button(page, "Skip a step").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_role("option")).to_have_count(1)
    dialog.get_by_role("textbox", name="Reason").fill("tried by hand, it answers")
    dialog.get_by_role("button", name="Skip the step").click()
    done(page)
    expect(button(page, "Skip a step")).to_have_count(0)
    step = next(s for s in shown(world, run)["steps"] if s["key"] == "first-answer")
    assert step["state"] == "skipped"


@pytest.mark.parametrize("keep", [False, True], ids=["take back", "keep"])
def test_cancelling_asks_what_becomes_of_what_was_made(
    keep: bool, open_as: OpenAs, world: World, run: str
) -> None:
    page = page_of(open_as, world, "sam").page
    enter(page, button(page, "Cancel"))
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Take it back")).to_be_checked()
    if keep:
        tab_to(page, dialog.get_by_label("Take it back"))
        page.keyboard.press("ArrowDown")
        expect(dialog.get_by_label("Keep it")).to_be_checked()
    enter(page, dialog.get_by_role("button", name=re.compile("^Cancel and")))
    done(page)
    expect(button(page, "Cancel")).to_have_count(0)
    assert world.read("SELECT cancel_keeps FROM run WHERE id = %s", run) is keep
    assert world.read("SELECT cancel_requested_at IS NOT NULL FROM run WHERE id = %s", run)


def test_who_may_only_read_is_offered_nothing(open_as: OpenAs, world: World, run: str) -> None:
    page = page_of(open_as, world, "omar").page
    expect(panel(page, "Steps")).to_contain_text("Network, key, bucket")
    for name in ("Pause", "Resume", "Try again", "Skip a step", "Cancel"):
        expect(button(page, name)).to_have_count(0)


def test_a_run_under_way_tells_its_budget_and_when_it_will_be_done(
    open_as: OpenAs, world: World, run: str
) -> None:
    watched = page_of(open_as, world, "sam")
    page = watched.page
    budget = page.locator(".rf-step-running .rf-budget")
    expect(budget).to_have_text(re.compile(r" of \d+"))
    clock = page.locator(".rf-clock")
    expect(clock).to_contain_text("Done at, estimated")
    _set(world, "paused", parked_reason="Ana: a freeze")
    world.event("steered", "run.state", None, "paused", reason="Ana: a freeze")
    expect(clock).not_to_contain_text("Done at, estimated")
