"""Grants over the API: four eyes, one at a time, opened only by a probe that passed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg
import pytest

from controlplane.core.db import Database
from controlplane.core.errors import InternalError, UnavailableError
from controlplane.domains.grants.tasks import verify_connection
from tests.integration.api.conftest import PersonOf
from tests.postgres import DatabaseUrls


@dataclass(frozen=True)
class Answer:
    """What an attempt to assume the role showed."""

    allowed: bool
    error_code: str | None = None


@dataclass
class RoleStub:
    """The customer's side of a role: lets in one external id, or also others when careless."""

    lets_in: set[str | None] = field(default_factory=set)
    asked: list[tuple[str, str | None]] = field(default_factory=list)

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> Answer:
        """Answer as STS would."""
        self.asked.append((role_arn, external_id))
        if external_id in self.lets_in:
            return Answer(True)
        return Answer(False, "AccessDenied")


def request(acme: PersonOf, boundary: str = "payments") -> dict[str, Any]:
    """Request a grant as the architect."""
    answer = acme("sam").post(f"/v1/boundaries/{boundary}/grants", {"purpose": "first install"})
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def approved(acme: PersonOf, boundary: str = "payments") -> dict[str, Any]:
    """Request and approve a grant."""
    grant = request(acme, boundary)
    answer = acme("ana").post(f"/v1/grants/{grant['id']}/approve", {"reason": "as planned"})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def probe(
    acme: PersonOf, worker: Database, role: RoleStub, expect: str, grant_id: str | None
) -> dict[str, Any]:
    """Ask for a probe over the API and do it as the worker does."""
    connection = acme("sam").get("/v1/boundaries/payments/connection").json()
    asked = acme("sam").post(
        f"/v1/connections/{connection['id']}/verifications",
        {"expect": expect, "grant_id": grant_id},
    )
    assert asked.status_code == 202, asked.text
    boundary = acme("sam").get("/v1/boundaries/payments").json()
    verify_connection(
        worker,
        role,
        organization_id=boundary["organization_id"],
        boundary_id=boundary["id"],
        verification_id=asked.json()["id"],
    )
    found: dict[str, Any] = acme("omar").get(f"/v1/verifications/{asked.json()['id']}").json()
    return found


@pytest.fixture
def worker(database: DatabaseUrls) -> Any:
    """The database as the worker's role sees it."""
    opened = Database.connect(database.worker, pool_size=2)
    yield opened
    opened.close()


def test_the_requester_cannot_approve_even_with_the_approvers_role(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    grant = request(acme)
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO role_assignment (organization_id, id, principal_id, role, valid_from,"
            " reason) SELECT o.id, gen_random_uuid(), p.id, 'approver', now(), 'test'"
            " FROM organization o, principal p WHERE p.subject = 'sam@acme.test'"
        )
    for decision in ("approve", "deny"):
        answer = acme("sam").post(f"/v1/grants/{grant['id']}/{decision}", {"reason": "mine"})
        assert answer.status_code == 403
        assert answer.json()["error"]["code"] == "four-eyes"
    assert acme("sam").get(f"/v1/grants/{grant['id']}").json()["state"] == "requested"


def test_two_identities_of_one_person_are_not_four_eyes(
    acme: PersonOf, database: DatabaseUrls
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE principal SET person_key = 'employee-7'"
            " WHERE subject IN ('sam@acme.test', 'ana@acme.test')"
        )
    grant = request(acme)
    answer = acme("ana").post(f"/v1/grants/{grant['id']}/approve")
    assert answer.json()["error"]["code"] == "four-eyes"


def test_the_database_refuses_a_self_approval_too(acme: PersonOf, database: DatabaseUrls) -> None:
    request(acme)
    with (
        psycopg.connect(database.admin) as connection,
        pytest.raises(psycopg.errors.CheckViolation, match="four_eyes"),
    ):
        connection.execute("UPDATE access_grant SET state = 'approved', decided_by = requested_by")


def test_an_approval_hands_over_the_stack_parameters_and_ends_in_whole_seconds(
    acme: PersonOf,
) -> None:
    grant = approved(acme)
    until = datetime.fromisoformat(grant["grant_until"])
    assert until.microsecond == 0
    assert grant["stack_parameters"] == {
        "GrantNumber": "1",
        "GrantUntil": until.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    assert grant["role_name"] == "ringfence-payments-g1"
    connection = acme("sam").get("/v1/boundaries/payments/connection").json()
    template = acme("ana").get(f"/v1/connections/{connection['id']}/template").json()
    assert template["parameters"]["GrantNumber"] == "1"
    assert template["parameters"]["GrantUntil"] == grant["stack_parameters"]["GrantUntil"]
    assert template["policy_digest"] == grant["policy_digest"]


def test_the_template_is_closed_before_any_approval(acme: PersonOf) -> None:
    connection = acme("sam").get("/v1/boundaries/payments/connection").json()
    template = acme("sam").get(f"/v1/connections/{connection['id']}/template").json()
    assert template["stack_name"] == "ringfence-payments"
    assert template["parameters"]["GrantNumber"] == "0"
    assert template["parameters"]["GrantUntil"] == "2000-01-01T00:00:00Z"


def test_an_approval_of_another_policy_is_refused(acme: PersonOf) -> None:
    grant = request(acme)
    answer = acme("ana").post(
        f"/v1/grants/{grant['id']}/approve", {"policy_digest": "sha256:" + "0" * 64}
    )
    assert answer.status_code == 409
    assert answer.json()["error"]["code"] == "policy-changed"


def test_a_boundary_has_one_grant_at_a_time(acme: PersonOf) -> None:
    first = request(acme)
    second = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "again"})
    assert second.status_code == 409
    assert second.json()["error"]["grant_id"] == first["id"]
    assert acme("ana").post(f"/v1/grants/{first['id']}/deny", {"reason": "no"}).status_code == 200
    assert request(acme)["number"] == 2


def test_a_duration_beyond_twelve_hours_is_refused(acme: PersonOf) -> None:
    answer = acme("sam").post(
        "/v1/boundaries/payments/grants", {"purpose": "x", "duration_seconds": 43201}
    )
    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "body.duration_seconds"


def test_a_passed_open_probe_activates_the_grant(acme: PersonOf, worker: Database) -> None:
    grant = approved(acme)
    external = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    role = RoleStub({external})
    found = probe(acme, worker, role, "open", grant["id"])
    assert found["passed"] is True
    assert {a["external_id"]: a["allowed"] for a in found["attempts"]} == {
        "ours": True,
        "none": False,
        "wrong": False,
        "foreign": False,
    }
    assert {arn for arn, _ in role.asked} == {
        "arn:aws:iam::111122223333:role/ringfence-payments-g1"
    }
    research = acme("sam").get("/v1/boundaries/research/connection").json()["external_id"]
    assert research in {external_id for _, external_id in role.asked}
    assert acme("sam").get(f"/v1/grants/{grant['id']}").json()["state"] == "active"


def test_a_closed_probe_passes_only_while_everything_is_denied(
    acme: PersonOf, worker: Database
) -> None:
    closed = probe(acme, worker, RoleStub(), "closed", None)
    assert closed["passed"] is True
    grant = approved(acme)
    found = probe(acme, worker, RoleStub(), "open", grant["id"])
    assert found["passed"] is False
    assert acme("sam").get(f"/v1/grants/{grant['id']}").json()["state"] == "approved"


def test_a_role_that_lets_in_anybody_is_unsafe_and_blocks_grants(
    acme: PersonOf, worker: Database
) -> None:
    external = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    found = probe(acme, worker, RoleStub({external, None}), "closed", None)
    assert found["passed"] is False
    assert acme("sam").get("/v1/boundaries/payments/connection").json()["state"] == "unsafe"
    answer = acme("sam").post("/v1/boundaries/payments/grants", {"purpose": "x"})
    assert answer.json()["error"]["code"] == "connection-unsafe"


def test_a_revoked_grant_cannot_come_back(acme: PersonOf, worker: Database) -> None:
    grant = approved(acme)
    path = f"/v1/grants/{grant['id']}"
    assert acme("ana").post(f"{path}/revoke", {"reason": "stop"}).json()["state"] == "revoked"
    again = acme("ana").post(f"{path}/approve")
    assert again.status_code == 409
    assert again.json()["error"]["code"] == "grant-state"
    external = acme("sam").get("/v1/boundaries/payments/connection").json()["external_id"]
    probe(acme, worker, RoleStub({external}), "open", grant["id"])
    assert acme("sam").get(path).json()["state"] == "revoked"


def test_each_step_of_a_grant_is_an_audit_event_of_its_boundary(acme: PersonOf) -> None:
    approved(acme)
    events = acme("omar").get("/v1/boundaries/payments/audit").json()["events"]
    codes = [e["code"] for e in events]
    assert codes[-2:] == ["grant.requested", "grant.approved"]
    assert [e["seq"] for e in events] == list(range(1, len(events) + 1))
    again = acme("omar").get("/v1/boundaries/payments/audit").json()["events"]
    assert again[-1]["code"] == "audit.read"
    assert UUID(again[-1]["actor"]["principal_id"])


def test_a_probe_that_cannot_be_made_fails_and_says_nothing_about_the_role(
    acme: PersonOf, worker: Database
) -> None:
    class Broken(RoleStub):
        """A control plane whose own credentials are wrong."""

        def probe(self, role_arn: str, external_id: str | None, *, region: str) -> Answer:
            raise InternalError("our credentials cannot be read")

    found = probe(acme, worker, Broken(), "closed", None)
    assert (found["state"], found["passed"], found["attempts"]) == ("failed", False, [])
    connection = acme("sam").get("/v1/boundaries/payments/connection").json()
    assert connection["state"] == "unverified"


def test_a_probe_without_an_answer_stays_open_for_another_try(
    acme: PersonOf, worker: Database
) -> None:
    class Silent(RoleStub):
        """A cloud that does not answer."""

        def probe(self, role_arn: str, external_id: str | None, *, region: str) -> Answer:
            raise UnavailableError("no answer")

    with pytest.raises(UnavailableError):
        probe(acme, worker, Silent(), "closed", None)
