"""Maintenance windows and their overrides in a browser, and a plan that changes what is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from playwright.sync_api import expect
from psycopg.types.json import Jsonb

from blueprints.eks_model_stack.about import VERSION
from controlplane.core.ids import new_id
from proof.canonical import digest
from tests.console.conftest import OpenAs, panel
from tests.console.test_console import check_looks
from tests.console.test_steering import _set
from tests.console.world import World

pytestmark = pytest.mark.console
WINDOWS = "/v1/boundaries/payments/windows"


@pytest.fixture
def no_windows(world: World) -> Iterator[None]:
    """Leave no window and no override behind."""
    yield
    world.write("DELETE FROM maintenance_window")
    world.write("DELETE FROM window_override")


def in_three_days() -> str:
    return (datetime.now(UTC) + timedelta(days=3)).strftime("%a")


@pytest.mark.usefixtures("no_windows")
def test_windows_are_set_by_the_boundarys_administrator_and_overridden_by_two_people(
    open_as: OpenAs, world: World
) -> None:
    page = open_as("bea", "/boundaries/payments").page
    windows = panel(page, "Maintenance windows")
    expect(windows).to_contain_text("runs may change this boundary at any time")
    windows.get_by_role("button", name="Set windows").click()
    dialog = page.get_by_role("dialog")
    save = dialog.get_by_role("button", name="Set these windows")
    expect(save).to_be_disabled()
    dialog.get_by_label(in_three_days()).check()
    dialog.get_by_label("Minutes").fill("240")
    dialog.get_by_label("Time zone").fill("Mars/Olympus")
    save.click()
    expect(dialog).to_contain_text("Mars/Olympus")
    dialog.get_by_label("Time zone").fill("Asia/Tokyo")
    save.click()
    expect(windows).to_contain_text("22:00 for 4 h (Asia/Tokyo)")
    expect(windows).to_contain_text("Closed, opens next")
    expect(windows).to_contain_text(re.compile(r"22:00 \S+ in Asia/Tokyo"))
    watched = open_as("sam", "/boundaries/payments")
    asker = panel(watched.page, "Maintenance windows")
    expect(asker.get_by_role("button", name="Change the windows")).to_have_count(0)
    asker.get_by_role("button", name="Ask for an override").click()
    ask = watched.page.get_by_role("dialog")
    ask.get_by_label("For how long").select_option("90")
    ask.get_by_role("textbox", name="Why it cannot wait").fill("the release of Monday")
    ask.get_by_role("button", name="Ask for it").click()
    expect(asker).to_contain_text("Override of 1 h 30 min waits for approval")
    check_looks(watched, "windows")
    asker.get_by_role("link", name=re.compile("^Override of")).click()
    expect(watched.page.get_by_text("This is your own request")).to_be_visible()
    expect(watched.page.get_by_role("button", name="Approve")).to_have_count(0)
    _approve_override(open_as)
    found = world.call("ana", "GET", WINDOWS)
    assert (found["is_open"], found["override"]["reason"]) == (True, "the release of Monday")
    expect(windows).to_contain_text("Open by an override", timeout=15_000)


def _approve_override(open_as: OpenAs) -> None:
    """Approve the one override that waits, as an approver who finds it in the list."""
    watched = open_as("ana", "/approvals")
    page = watched.page
    page.get_by_role("link", name="Change outside the maintenance windows").click()
    expect(panel(page, "What is asked")).to_contain_text("the release of Monday")
    expect(page.get_by_role("button", name="Deny")).to_have_count(0)
    check_looks(watched, "override")
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("dialog").get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading", name="Approvals", level=1)).to_be_visible()


@pytest.mark.usefixtures("no_windows")
def test_a_run_that_a_window_holds_back_says_until_when_and_how_not_to_wait(
    open_as: OpenAs, world: World
) -> None:
    opens = (datetime.now(UTC) + timedelta(days=3)).replace(
        hour=13, minute=0, second=0, microsecond=0
    )
    world.write(
        "INSERT INTO maintenance_window (organization_id, boundary_id, id, days, starts, minutes,"
        " zone, created_by) SELECT organization_id, boundary_id, %s, %s, '22:00', 60,"
        " 'Asia/Tokyo', requested_by FROM run WHERE id = %s",
        new_id(), Jsonb([in_three_days().lower()]), world.runs["steered"],
    )  # fmt: skip
    _set(world, "paused", resume_at=opens, parked_reason="outside the boundary's windows")
    try:
        watched = open_as("sam", f"/installs/{world.installs['steered']}")
        page = watched.page
        expect(page.get_by_text("It goes on by itself")).to_contain_text(
            re.compile(r"13:00 UTC = .*22:00 \S+ in Asia/Tokyo")
        )
        check_looks(watched, "run-held")
        page.get_by_role("button", name="Ask for an override").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("textbox", name="Why it cannot wait").fill("the release of Monday")
        dialog.get_by_role("button", name="Ask for it").click()
        expect(page.get_by_role("link", name=re.compile("^Override of 1 h"))).to_be_visible()
    finally:
        _set(world, "running")


def _upgrade() -> dict[str, Any]:
    """Return a plan that makes, changes, replaces and deletes."""
    nodes = {
        "instanceTypes": ["m7i.4xlarge"], "capacityType": "ON_DEMAND",
        "scalingConfig": {"desiredSize": 3.0}, "nodeRoleArn": {"$hole": "computed"},
    }  # fmt: skip
    stacks = {
        "foundation": [
            _planned("aws:ec2/vpc:Vpc", "vpc", "same"),
            _planned("aws:ec2/subnet:Subnet", "private-a", "replace"),
            _planned("aws:ec2/eip:Eip", "old", "delete"),
        ],
        "cluster": [
            _planned("aws:ec2/natGateway:NatGateway", "nat", "create"),
            _planned("aws:eks/nodeGroup:NodeGroup", "nodes", "update", **nodes),
            _planned("aws:eks/cluster:Cluster", "cluster", "create"),
        ],
    }  # fmt: skip
    subnet, group = stacks["foundation"][1]["urn"], stacks["cluster"][1]["urn"]
    return {
        "constraint": {"version": 1, "stacks": stacks},
        "counts": {},
        "holes": 1,
        "blueprint": "eks-model-stack",
        # The order of the stacks is that of the installed version's manifest.
        "blueprint_version": VERSION,
        "region": "eu-central-1",
        "time_scale": 0.02,
        "changes": {
            subnet: [{"path": "cidrBlock", "kind": "update-replace", "old": "10.80.0.0/18",
                      "new": "10.80.64.0/18"}],
            group: [
                {"path": "scalingConfig.desiredSize", "kind": "update", "old": 2.0, "new": 3.0},
                {"path": "remoteAccess", "kind": "update", "old": {"$hole": "secret"},
                 "new": {"$hole": "secret"}},
            ],
        },
    }  # fmt: skip


def _planned(kind: str, name: str, op: str, **properties: Any) -> dict[str, Any]:
    urn = f"urn:pulumi:steered::ringfence::{kind}::{name}"
    return {"urn": urn, "type": kind, "op": op, "properties": properties}


def test_a_plan_says_what_why_what_changes_how_long_and_what_it_costs(
    open_as: OpenAs, world: World
) -> None:
    plan = _upgrade()
    before = world.read("SELECT plan FROM run WHERE id = %s", world.runs["steered"])
    _set(world, "awaiting-approval", plan=Jsonb(plan), plan_digest=digest(plan["constraint"]))
    try:
        watched = open_as("ana", f"/approvals/plan/{world.runs['steered']}")
        shown = panel(watched.page, "Plan")
        for said in ("1 to delete", "1 to replace", "2 to create", "1 to update", "1 kept"):
            expect(shown).to_contain_text(said)
        expect(shown).to_contain_text("list prices of US East (N. Virginia)")
        expect(shown).to_contain_text("the install is in eu-central-1")
        expect(shown).to_contain_text("Times are simulated, at 0.02 of those published")
        lines = shown.get_by_role("listitem")
        expect(lines.first).to_contain_text("public IP address old")
        nat = lines.filter(has_text="NAT gateway")
        expect(nat).to_contain_text("The one way out")
        expect(nat).to_contain_text("$32.85 a month")
        expect(lines.filter(has_text="network (VPC)")).to_contain_text("no price")
        subnet = lines.filter(has_text="private-a")
        expect(subnet).to_contain_text("replaced because of cidrBlock")
        subnet.locator("summary").click()
        expect(subnet.locator(".rf-changes")).to_contain_text("10.80.0.0/18")
        nodes = lines.filter(has_text="node group")
        nodes.locator("summary").click()
        changes = nodes.locator(".rf-changes > div")
        expect(changes).to_have_count(2)
        expect(changes.first).to_have_text(re.compile(r"desiredSize.*2.*3"))
        expect(changes.last).to_contain_text("(secret)")
        expect(nodes).to_contain_text("3 x 0.8064 USD per hour")
        expect(nodes).to_contain_text("2026-01-19")
        check_looks(watched, "plan-of-changes")
    finally:
        _set(world, "running", plan=Jsonb(before), plan_digest=digest(before["constraint"]))
