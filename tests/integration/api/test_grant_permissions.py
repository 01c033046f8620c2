"""What a grant asks for: kept as it was, compared with what was open last, approved by digest."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from controlplane.core.db import Database
from iam import role_statements, role_template
from proof.canonical import bytes_digest, digest
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import organization
from tests.integration.api.test_approvals import pending
from tests.integration.api.test_grants import RoleStub, approved, probe, request
from tests.postgres import DatabaseUrls


@pytest.fixture
def worker(database: DatabaseUrls) -> Iterator[Database]:
    """The database as the worker's role sees it."""
    opened = Database.connect(database.worker, pool_size=1)
    yield opened
    opened.close()


def external_id(acme: PersonOf) -> str:
    """Return the External ID of boundary payments."""
    found: str = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    return found


def opened(acme: PersonOf, worker: Database) -> dict[str, Any]:
    """Open a grant of payments and end it again."""
    grant = approved(acme)
    probe(acme, worker, RoleStub({external_id(acme)}), "open", grant["id"])
    answer = acme("ana").post(f"/v1/grants/{grant['id']}/revoke", {"reason": "done"})
    assert answer.status_code == 200, answer.text
    return grant


def permissions(acme: PersonOf, grant: dict[str, Any], name: str = "ana") -> dict[str, Any]:
    """Return what a grant asks for."""
    answer = acme(name).get(f"/v1/grants/{grant['id']}/permissions")
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def change_the_role(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the role's table another version: more, less, wider, narrower and a deny less."""
    tables = copy.deepcopy(role_statements.ROLE_TABLES)
    sids = {s["Sid"]: s for table in tables.values() for s in table}
    sids["ReadAccount"]["Action"].append("sqs:ListQueues")
    sids["ReadAccount"]["Action"].remove("iam:GetAccountSummary")
    sids["Alias"]["Resource"] = [
        sids["Alias"]["Resource"],
        "arn:<partition>:kms:*:<account>:alias/x",
    ]
    sids["ServiceLinkedRoles"]["Condition"]["StringEquals"]["iam:AWSServiceName"].pop()
    sids["NoSharingOutward"]["Action"].remove("s3:PutBucketAcl")
    monkeypatch.setattr(role_template, "ROLE_TABLES", tables)


def test_the_first_access_shows_every_permission_as_new(acme: PersonOf) -> None:
    grant = request(acme)
    found = permissions(acme, grant)
    assert found["compared_with"] is None
    assert {line["status"] for line in found["lines"]} == {"added"}
    assert found["counts"]["added"] == len(found["lines"]) > 150
    (create,) = [ln for ln in found["lines"] if ln["actions"] == ["eks:CreateCluster"]]
    assert (create["part"], create["service"], create["levels"]) == (
        "permissions",
        "eks",
        ["write"],
    )
    assert create["evidence"] == [
        {"kind": "provider", "action": "eks:CreateCluster", "text": "create of eks/cluster"}
    ]
    (use,) = create["after"]
    assert "arn:aws:eks:*:111122223333:cluster/ringfence-payments" in use["resources"]
    assert [c["words"] for c in use["conditions"]] == ["the time is before the end of the grant"]
    assert use["statements"] == [
        {"name": "Cluster", "reason": "Make and run the one cluster of this boundary, by its name."}
    ]
    assert found["digest"] == grant["policy_digest"]


def test_the_same_template_again_is_no_difference_and_is_kept_once(
    acme: PersonOf, worker: Database, database: DatabaseUrls
) -> None:
    first = opened(acme, worker)
    second = request(acme)
    (item,) = pending(acme, "ana")
    summary = item["permissions"]
    assert summary["digest"] == second["policy_digest"] == first["policy_digest"]
    assert summary["compared_with"]["number"] == 1
    assert summary["compared_with"]["decided_by"]["subject"] == "ana@acme.test"
    counts = dict(summary["counts"])
    assert counts.pop("unchanged") > 150
    assert set(counts.values()) == {0}
    with psycopg.connect(database.admin) as connection:
        rows = connection.execute("SELECT count(*) FROM permission_document").fetchone()
    assert rows == (1,)


def test_a_grant_that_was_never_open_is_not_what_one_compares_with(
    acme: PersonOf, worker: Database
) -> None:
    opened(acme, worker)
    never = approved(acme)
    acme("ana").post(f"/v1/grants/{never['id']}/revoke", {"reason": "not used"})
    assert permissions(acme, request(acme))["compared_with"]["number"] == 1


def test_each_kind_of_difference_is_told(
    acme: PersonOf, worker: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(acme, worker)
    change_the_role(monkeypatch)
    found = permissions(acme, request(acme))
    told = {
        (line["effect"], line["actions"][0]): (line["status"], line["power"])
        for line in found["lines"]
        if line["status"] != "unchanged"
    }
    assert told == {
        ("Allow", "sqs:ListQueues"): ("added", "more"),
        ("Allow", "iam:GetAccountSummary"): ("removed", "less"),
        ("Allow", "kms:CreateAlias"): ("widened", "more"),
        ("Allow", "kms:DeleteAlias"): ("widened", "more"),
        ("Allow", "kms:UpdateAlias"): ("widened", "more"),
        ("Allow", "iam:CreateServiceLinkedRole"): ("narrowed", "less"),
        ("Deny", "s3:PutBucketAcl"): ("removed", "more"),
    }
    assert found["counts"]["more_power"] == 5
    (linked,) = [ln for ln in found["lines"] if ln["actions"] == ["iam:CreateServiceLinkedRole"]]
    (before,), (after,) = linked["before"], linked["after"]
    assert "eks-nodegroup.amazonaws.com or eks.amazonaws.com" in " ".join(
        c["words"] for c in before["conditions"]
    )
    assert "eks-nodegroup" not in " ".join(c["words"] for c in after["conditions"])
    (item,) = pending(acme, "ana")
    assert item["permissions"]["counts"] == found["counts"]


def test_an_approval_is_refused_once_the_template_is_another_one(
    acme: PersonOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = request(acme)
    change_the_role(monkeypatch)
    answer = acme("ana").post(
        f"/v1/grants/{grant['id']}/approve", {"policy_digest": grant["policy_digest"]}
    )
    assert answer.status_code == 409
    error = answer.json()["error"]
    assert (error["code"], error["asked_digest"]) == ("template-changed", grant["policy_digest"])
    assert acme("sam").get(f"/v1/grants/{grant['id']}").json()["state"] == "requested"
    acme("ana").post(f"/v1/grants/{grant['id']}/deny", {"reason": "changed"})
    again = request(acme)
    assert again["policy_digest"] == error["current_digest"]
    assert acme("ana").post(f"/v1/grants/{again['id']}/approve").status_code == 200


def test_the_customer_gets_the_template_that_was_approved(
    acme: PersonOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    grant = approved(acme)
    change_the_role(monkeypatch)
    connection = acme("sam").get("/v1/boundaries/payments/connection").json()
    handed = acme("sam").get(f"/v1/connections/{connection['id']}/template").json()
    assert handed["policy_digest"] == grant["policy_digest"]
    assert "sqs:ListQueues" not in str(handed["template"])
    document = copy.deepcopy(handed["template"])
    default = document["Parameters"]["ExternalId"]
    assert default["Default"] == connection["external_id"]
    default["Default"] = bytes_digest(connection["external_id"].encode())
    assert digest(document) == grant["policy_digest"]


def test_nothing_that_is_kept_or_shown_has_the_external_id(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    grant = request(acme)
    secret = external_id(acme)
    answer = acme("ana").get(f"/v1/grants/{grant['id']}/permissions")
    assert secret not in answer.text
    assert bytes_digest(secret.encode()) in answer.text
    with psycopg.connect(database.admin) as connection:
        (kept,) = (
            connection.execute("SELECT document::text FROM permission_document").fetchone() or ()
        )
    assert secret not in kept


def test_no_process_changes_what_was_kept_and_a_change_behind_its_back_is_seen(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    grant = request(acme)
    for url in (database.api, database.worker):
        with (
            psycopg.connect(url) as connection,
            pytest.raises(psycopg.errors.InsufficientPrivilege),
        ):
            connection.execute("UPDATE permission_document SET document = '{}'")
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            'UPDATE permission_document SET document = document || \'{"Description": "x"}\''
        )
    assert acme("ana").get(f"/v1/grants/{grant['id']}/permissions").status_code == 500


def test_a_grant_from_before_says_that_its_statements_were_not_kept(
    acme: PersonOf, worker: Database, database: DatabaseUrls
) -> None:
    first = opened(acme, worker)
    with psycopg.connect(database.admin) as connection:
        connection.execute("UPDATE access_grant SET permission_document_id = NULL")
    answer = acme("ana").get(f"/v1/grants/{first['id']}/permissions")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "permissions-not-kept")
    found = permissions(acme, request(acme))
    assert (found["compared_with"]["number"], found["compared_with"]["kept"]) == (1, False)
    assert found["counts"]["added"] == len(found["lines"])


def test_another_boundarys_administrator_does_not_find_it(acme: PersonOf) -> None:
    grant = request(acme, "research")
    assert acme("bea").get(f"/v1/grants/{grant['id']}/permissions").status_code == 404
    assert acme("ren").get(f"/v1/grants/{grant['id']}/permissions").status_code == 200
    assert acme("pia").get(f"/v1/grants/{grant['id']}/permissions").status_code == 403


def test_what_the_runner_needs_is_asked_for_only_where_the_file_wants_one(
    person: PersonOf,
) -> None:
    document = organization()
    document["boundaries"][0]["connection"] = {"reach": "in-vpc-runner"}
    document["boundaries"][0]["inputs"]["reach"] = "in-vpc-runner"
    refused = person("sam").put("/v1/organizations/acme", document).json()["error"]
    assert [p["path"] for p in refused["problems"]] == ["boundaries[0].inputs.reach"]
    del document["boundaries"][0]["inputs"]["reach"]
    assert person("sam").put("/v1/organizations/acme", document).status_code == 200
    templates = []
    for boundary in ("payments", "research"):
        connection = person("sam").get(f"/v1/boundaries/{boundary}/connection").json()
        handed = person("sam").get(f"/v1/connections/{connection['id']}/template").json()
        templates.append("PermissionsRunner" in handed["template"]["Resources"])
    assert templates == [True, False]
    lines = permissions(person, request(person))["lines"]
    (run,) = [line for line in lines if line["actions"] == ["ecs:RunTask"]]
    (use,) = run["after"]
    assert use["statements"][0]["name"] == "RunRunner"
    assert run["evidence"]


def test_what_copying_images_needs_is_asked_for_only_where_the_file_wants_copies(
    person: PersonOf,
) -> None:
    document = organization()
    document["boundaries"][0]["connection"] = {"images": "mirrored"}
    refused = person("sam").put("/v1/organizations/acme", document).json()["error"]
    assert [p["path"] for p in refused["problems"]] == ["boundaries[0].connection.images"]
    document["boundaries"][0]["connection"] = {"images": "copied"}
    document["boundaries"][0]["inputs"]["image_names"] = ["ringfence/agent"]
    refused = person("sam").put("/v1/organizations/acme", document).json()["error"]
    assert [p["path"] for p in refused["problems"]] == ["boundaries[0].inputs.image_names"]
    del document["boundaries"][0]["inputs"]["image_names"]
    assert person("sam").put("/v1/organizations/acme", document).status_code == 200
    templates = []
    for boundary in ("payments", "research"):
        connection = person("sam").get(f"/v1/boundaries/{boundary}/connection").json()
        handed = person("sam").get(f"/v1/connections/{connection['id']}/template").json()
        templates.append("PermissionsImages" in handed["template"]["Resources"])
    assert templates == [True, False]
    lines = permissions(person, request(person))["lines"]
    (push,) = [line for line in lines if line["actions"] == ["ecr:PutImage"]]
    (use,) = push["after"]
    assert use["statements"][0]["name"] == "CopyImages"
    assert push["evidence"]
