"""What is in another boundary and what is nowhere look the same to who may see neither."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from controlplane.tables.identity import RoleName
from tests.integration.authorization.requests import body, concrete
from tests.integration.authorization.test_published_table import ROWS, name_of
from tests.integration.authorization.world import Spot, World

SECRET_ROWS = [row for row in ROWS if row["layer"] == "boundary"]
VOLATILE = {"ringfence-request", "date"}


def nowhere(like: Spot) -> Spot:
    """Return a boundary that does not exist, with a name as long as another's."""
    objects = {name: uuid4() for name in like.objects}
    return Spot("z" * len(like.name), like.organization, uuid4(), uuid4(), objects)


def seen(answer: Any, asked: Spot) -> tuple[int, str, dict[str, str]]:
    """Return what a caller can tell answers apart by, without what the caller itself sent."""
    text = answer.text
    for own_words in (asked.name, str(asked.boundary_id), *map(str, asked.objects.values())):
        text = text.replace(own_words, "<asked>")
    try:
        document = json.loads(text)
        document.get("error", {}).pop("request_id", None)
        text = json.dumps(document, sort_keys=True)
    except (ValueError, AttributeError):
        pass
    headers = {k: v for k, v in answer.headers.items() if k.lower() not in VOLATILE}
    return answer.status_code, text, headers


def by_id(spot: Spot) -> Spot:
    """Return the same boundary, asked for by its id."""
    return Spot(
        str(spot.boundary_id),
        spot.organization,
        spot.organization_id,
        spot.boundary_id,
        spot.objects,
    )


def telling_roles(row: dict[str, Any]) -> list[str]:
    """Return a role that may use the route in its own boundary, and one that may not."""
    by_status = {cells["own boundary"]: role for role, cells in row["roles"].items()}
    assert "allow" in by_status
    return list(by_status.values())


@pytest.mark.parametrize("row", SECRET_ROWS, ids=name_of)
def test_a_foreign_thing_answers_as_one_that_does_not_exist(
    row: dict[str, Any], world: World
) -> None:
    different = []
    places = [world.other, world.foreign]
    if "{boundary}" in row["path"]:
        places += [by_id(spot) for spot in places]
    for role in telling_roles(row):
        token = world.callers[role, "own boundary"]
        for hidden in places:
            answers = []
            for spot in (hidden, nowhere(hidden)):
                path = concrete(row["path"], spot, row["method"])
                sent = body(row["method"], row["path"], spot)
                answer = world.ask(row["method"], path, token, sent, world.own.organization)
                answers.append(seen(answer, spot))
            if answers[0] != answers[1]:
                different.append(f"{role}: {answers}")
    assert different == []


def test_a_foreign_organization_answers_as_one_that_does_not_exist(world: World) -> None:
    different = []
    for row in ROWS:
        if row["layer"] != "organization" or "{name}" not in row["path"]:
            continue
        for role in RoleName:
            token = world.callers[str(role), "organization"]
            answers = []
            for name in ("globex", "zzzzzz"):
                path = concrete(row["path"].replace("{name}", name), world.foreign)
                answer = world.ask(row["method"], path, token, body(**_keys(row), spot=world.own))
                asked = Spot(name, name, uuid4(), uuid4(), world.foreign.objects)
                answers.append(seen(answer, asked))
            if answers[0] != answers[1]:
                different.append(f"{role} {name_of(row)}: {answers}")
    assert different == []


def _keys(row: dict[str, Any]) -> dict[str, str]:
    return {"method": row["method"], "path": row["path"]}


def test_a_list_shows_nothing_of_another_boundary(world: World) -> None:
    for role in RoleName:
        token = world.callers[str(role), "own boundary"]
        for path in ("/v1/boundaries", "/v1/installs"):
            answer = world.ask("GET", path, token, None, world.own.organization)
            for hidden in (world.other, world.foreign):
                assert str(hidden.boundary_id) not in answer.text
                assert hidden.name not in answer.text
