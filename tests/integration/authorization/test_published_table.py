"""Each row of `docs/reference/authorization.json` is what the application answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import APIRouter

from controlplane.authorization_table import REFERENCE, files, unlisted_routes
from controlplane.core.http import TransactionRoute
from tests.integration.authorization.requests import body, concrete
from tests.integration.authorization.world import HELD_AT, World

TABLE: dict[str, Any] = json.loads((REFERENCE / "authorization.json").read_text())
ROWS: list[dict[str, Any]] = TABLE["routes"]
NOBODY = (None, "x" * 60)
"""No token, and one that nobody has."""


def name_of(row: dict[str, Any]) -> str:
    """Return a row as the test's name shows it."""
    return f"{row['method']} {row['path']}"


def target(row: dict[str, Any], world: World, where: str) -> tuple[str, str]:
    """Return the path to ask and the organization to name for a caller at a place."""
    if row["layer"] == "document" and where == "platform":
        # By its platform role somebody may bring a new organization into being.
        return row["path"].replace("{name}", "brand-new"), ""
    named = "" if row["layer"] in ("authenticated", "platform") else world.own.organization
    return concrete(row["path"], world.own, row["method"]), named


def test_the_table_is_what_the_policies_and_the_application_say() -> None:
    assert unlisted_routes() == []
    assert [p.name for p, render in files() if p.read_text() != render()] == []
    assert tuple(TABLE["held_at"]) == HELD_AT


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_each_role_at_each_place_gets_what_the_row_says(row: dict[str, Any], world: World) -> None:
    wrong = []
    sent = body(row["method"], row["path"], world.own)
    for token in NOBODY:
        answer = world.ask(
            row["method"], concrete(row["path"], world.own, row["method"]), token, sent
        )
        if row["layer"] != "public" and answer.status_code != 401:
            wrong.append(f"nobody: {answer.status_code}")
    for role, cells in row["roles"].items():
        for where, expected in cells.items():
            path, named = target(row, world, where)
            token = world.callers[role, where]
            answer = world.ask(row["method"], path, token, sent, named)
            status = answer.status_code
            fits = (
                # 501 of SCIM's search over everything: allowed, and not there (RFC 7644, 3.4.3).
                (status < 500 or status == 501) and status not in (401, 403)
                if expected == "allow"
                else status == int(expected)
            )
            if not fits:
                wrong.append(f"{role} at {where}: {status} and not {expected}: {answer.text[:200]}")
    assert wrong == []


READS = [
    row
    for row in ROWS
    if row["method"] == "GET"
    and row["layer"] == "boundary"
    and "{" in row["path"]
    # There is none until an install reaches it.
    and not row["path"].endswith(("/plan", "/certificate", "/agent"))
    and "/takeover/" not in row["path"]
    and "/snapshots/" not in row["path"]
]


@pytest.mark.parametrize("row", READS, ids=name_of)
def test_who_is_allowed_finds_the_own_object(row: dict[str, Any], world: World) -> None:
    """Else a 404 for another boundary's would be no news."""
    for where in ("organization", "own boundary"):
        token = world.callers["boundary-admin", where]
        if row["roles"]["boundary-admin"][where] != "allow":
            token = world.callers["auditor", where]
        answer = world.ask(
            "GET", concrete(row["path"], world.own), token, None, world.own.organization
        )
        assert answer.status_code == 200, answer.text


def test_a_route_that_is_not_in_the_table_answers_404_to_everybody(world: World) -> None:
    stray = APIRouter(route_class=TransactionRoute)
    stray.add_api_route("/v1/stray", lambda: {"secret": "x"}, methods=["GET"])
    app: Any = world.client.app
    before = list(app.router.routes)
    app.include_router(stray)
    try:
        statuses = {
            world.ask("GET", "/v1/stray", token, None, world.own.organization).status_code
            for token in world.callers.values()
        }
        assert world.ask("GET", "/v1/stray", None).status_code == 401
    finally:
        app.router.routes[:] = before
    assert statuses == {404}
