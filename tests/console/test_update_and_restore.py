"""An update and a restore asked for in a browser: what is said, and which run comes of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect
from psycopg.types.json import Jsonb

from proof.canonical import digest
from tests.console.conftest import OpenAs, panel
from tests.console.test_console import check_looks
from tests.console.test_steering import _set
from tests.console.test_windows_and_plan import _upgrade
from tests.console.world import World

pytestmark = pytest.mark.console


@pytest.fixture
def reopened(world: World) -> Iterator[str]:
    """The access to an installed boundary is open again; its runs are gone afterwards."""
    grant, install = world.grants["payments"], world.installs["payments"]
    state = world.read("SELECT state FROM access_grant WHERE id = %s", grant)
    until = world.read("SELECT grant_until FROM access_grant WHERE id = %s", grant)
    world.write(
        "UPDATE access_grant SET state = 'active', grant_until = now() + interval '1 hour'"
        " WHERE id = %s",
        grant,
    )
    yield f"/installs/{install}"
    world.write(
        "DELETE FROM outbox WHERE args->>'run_id' IN (SELECT id::text FROM run"
        " WHERE install_id = %s AND id <> %s)",
        install, world.runs["payments"],
    )  # fmt: skip
    world.write(
        "DELETE FROM run WHERE install_id = %s AND id <> %s", install, world.runs["payments"]
    )
    world.write(
        "UPDATE access_grant SET state = %s, grant_until = %s WHERE id = %s", state, until, grant
    )


@pytest.mark.parametrize("asked", ["Update", "Restore"])
def test_a_change_is_asked_for_with_a_reason_and_leads_to_its_plan(
    open_as: OpenAs, world: World, reopened: str, asked: str
) -> None:
    watched = open_as("sam", reopened)
    page = watched.page
    stands = panel(page, "How the install stands")
    expect(stands.get_by_role("button", name="Ask for access")).to_have_count(0)
    check_looks(watched, "changes")
    stands.get_by_role("button", name=asked).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("before somebody else has approved the plan")
    make = dialog.get_by_role("button", name="Make the plan")
    expect(make).to_be_disabled()
    if asked == "Update":
        inputs = dialog.get_by_label("Inputs, as JSON")
        expect(inputs).to_have_value(re.compile('"cidr"'))
        present = inputs.input_value()
        inputs.fill('{"cidr": 5}')
        dialog.get_by_role("textbox", name="Why").fill("a wider network")
        make.click()
        # Refused before anything begins, with the field.
        expect(dialog).to_contain_text("cidr")
        check_looks(watched, "ask-update")
        inputs.fill(present)
    else:
        dialog.get_by_role("textbox", name="Why").fill("the record was lost")
        check_looks(watched, "ask-restore")
    make.click()
    page.wait_for_url(re.compile(r"view=plan"))
    (run,) = re.findall(r"run=([0-9a-f-]{36})", page.url)
    kind, reason = (
        world.read(f"SELECT {column} FROM run WHERE id = %s", run)
        for column in ("kind", "params->>'reason'")
    )
    said = {"Update": "a wider network", "Restore": "the record was lost"}
    assert (kind, reason) == (f"install.{asked.lower()}", said[asked])


def test_without_access_it_is_said_once_what_both_need(open_as: OpenAs, world: World) -> None:
    stands = panel(
        open_as("sam", f"/installs/{world.installs['payments']}").page, "How the install stands"
    )
    expect(stands).to_contain_text("Update and Restore: both need an open grant.")
    expect(stands.get_by_role("button", name="Ask for access")).to_have_count(1)


def _resource(stack: str, kind: str, name: str, cloud_id: str, reason: str = "") -> dict[str, str]:
    """Return one resource as a restore's plan tells of it."""
    urn = f"urn:pulumi:steered::ringfence::{kind}::{name}"
    return {
        "stack": stack,
        "urn": urn,
        "type": kind,
        "name": name,
        "id": cloud_id,
        "reason": reason,
    }


def test_a_restores_plan_says_what_was_adopted_what_is_lost_and_what_stays(
    open_as: OpenAs, world: World
) -> None:
    before = world.read("SELECT plan FROM run WHERE id = %s", world.runs["steered"])
    plan = _upgrade() | {
        "restore": {
            "source": "snapshot 4", "saved": 9, "stacks": ["foundation", "cluster"],
            "adopted": [_resource("foundation", "aws:ec2/vpc:Vpc", "vpc", "vpc-0a1b")],
            "lost": [
                _resource("cluster", "aws:eks/nodeGroup:NodeGroup", "nodes", "ringfence:nodes"),
                _resource(
                    "foundation", "aws:s3/bucketV2:BucketV2", "artifacts", "rf-artifacts",
                    "your models and adapters are in it",
                ),
            ],
            "kept": [_resource("foundation", "aws:kms/key:Key", "weights", "9f1c")],
        }
    }  # fmt: skip
    _set(world, "awaiting-approval", plan=Jsonb(plan), plan_digest=digest(plan["constraint"]))
    try:
        watched = open_as("ana", f"/approvals/plan/{world.runs['steered']}")
        shown = panel(watched.page, "Plan")
        expect(shown).to_contain_text("Began from the record snapshot 4")
        lost = shown.locator("ul", has_text="rf-artifacts").first
        expect(lost).to_contain_text("your models and adapters are in it")
        expect(lost).not_to_contain_text("vpc-0a1b")
        check_looks(watched, "plan-of-restore")
    finally:
        _set(world, "running", plan=Jsonb(before), plan_digest=digest(before["constraint"]))
