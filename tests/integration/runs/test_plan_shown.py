"""The plan's route: the stored document beside what a person reads, from the blueprint in force."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.integration.api.conftest import PersonOf
from tests.integration.runs.test_run_routes import DIGEST, run_id
from tests.postgres import DatabaseUrls

__all__ = ["run_id"]
"""A fixture, which pytest finds here."""

NAT = "urn:pulumi:s::p::aws:ec2/natGateway:NatGateway::nat"


def document(**more: Any) -> dict[str, Any]:
    resource = {
        "urn": NAT, "type": "aws:ec2/natGateway:NatGateway", "op": "update",
        "properties": {"subnetId": {"$hole": "computed"}},
    }  # fmt: skip
    change = {"path": "tags.team", "kind": "update", "old": "a", "new": "b"}
    return {
        "constraint": {"version": 1, "stacks": {"cluster": [resource]}},
        "counts": {"cluster": {"update": 1}},
        "changes": {NAT: [change]},
        "region": "eu-central-1",
        "time_scale": 0.5,
        **more,
    }


@pytest.mark.parametrize(
    ("version", "why"),
    [
        ("0.4.0", "The one way out: the agent dials out, nothing dials in"),
        ("9.9.9", ""),
    ],
)
def test_a_plan_is_told_by_the_blueprint_it_was_made_from(
    acme: PersonOf, run_id: str, database: DatabaseUrls, version: str, why: str
) -> None:
    plan = document(blueprint="eks-model-stack", blueprint_version=version)
    with psycopg.connect(database.admin) as connection:
        connection.execute("SET session_replication_role = replica")
        connection.execute(
            "UPDATE run SET plan = %s, plan_digest = %s WHERE id = %s",
            (Jsonb(plan), DIGEST, run_id),
        )
    shown = acme("ana").get(f"/v1/runs/{run_id}/plan").json()
    (resource,) = shown["view"]["resources"]
    assert (resource["why"], resource["what"]) == (why, "NAT gateway")
    assert resource["changes"] == [
        {"path": "tags.team", "old": "a", "new": "b", "forces_replacement": False}
    ]
    assert shown["view"]["cost"]["monthly"] == 32.85
    assert shown["view"]["cost"]["installed_in"] == "eu-central-1"
    assert shown["document"] == plan
