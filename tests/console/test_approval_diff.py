"""What an approver sees of the permissions that a grant asks for."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import psycopg
import pytest
from playwright.sync_api import Locator, Page, expect
from psycopg.types.json import Jsonb

from controlplane.core.ids import new_id
from proof.canonical import digest
from tests.console.conftest import OpenAs
from tests.console.test_console import check_looks, panel
from tests.console.world import World

pytestmark = pytest.mark.console


def permissions(page: Page) -> Locator:
    """The part of the page that this is about."""
    found: Locator = panel(page, "Permissions asked for")
    return found


def row(page: Page, action: str, effect: str = "") -> Locator:
    """The line of an action."""
    return (
        permissions(page)
        .locator("tr", has=page.get_by_text(action, exact=True))
        .filter(has_text=re.compile(effect))
    )


def _older(document: dict[str, Any]) -> dict[str, Any]:
    """Give a template as an earlier version may have asked for it."""
    found = copy.deepcopy(document)
    statements = {
        statement["Sid"]: statement
        for name, resource in found["Resources"].items()
        if name.startswith("Permissions")
        for statement in resource["Properties"]["PolicyDocument"]["Statement"]
    }
    statements["ReadAccount"]["Action"].remove("kms:ListKeys")
    statements["ReadAccount"]["Action"].append("sqs:ListQueues")
    statements["Cluster"]["Resource"].pop()
    statements["ServiceLinkedRoles"]["Condition"]["StringEquals"]["iam:AWSServiceName"].append(
        "spot.amazonaws.com"
    )
    statements["NoSharingOutward"]["Action"].append("s3:PutBucketOwnershipControls")
    found["Resources"]["Role"]["Properties"]["MaxSessionDuration"] = 7200
    return found


@pytest.fixture(scope="module")
def opened_before(world: World) -> None:
    """The last grant of payments was opened with another template than today's."""
    boundary = world.boundaries["payments"]
    with psycopg.connect(world.urls.admin) as connection:
        (kept,) = connection.execute(
            "SELECT document FROM permission_document WHERE boundary_id = %s", (boundary,)
        ).fetchall()
    older, identifier = _older(kept[0]), new_id()
    world.write(
        "INSERT INTO permission_document (organization_id, boundary_id, id, digest, document)"
        " VALUES (%s, %s, %s, %s, %s)",
        world.organization_id, boundary, identifier, digest(older), Jsonb(older),
    )  # fmt: skip
    world.write(
        "UPDATE access_grant SET permission_document_id = %s, policy_digest = %s WHERE id = %s",
        identifier, digest(older), world.grants["payments"],
    )  # fmt: skip


@pytest.fixture
def changed(world: World, opened_before: None) -> Iterator[UUID]:
    """A request for payments; at the end it is over."""
    asked = world.call(
        "sam", "POST", "/v1/boundaries/payments/grants",
        {"purpose": "update", "reason": "new nodes", "duration_seconds": 3600},
    )  # fmt: skip
    yield UUID(asked["id"])
    state = world.call("ana", "GET", f"/v1/grants/{asked['id']}")["state"]
    ending = "deny" if state == "requested" else "revoke"
    world.call("ana", "POST", f"/v1/grants/{asked['id']}/{ending}", {"reason": "test is over"})


@pytest.fixture
def first(world: World) -> UUID:
    """The first request for a boundary that no other test asks for."""
    found = world.call("sam", "GET", "/v1/boundaries/quant")["standing"]["live_grant"]
    found = found or world.call(
        "sam", "POST", "/v1/boundaries/quant/grants", {"purpose": "first install of quant"}
    )
    return UUID(found["id"])


def test_an_approver_sees_what_was_added_removed_widened_and_narrowed(
    open_as: OpenAs, world: World, changed: UUID
) -> None:
    page = open_as("ana", f"/approvals/grant/{changed}").page
    about = permissions(page)
    expect(about).to_contain_text("Compared with grant g1")
    tally = about.get_by_role("list", name="Differences")
    expect(tally).to_contain_text("1 added")
    expect(tally).to_contain_text("1 other settings changed")
    for action, sign, words in (
        ("kms:ListKeys", "+", "added"),
        ("sqs:ListQueues", "\N{MINUS SIGN}", "removed"),
        ("eks:CreateCluster", "↑", "widened"),
        ("iam:CreateServiceLinkedRole", "↓", "narrowed"),
    ):
        line = row(page, action)
        expect(line).to_have_count(1)
        expect(line.locator("td").first).to_have_text(re.compile(f"^{re.escape(sign)} {words}"))
    expect(row(page, "s3:PutBucketOwnershipControls")).to_contain_text("can do more")
    expect(row(page, "kms:ListKeys")).to_contain_text("finding what a crashed run has made")
    expect(row(page, "ec2:CreateVpc")).to_have_count(0)
    expect(about).to_contain_text("Resources.Role.Properties.MaxSessionDuration")
    about.get_by_label("Show what is unchanged too").check()
    expect(row(page, "ec2:CreateVpc")).to_contain_text("= unchanged")


def test_conditions_are_in_words_and_the_policies_are_there_as_json(
    open_as: OpenAs, world: World, changed: UUID
) -> None:
    page = open_as("ana", f"/approvals/grant/{changed}").page
    line = row(page, "iam:CreateServiceLinkedRole")
    line.locator("summary").click()
    before, now = line.locator(".rf-uses").nth(0), line.locator(".rf-uses").nth(1)
    expect(before).to_contain_text("spot.amazonaws.com")
    expect(now).to_contain_text(
        "the service that gets the role is eks-nodegroup.amazonaws.com or eks.amazonaws.com"
    )
    expect(now).not_to_contain_text("spot.amazonaws.com")
    expect(now).to_contain_text("the time is before the end of the grant")
    cluster = row(page, "eks:CreateCluster")
    cluster.locator("summary").click()
    gained = cluster.locator("li", has_text="new: ")
    expect(gained).to_have_text(re.compile(r"^new: arn:aws:eks:.*:podidentityassociation/"))
    raw = permissions(page).locator("details", has_text="Who may assume the role")
    raw.locator("summary").click()
    expect(raw).to_contain_text('"sts:ExternalId": "sha256:')
    connection = world.call("sam", "GET", "/v1/boundaries/payments/connection")
    assert connection["external_id"] not in page.content()


def test_the_list_says_in_figures_what_differs(
    open_as: OpenAs, world: World, changed: UUID
) -> None:
    page = open_as("ana", "/approvals").page
    expect(page.get_by_role("main")).to_contain_text(
        re.compile(
            r"1 added, 2 removed, \d+ widened, 1 narrowed, 1 other settings, compared with g1"
        )
    )
    asked = panel(open_as("ana", f"/approvals/grant/{changed}").page, "What is asked")
    expect(asked).to_contain_text(re.compile(r"nothing works past \d{4}-\d\d-\d\d"))


def test_the_first_access_is_grouped_by_service_and_says_what_has_no_evidence(
    open_as: OpenAs, first: UUID
) -> None:
    opened = open_as("ana", f"/approvals/grant/{first}")
    page, about = opened.page, permissions(opened.page)
    expect(about).to_contain_text("The first access to this boundary")
    expect(about.get_by_role("table")).to_have_count(0)
    group = about.get_by_role("button", name=re.compile("iam")).first
    expect(group).to_have_attribute("aria-expanded", "false")
    group.click()
    expect(row(page, "iam:CreateRole")).to_contain_text("+ added")
    expect(row(page, "iam:PutRolePolicy")).to_contain_text("permissions management")
    expect(row(page, "iam:GetAccountSummary")).to_contain_text("no evidence")
    opened.picture("diff-first")


def test_the_diff_can_be_read_on_any_screen_by_anybody(
    open_as: OpenAs, world: World, changed: UUID
) -> None:
    opened = open_as("ana", f"/approvals/grant/{changed}")
    row(opened.page, "iam:CreateServiceLinkedRole").locator("summary").click()
    check_looks(opened, "diff")


def test_an_approval_is_for_the_template_that_is_shown(
    open_as: OpenAs, world: World, changed: UUID
) -> None:
    page = open_as("ana", f"/approvals/grant/{changed}").page
    shown = world.call("ana", "GET", f"/v1/grants/{changed}/permissions")["digest"]
    page.get_by_role("button", name="Approve").click()
    with page.expect_request(re.compile(r"/approve$")) as sent:
        page.get_by_role("dialog").get_by_role("button", name="Approve").click()
    assert json.loads(sent.value.post_data or "")["policy_digest"] == shown
    expect(page.get_by_role("heading", name="Approvals", level=1)).to_be_visible()
    assert world.call("ana", "GET", f"/v1/grants/{changed}")["state"] == "approved"
