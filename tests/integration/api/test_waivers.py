"""Waivers: two people, none of them the one who asks or crosses, an end, and nothing without."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.errors import CheckViolation

from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import ISSUER, organization
from tests.integration.api.waiving import GUEST, VENDOR, WAIVERS, Waiving, prepare, terms
from tests.postgres import DatabaseUrls


@pytest.fixture
def waiving(acme: PersonOf, database: DatabaseUrls) -> Waiving:
    """Acme with a guest who holds the role approver, for whom nobody has asked."""
    return prepare(acme, database)


def error(answer: Any) -> tuple[int, str]:
    """Return the status and the code of a refusal."""
    return answer.status_code, answer.json()["error"]["code"]


def test_a_guest_acts_after_the_second_of_two_approvals_and_not_before(waiving: Waiving) -> None:
    assert error(waiving.as_guest()) == (403, "guest-pending")
    waiver = waiving.ask()
    assert (waiver["state"], waiver["approvals_needed"], waiver["approvals"]) == (
        "requested",
        2,
        [],
    )
    first = waiving.decide("ana", waiver).json()
    assert (first["state"], [a["by"]["subject"] for a in first["approvals"]]) == (
        "requested",
        ["ana@acme.test"],
    )
    assert error(waiving.as_guest()) == (403, "guest-pending")
    second = waiving.decide("max", waiver).json()
    assert (second["state"], [a["by"]["subject"] for a in second["approvals"]]) == (
        "active",
        ["ana@acme.test", "max@acme.test"],
    )
    assert len(waiving.as_guest().json()["boundaries"]) == 2


def test_who_asked_is_neither_of_the_two(waiving: Waiving) -> None:
    waiver = waiving.ask("ana")
    assert error(waiving.decide("ana", waiver)) == (403, "four-eyes")
    assert waiving.decide("max", waiver).status_code == 200
    assert error(waiving.decide("ana", waiver)) == (403, "four-eyes")
    assert waiving.show(waiver)["state"] == "requested"


def test_one_person_is_not_two(waiving: Waiving) -> None:
    waiver = waiving.ask()
    assert waiving.decide("ana", waiver).status_code == 200
    assert error(waiving.decide("ana", waiver)) == (403, "four-eyes")
    assert len(waiving.show(waiver)["approvals"]) == 1


@pytest.mark.parametrize("other", ["sam", "gus", "ana"])
def test_another_identity_of_somebody_concerned_is_that_person(
    waiving: Waiving, other: str
) -> None:
    """Max is also the one who asked, the guest, or the one who approved first."""
    waiver = waiving.ask()
    assert waiving.decide("ana", waiver).status_code == 200
    waiving.same_person("max@acme.test", GUEST if other == "gus" else f"{other}@acme.test")
    assert error(waiving.decide("max", waiver)) == (403, "four-eyes")
    assert waiving.show(waiver)["state"] == "requested"
    assert waiving.as_guest().status_code == 403


def test_a_guest_lets_in_neither_the_own_person_nor_another_guest(waiving: Waiving) -> None:
    waiving.let_in()
    renewal = waiving.ask()
    assert error(waiving.decide("gus", renewal)) == (403, "four-eyes")
    other = waiving.ask(subject="eve@vendor.test")
    assert error(waiving.decide("gus", other)) == (403, "outsider")
    assert error(waiving.decide("gus", other, "deny")) == (403, "outsider")


def test_a_service_and_break_glass_approve_nothing(waiving: Waiving) -> None:
    waiver = waiving.ask()
    waiving.register("robot@acme.test", "ringfence", "service")
    waiving.run(
        "UPDATE principal SET organization_id = (SELECT id FROM organization)"
        " WHERE subject = 'robot@acme.test'"
    )
    waiving.give("platform-admin", "robot@acme.test")
    for verb in ("approve", "deny"):
        assert error(waiving.decide("robot", waiver, verb)) == (403, "service-never-approves")
    assert error(waiving.decide("robot", waiver, "revoke")) == (403, "person-needed")
    waiving.register("glass@acme.test", "ringfence", "break-glass")
    waiving.give("platform-admin", "glass@acme.test")
    for verb in ("approve", "deny", "revoke"):
        answer = waiving.decide("glass", waiver, verb)
        assert error(answer) == (403, "break-glass-platform-only")
    assert waiving.show(waiver)["approvals"] == []


def test_only_approvers_and_administrators_of_the_organization_decide(waiving: Waiving) -> None:
    waiver = waiving.ask()
    for who in ("sam", "omar", "bea", "ren", "pia"):
        for verb in ("approve", "deny", "revoke"):
            assert waiving.decide(who, waiver, verb).status_code == 403, (who, verb)
    assert waiving.show(waiver)["state"] == "requested"


def test_the_database_refuses_what_the_code_would_never_write(waiving: Waiving) -> None:
    waiver = waiving.let_in()
    people = ("principal_id", "requested_by", "first_approver")
    for who in people:
        with pytest.raises(CheckViolation, match="four_eyes"):
            waiving.run(f"UPDATE waiver SET second_approver = {who}")
    with pytest.raises(CheckViolation, match="approved_by_two"):
        waiving.run("UPDATE waiver SET second_approver = NULL, second_approved_at = NULL")
    with pytest.raises(CheckViolation, match="window"):
        waiving.run("UPDATE waiver SET ends_at = starts_at + interval '91 days'")
    assert waiving.show(waiver)["state"] == "active"


def test_a_waiver_without_an_end_or_a_reason_or_for_too_long_is_refused(waiving: Waiving) -> None:
    at = datetime.now(UTC)
    for changes, status, field in (
        ({"ends_at": None}, 422, "ends_at"),
        ({"reason": ""}, 422, "reason"),
        ({"issuer": "vendor"}, 422, "issuer"),
        ({"ends_at": (at + timedelta(days=91)).isoformat()}, 400, "ends_at"),
        ({"ends_at": (at - timedelta(days=1)).isoformat()}, 400, "ends_at"),
        ({"starts_at": (at + timedelta(days=20)).isoformat()}, 400, "ends_at"),
        ({"boundary": "treasury"}, 400, "boundary"),
        ({"issuer": ISSUER}, 400, "issuer"),
    ):
        answer = waiving.acme("sam").post(WAIVERS, terms(**changes))
        assert answer.status_code == status, changes
        assert answer.json()["error"]["field"].endswith(field)
    assert waiving.acme("omar").get(WAIVERS).json()["waivers"] == []


def test_the_same_crossing_is_asked_for_once_at_a_time(waiving: Waiving) -> None:
    waiver = waiving.ask()
    assert error(waiving.acme("max").post(WAIVERS, terms())) == (409, "waiver-waiting")
    # For one boundary it is another crossing.
    assert waiving.ask(boundary="payments")["boundary"] == "payments"
    assert waiving.decide("ana", waiver, "deny").json()["state"] == "denied"
    assert waiving.ask()["state"] == "requested"


def test_exactly_the_terms_that_were_read_are_approved(waiving: Waiving) -> None:
    waiver, other = waiving.ask(), waiving.ask(boundary="payments")
    answer = waiving.decide("ana", {**waiver, "digest": other["digest"]})
    assert error(answer) == (409, "terms-changed")
    path = f"{WAIVERS}/{waiver['id']}/approve"
    assert waiving.acme("ana").post(path, {"reason": "yes"}).status_code == 422


def test_an_expired_waiver_is_powerless_without_any_job(waiving: Waiving) -> None:
    waiver = waiving.let_in()
    assert waiving.as_guest().status_code == 200
    waiving.run(
        "UPDATE waiver SET starts_at = now() - interval '2 days',"
        " ends_at = now() - interval '1 millisecond'"
    )
    assert error(waiving.as_guest()) == (403, "guest-pending")
    assert waiving.show(waiver)["state"] == "expired"
    assert error(waiving.decide("max", waiver, "revoke")) == (409, "waiver-state")


def test_a_request_is_not_approved_after_its_end(waiving: Waiving) -> None:
    waiver = waiving.ask()
    waiving.run("UPDATE waiver SET starts_at = now() - interval '2 days', ends_at = now()")
    assert error(waiving.decide("ana", waiver)) == (409, "waiver-state")


def test_a_waiver_that_begins_later_gives_nothing_before(waiving: Waiving) -> None:
    starts_at = (datetime.now(UTC) + timedelta(days=2)).isoformat()
    waiver = waiving.let_in(starts_at=starts_at)
    assert waiver["state"] == "approved"
    assert waiving.as_guest().status_code == 403
    waiving.run("UPDATE waiver SET starts_at = now()")
    assert waiving.as_guest().status_code == 200
    assert waiving.show(waiver)["state"] == "active"


def test_one_person_revokes_and_tokens_and_keys_end_with_it(waiving: Waiving) -> None:
    waiver = waiving.let_in()
    document = organization()
    document["guests"] = {GUEST: VENDOR}
    document["groups"][0]["members"].append(GUEST)
    document["people"]["approver"].append(GUEST)
    assert waiving.acme("max").put("/v1/organizations/acme", document).status_code == 200
    guest = waiving.acme("gus")
    token = guest.post("/v1/tokens", {"name": "ci", "organization": "acme"}).json()
    key = guest.post(
        "/v1/boundaries/payments/gateway-keys", {"group": "payments-engineers", "owner": GUEST}
    ).json()
    # The gateway knows no waivers: the key's own end is not after the waiver's.
    assert key["expires_at"][:19] == waiver["ends_at"][:19]
    ended = waiving.decide("max", waiver, "revoke")
    assert (ended.status_code, ended.json()["state"]) == (200, "revoked")
    assert error(waiving.as_guest()) == (403, "guest-pending")
    rows = waiving.run(
        "SELECT (SELECT revoked_at IS NOT NULL FROM api_token WHERE id = %s),"
        " (SELECT revoked_at IS NOT NULL FROM gateway_key WHERE id = %s),"
        " (SELECT count(*) FROM outbox WHERE task = 'bundle.publish')",
        token["id"],
        key["id"],
    )
    assert rows == [(True, True, 2)]


def test_a_guest_without_a_waiver_gets_no_gateway_key(waiving: Waiving) -> None:
    document = organization()
    document["guests"] = {GUEST: VENDOR}
    document["groups"][0]["members"].append(GUEST)
    document["people"]["approver"].append(GUEST)
    assert waiving.acme("max").put("/v1/organizations/acme", document).status_code == 200
    asked = {"group": "payments-engineers", "owner": GUEST}
    refused = waiving.acme("max").post("/v1/boundaries/payments/gateway-keys", asked)
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "owner")


def test_what_another_waiver_covers_goes_on(waiving: Waiving) -> None:
    waiving.let_in(boundary="payments")
    whole = waiving.let_in()
    assert len(waiving.as_guest().json()["boundaries"]) == 2
    assert waiving.decide("ana", whole, "revoke").status_code == 200
    assert [b["name"] for b in waiving.as_guest().json()["boundaries"]] == ["payments"]


def test_a_waiver_for_one_boundary_opens_that_one_only(waiving: Waiving) -> None:
    waiving.give("boundary-admin", GUEST, "research")
    waiving.let_in(boundary="payments")
    assert [b["name"] for b in waiving.as_guest().json()["boundaries"]] == ["payments"]
    for path in ("/v1/boundaries/research", "/v1/boundaries/research/grants"):
        assert waiving.as_guest(path).status_code == 404
    assert waiving.as_guest("/v1/boundaries/payments/grants").status_code == 200
    # The role is held for the whole organization, and narrowed with the waiver.
    assert waiving.as_guest(WAIVERS).status_code == 403
    assert {
        (r["role"], r["boundary_id"] is None, r["pending_guest"])
        for r in waiving.as_guest("/v1/me").json()["roles"]
    } == {("approver", False, False), ("boundary-admin", False, True)}


def test_a_waiver_gives_no_role(waiving: Waiving) -> None:
    waiving.register("eve@vendor.test", VENDOR)
    waiving.let_in(subject="eve@vendor.test")
    assert waiving.acme("eve").get("/v1/boundaries").status_code == 403


def test_the_administrator_of_another_boundary_learns_nothing(waiving: Waiving) -> None:
    waiving.let_in(boundary="payments")
    ren = waiving.acme("ren")
    assert ren.get(WAIVERS).status_code == 403
    assert ren.get("/v1/approvals").json()["approvals"] == []
    (row,) = [
        p
        for p in ren.get("/v1/organizations/acme/people").json()["people"]
        if p["subject"] == GUEST
    ]
    # The role for the whole organization is known to all of its staff; the waiver is not.
    assert row["status"] == "guest-pending"
    everything = waiving.acme("omar").get("/v1/organizations/acme/people").json()["people"]
    assert {p["subject"]: p["status"] for p in everything}[GUEST] == "active"
    chains = ren.get("/v1/audit/chains").json()["chains"]
    codes = {
        e["code"]
        for chain in chains
        for e in ren.get(f"/v1/audit/events?chain={chain['name']}").json()["events"]
    }
    assert codes
    assert not {c for c in codes if c.startswith("waiver.")}


def test_decisions_are_told_to_the_organization_and_to_each_boundary_that_opens(
    waiving: Waiving,
) -> None:
    waiver = waiving.let_in(boundary="payments")
    waiving.decide("max", waiver, "revoke")
    rows = waiving.run(
        "SELECT e.code, b.name FROM audit_event e LEFT JOIN boundary b ON b.id = e.boundary_id"
        " WHERE e.code LIKE 'waiver.%%' AND e.target = %s ORDER BY e.at, b.name NULLS FIRST",
        f"waiver/{waiver['id']}",
    )
    assert rows == [
        ("waiver.requested", None),
        ("waiver.approval-given", None),
        ("waiver.approved", None),
        ("waiver.approved", "payments"),
        ("waiver.revoked", None),
        ("waiver.revoked", "payments"),
    ]


def test_what_waits_shows_the_terms_and_that_two_are_needed(waiving: Waiving) -> None:
    waiver = waiving.ask(boundary="payments")

    def item(who: str) -> dict[str, Any]:
        (found,) = waiving.acme(who).get("/v1/approvals").json()["approvals"]
        shown: dict[str, Any] = found
        return shown

    shown = item("ana")
    assert (shown["kind"], shown["id"], shown["digest"]) == (
        "guest",
        waiver["id"],
        waiver["digest"],
    )
    assert (shown["boundary"]["name"], shown["ticket"], shown["ends_at"]) == (
        "payments",
        "SEC-12",
        waiver["ends_at"],
    )
    assert (shown["approvals_needed"], shown["approved_by"], shown["may_decide"]) == (2, [], True)
    assert waiving.decide("ana", waiver).status_code == 200
    again = item("ana")
    assert [p["subject"] for p in again["approved_by"]] == ["ana@acme.test"]
    assert (again["may_decide"], again["why_not"]) == (False, "four-eyes")
    assert item("max")["may_decide"] is True
    waiving.decide("max", waiver)
    assert waiving.acme("max").get("/v1/approvals").json()["approvals"] == []


def test_the_explanation_names_the_waiver(waiving: Waiving) -> None:
    def explained(boundary: str) -> dict[str, Any]:
        body = {"subject": GUEST, "method": "GET", "path": "/v1/boundaries/{boundary}/grants"}
        answer = waiving.acme("omar").post("/v1/access/explain", {**body, "boundary": boundary})
        found: dict[str, Any] = answer.json()
        return found

    before = explained("payments")
    assert (before["allowed"], before["waiver"]) == (False, None)
    assert {p["id"] for p in before["policies"]} == {"foreign-provider", "guest-pending"}
    waiver = waiving.let_in(boundary="payments")
    found = explained("payments")
    assert (found["allowed"], found["waiver"]["id"], found["waiver"]["state"]) == (
        True,
        waiver["id"],
        "active",
    )
    assert [p["subject"] for p in found["waiver"]["approved_by"]] == [
        "ana@acme.test",
        "max@acme.test",
    ]
    assert explained("research")["allowed"] is False
    waiving.decide("ana", waiver, "revoke")
    after = explained("payments")
    assert (after["allowed"], after["waiver"]["state"]) == (False, "revoked")


def test_the_file_asks_once_and_lets_nobody_in(waiving: Waiving, database: DatabaseUrls) -> None:
    document = organization()
    document["guests"] = {GUEST: VENDOR}
    document["people"]["approver"].append(GUEST)

    def apply() -> list[dict[str, Any]]:
        assert waiving.acme("max").put("/v1/organizations/acme", document).status_code == 200
        rows: list[dict[str, Any]] = waiving.acme("omar").get(WAIVERS).json()["waivers"]
        return rows

    (asked,) = apply()
    assert (asked["state"], asked["requested_by"]["subject"]) == ("requested", "max@acme.test")
    assert waiving.as_guest().status_code == 403
    assert len(apply()) == 1
    # Not over a person's no, whoever applies the file.
    assert waiving.decide("ana", asked, "deny").status_code == 200
    assert len(apply()) == 1
    with psycopg.connect(database.admin) as connection:
        connection.execute("DELETE FROM waiver")
    (again,) = apply()
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "UPDATE waiver SET starts_at = now() - interval '1 day', ends_at = now()"
        )
    states = [w["state"] for w in apply()]
    assert (again["state"], states) == ("requested", ["requested", "expired"])
