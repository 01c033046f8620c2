"""Reports end to end: who may ask, what R1 says about a moment, and what a file proves."""

from __future__ import annotations

import base64
import csv
import io
import json
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from starlette.testclient import TestClient

from controlplane.adapters.typesetting.report import TypstTypesetter
from controlplane.core import audit
from controlplane.core.actor import Actor, OpContext
from controlplane.core.db import Database, Scope
from controlplane.core.errors import InternalError
from controlplane.core.ids import new_id
from controlplane.tables import metadata
from proof.canonical import bytes_digest
from proof.keys import fingerprint
from proof.pdf_parts import attachments
from proof.reports import ReportError, verify_report
from proof.row_tree import leaf_hash, row_bytes
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import Person, organization
from tests.integration.api.reporting import Reporting, make_maker
from tests.integration.api.waiving import GUEST, REASON, prepare
from tests.integration.database.rows import insert_row
from tests.postgres import DatabaseUrls
from wire.report import ReportStatement


@pytest.fixture
def reporting(
    database: DatabaseUrls, control_plane_key: Ed25519PrivateKey, tmp_path: Path
) -> Reporting:
    """Reports on the demo's database, made by the worker's own role."""
    return Reporting(database, make_maker(control_plane_key, tmp_path))


@pytest.fixture
def pin(control_plane_key: Ed25519PrivateKey) -> str:
    """The fingerprint that a reader would have from the role template."""
    return fingerprint(control_plane_key)


def now() -> datetime:
    return datetime.now(UTC)


def test_a_snapshot_lists_who_holds_what_and_by_which_layer(
    acme: PersonOf, reporting: Reporting
) -> None:
    report = reporting.make(acme("omar"), {"kind": "R1"})
    assert report["state"] == "ready", report["error"]
    rows = reporting.rows(acme("omar"), report)
    assert len(rows) == report["row_count"] > 10
    ana = [row for row in rows if row["principal"] == "ana@acme.test"]
    assert {(row["role"], row["layer"], row["privileged"]) for row in ana} >= {
        ("approver", "organization", "yes")
    }
    assert {(row["source"] == "API token", row["mfa"]) for row in ana} == {
        (False, "unknown"),
        (True, "does not apply"),
    }
    models = {row["resource"] for row in rows if row["source"] == "entitlement"}
    assert any(name.startswith("boundary/payments/model/") for name in models)
    assert [row["row"] for row in rows] == [str(n) for n in range(1, len(rows) + 1)]


def test_the_independent_count_is_the_row_count_for_the_whole_and_for_one_boundary(
    acme: PersonOf, reporting: Reporting
) -> None:
    for body in ({"kind": "R1"}, {"kind": "R1", "boundary": "payments"}):
        files = reporting.files(acme("omar"), reporting.make(acme("omar"), body))
        stated = json.loads(files["json"])["statement"]["completeness"]
        assert stated["independent_count"] == stated["row_count"] > 0
        for counts in stated["control_totals"].values():
            assert sum(counts.values()) == stated["row_count"]


def test_mfa_is_how_the_person_last_signed_in_before_the_moment(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    def mfa(**moments: str) -> dict[str, set[str]]:
        report = reporting.make(acme("omar"), {"kind": "R1", **moments})
        found: dict[str, set[str]] = {}
        for row in reporting.rows(acme("omar"), report):
            if row["source"] != "API token":
                found.setdefault(row["principal"], set()).add(row["mfa"])
        return found

    def sign_in(methods: list[str]) -> None:
        opened = Database.connect(database.api, pool_size=1)
        with psycopg.connect(database.admin) as connection:
            row = connection.execute(
                "SELECT p.id, o.id FROM principal p, organization o WHERE subject = 'ana@acme.test'"
            ).fetchone()
        assert row is not None
        scope = Scope(row[1])
        actor = Actor(row[0], "https://idp", "ana@acme.test", "human", row[1], "Ana")
        with opened.transaction(scope) as session:
            audit.append(
                session,
                OpContext(actor, "request", scope),
                "sign-in.succeeded",
                target=f"principal/{row[0]}",
                detail={"method": "browser", "methods": methods, "context": None},
            )
        opened.close()

    before = now().isoformat()
    sign_in(["pwd", "otp"])
    between = now().isoformat()
    sign_in(["pwd"])
    # Of somebody whose sign-ins are in no chain of this organization the last one is known.
    reporting.execute(
        'UPDATE principal SET signed_in_at = now(), signed_in_methods = \'["hwk", "pin"]\''
        " WHERE subject = 'omar@acme.test'"
    )
    assert mfa(at=before)["ana@acme.test"] == {"unknown"}
    assert mfa(at=between)["ana@acme.test"] == {"yes (otp)"}
    now_known = mfa()
    assert now_known["ana@acme.test"] == {"no"}
    assert now_known["omar@acme.test"] == {"yes (hwk)"}
    assert mfa(at=before)["omar@acme.test"] == {"unknown"}


def test_the_population_says_whether_the_provider_pushes_its_people(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    def population() -> str:
        report = reporting.make(acme("omar"), {"kind": "R1"})
        document = json.loads(reporting.files(acme("omar"), report)["json"])
        return str(document["statement"]["completeness"]["population"])

    assert "keeps no copy of the organization's directory" in population()
    with psycopg.connect(database.admin) as connection:
        found = connection.execute("SELECT organization_id, id FROM boundary LIMIT 1").fetchone()
    assert found is not None
    insert_row(database, metadata.tables["provisioned_user"], *found)
    assert "the 1 people that the organization's identity provider pushes" in population()


def test_a_waiver_is_a_row_with_both_approvers_reason_ticket_and_end(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    waiving = prepare(acme, database)
    waiting = waiving.ask(boundary="research")
    waiving.decide("ana", waiting)
    waiver = waiving.let_in(boundary="payments")

    def snapshot(**body: str) -> list[dict[str, str]]:
        report = reporting.make(acme("omar"), {"kind": "R1", **body})
        files = reporting.files(acme("omar"), report)
        stated = json.loads(files["json"])["statement"]["completeness"]
        assert stated["independent_count"] == stated["row_count"]
        found = reporting.rows(acme("omar"), report)
        return [row for row in found if row["principal"] == GUEST]

    rows = {row["given_as"]: row for row in snapshot() if row["source"] == "guest"}
    shown = rows[f"waiver {waiver['id']}"]
    assert shown["approved_by"] == "ana@acme.test, max@acme.test"
    assert (shown["granted_by"], shown["reason"], shown["ticket"], shown["in_force"]) == (
        *("sam@acme.test", REASON, "SEC-12", "yes"),
    )
    assert (shown["resource"], shown["expires"][:16]) == (
        "boundary/payments",
        waiver["ends_at"][:16],
    )
    open_request = rows[f"waiver {waiting['id']}"]
    assert (open_request["approved_by"], open_request["in_force"]) == (
        "ana@acme.test",
        "no: a waiver that is not in force",
    )
    (role,) = [row for row in snapshot() if (row["source"], row["role"]) == ("role", "approver")]
    assert role["in_force"] == "yes: only in the boundary of the guest's waiver"
    # A report on research knows nothing of the waiver for payments.
    research = snapshot(boundary="research")
    assert {(r["source"], r["in_force"]) for r in research} == {
        ("guest", "no: a waiver that is not in force"),
        ("role", "no: a guest for whom no waiver is in force"),
        ("API token", "no: a guest for whom no waiver is in force"),
    }
    waiving.decide("max", waiver, "revoke")
    assert {r["in_force"] for r in snapshot() if r["role"] == "approver"} == {
        "no: a guest for whom no waiver is in force"
    }
    assert f"waiver {waiver['id']}" not in {r["given_as"] for r in snapshot()}


def test_who_is_in_a_group_by_file_and_by_claim_is_one_row(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    before = reporting.rows(acme("omar"), reporting.make(acme("omar"), {"kind": "R1"}))
    with psycopg.connect(database.admin) as connection:
        added = connection.execute(
            "INSERT INTO group_member (organization_id, id, group_id, principal_id, source)"
            " SELECT organization_id, gen_random_uuid(), group_id, principal_id, 'claim'"
            " FROM group_member"
        )
        assert added.rowcount > 0
    report = reporting.make(acme("omar"), {"kind": "R1"})
    after = reporting.rows(acme("omar"), report)
    assert len(after) == len(before)
    stated = json.loads(reporting.files(acme("omar"), report)["json"])["statement"]["completeness"]
    assert stated["independent_count"] == stated["row_count"]


def test_a_role_that_was_taken_away_is_there_at_the_moment_before(
    acme: PersonOf, reporting: Reporting
) -> None:
    before = now()
    document = organization()
    engineers = next(g for g in document["groups"] if "pia@acme.test" in json.dumps(g))
    gone = json.loads(json.dumps(document))
    for group in gone["groups"]:
        if group["name"] == engineers["name"]:
            group["members"] = []
    assert acme("max").put("/v1/organizations/acme", gone).status_code == 200
    held = [
        {
            row["group_path"]
            for row in reporting.rows(acme("omar"), reporting.make(acme("omar"), body))
            if row["principal"] == "pia@acme.test"
        }
        for body in ({"kind": "R1", "at": before.isoformat()}, {"kind": "R1"})
    ]
    assert engineers["name"] in held[0]
    assert engineers["name"] not in held[1]


def test_what_was_recorded_later_is_unknown_to_an_earlier_moment_of_knowledge(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    with psycopg.connect(database.admin) as connection:
        row = connection.execute(
            "SELECT a.organization_id, p.id FROM role_assignment a, principal p"
            " WHERE p.subject = 'rui@acme.test' LIMIT 1"
        ).fetchone()
    assert row is not None
    learnt, since = now(), now() - timedelta(days=30)
    reporting.execute(
        "INSERT INTO role_assignment (organization_id, id, principal_id, role, valid_from,"
        " recorded_at, reason) VALUES (%s, %s, %s, 'auditor', %s, %s, 'entered late')",
        *(row[0], new_id(), row[1], since, learnt),
    )

    def late(**moments: str) -> list[str]:
        report = reporting.make(acme("omar"), {"kind": "R1", **moments})
        return [
            r["valid_from"]
            for r in reporting.rows(acme("omar"), report)
            if r["reason"] == "entered late"
        ]

    week_ago = (learnt - timedelta(days=7)).isoformat()
    assert late(at=week_ago) == [since.strftime("%Y-%m-%dT%H:%M:%SZ")]
    assert late(at=week_ago, known_at=week_ago) == []
    assert late(at=(since - timedelta(days=1)).isoformat()) == []


def test_disabled_privileged_and_service_identities_are_in_scope(
    acme: PersonOf, reporting: Reporting
) -> None:
    reporting.execute("UPDATE principal SET disabled_at = now() WHERE subject = 'ana@acme.test'")
    reporting.execute(
        "INSERT INTO principal (id, issuer, subject, kind, display)"
        " SELECT %s, issuer, 'ci-robot', 'service', 'CI' FROM identity_provider LIMIT 1",
        new_id(),
    )
    report = reporting.make(acme("omar"), {"kind": "R1"})
    rows = reporting.rows(acme("omar"), report)
    ana = [row for row in rows if row["principal"] == "ana@acme.test"]
    assert {row["in_force"] for row in ana} == {"no: the identity was disabled"}
    robot = [row for row in rows if row["principal"] == "ci-robot"]
    assert [(r["source"], r["identity_type"], r["in_force"]) for r in robot] == [
        ("identity", "service", "no: no role")
    ]
    statement = json.loads(reporting.files(acme("omar"), report)["json"])["statement"]
    (finding,) = [f for f in statement["findings"] if f["code"] == "disabled-privileged"]
    assert {rows[n - 1]["principal"] for n in finding["rows"]} == {"ana@acme.test"}
    assert report["findings"] >= 1
    stated = statement["completeness"]
    assert stated["independent_count"] == stated["row_count"]


def test_tokens_and_service_identities_are_rows_with_what_they_let_through(
    acme: PersonOf, reporting: Reporting, client: TestClient
) -> None:
    for body in (
        {"name": "whole", "lifetime_days": 30},
        {"name": "narrow", "organization": "acme", "boundary": "payments", "roles": ["approver"]},
        {"name": "elsewhere", "organization": "acme", "boundary": "research"},
    ):
        assert acme("ana").post("/v1/tokens", body).status_code == 201
    gone = acme("ana").post("/v1/tokens", {"name": "gone"}).json()
    assert acme("ana").post(f"/v1/tokens/{gone['id']}/revoke").status_code == 200
    services = "/v1/organizations/acme/services"
    robot = acme("max").post(
        services, {"name": "robot", "purpose": "nightly", "roles": ["auditor"], "boundary": None}
    )
    assert robot.status_code == 201, robot.text
    made = acme("max").post(f"{services}/{robot.json()['id']}/tokens", {"name": "first"})
    assert Person(client, made.json()["token"]).get("/v1/me").status_code == 200

    report = reporting.make(acme("omar"), {"kind": "R1"})
    rows = reporting.rows(acme("omar"), report)
    tokens = {row["reason"]: row for row in rows if row["source"] == "API token"}
    assert "gone" not in tokens
    whole, narrow, first = tokens["whole"], tokens["narrow (only approver)"], tokens["first"]
    assert (whole["principal"], whole["resource"], whole["layer"]) == (
        *("ana@acme.test", "wherever its holder may"),
        "token",
    )
    assert "approver" in whole["role"].split(", ")
    assert (narrow["role"], narrow["resource"]) == ("approver", "boundary/payments")
    assert narrow["privileged"] == "yes"
    assert (whole["granted_by"], whole["mfa"]) == ("ana@acme.test", "does not apply")
    assert whole["expires"] > whole["valid_from"]
    assert whole["last_used"] == ""
    assert (first["principal"], first["identity_type"], first["role"]) == (
        *("robot", "service"),
        "auditor",
    )
    assert first["granted_by"] == "max@acme.test"
    assert first["last_used"] != ""
    (service,) = [row for row in rows if row["source"] == "service identity"]
    assert (service["principal"], service["granted_by"], service["reason"]) == (
        *("robot", "max@acme.test"),
        "nightly",
    )
    assert (service["resource"], service["in_force"]) == ("organization/acme", "yes")
    held = [r["in_force"] for r in rows if r["principal"] == "robot" and r["source"] == "role"]
    assert held == ["yes"], "a service of the organization is no guest of it"
    files = reporting.files(acme("omar"), report)
    stated = json.loads(files["json"])["statement"]["completeness"]
    assert stated["independent_count"] == stated["row_count"]
    assert "1 service identities" in stated["population"]
    for secret in (made.json()["token"], made.json()["token"][10:]):
        assert secret not in files["json"].decode()


def test_a_boundary_s_snapshot_has_the_tokens_that_reach_into_it_only(
    acme: PersonOf, reporting: Reporting
) -> None:
    for boundary in ("payments", "research"):
        body = {"name": f"for-{boundary}", "organization": "acme", "boundary": boundary}
        assert acme("ana").post("/v1/tokens", body).status_code == 201
    disabled = acme("ana").post("/v1/tokens", {"name": "of-the-disabled"})
    assert disabled.status_code == 201
    reporting.execute("UPDATE principal SET disabled_at = now() WHERE subject = 'ana@acme.test'")
    report = reporting.make(acme("omar"), {"kind": "R1", "boundary": "payments"})
    rows = reporting.rows(acme("omar"), report)
    tokens = {row["reason"]: row for row in rows if row["source"] == "API token"}
    assert {"for-payments", "of-the-disabled"} <= tokens.keys()
    assert "for-research" not in tokens
    assert tokens["for-payments"]["in_force"] == "no: the identity was disabled"
    stated = json.loads(reporting.files(acme("omar"), report)["json"])["statement"]["completeness"]
    assert stated["independent_count"] == stated["row_count"]


def test_the_vendors_open_grant_and_gateway_keys_are_rows(
    acme: PersonOf, reporting: Reporting
) -> None:
    asked = acme("sam").post(
        "/v1/boundaries/payments/grants",
        {"purpose": "first install", "ticket": "CHG-7", "reason": "go live"},
    )
    assert asked.status_code == 201, asked.text
    assert acme("ana").post(f"/v1/grants/{asked.json()['id']}/approve", {}).status_code == 200
    key = acme("pia").post(
        "/v1/boundaries/payments/gateway-keys",
        {"group": "payments-engineers", "owner": "pia@acme.test"},
    )
    assert key.status_code == 201, key.text
    rows = reporting.rows(acme("omar"), reporting.make(acme("omar"), {"kind": "R1"}))
    (grant,) = [row for row in rows if row["source"] == "vendor grant"]
    assert grant["principal"].startswith("arn:")
    assert (grant["granted_by"], grant["approved_by"], grant["ticket"]) == (
        "sam@acme.test",
        "ana@acme.test",
        "CHG-7",
    )
    assert grant["in_force"] == "no: approved by us, not seen open by the customer"
    assert grant["policy_version"].startswith("sha256:")
    (held,) = [row for row in rows if row["source"] == "gateway key"]
    assert (held["principal"], held["layer"]) == ("pia@acme.test", "boundary")
    report = reporting.make(acme("omar"), {"kind": "R1"})
    stated = json.loads(reporting.files(acme("omar"), report)["json"])["statement"]["completeness"]
    assert stated["independent_count"] == stated["row_count"]


def test_a_boundarys_report_contains_nothing_of_another(
    acme: PersonOf, reporting: Reporting
) -> None:
    report = reporting.make(acme("ana"), {"kind": "R1", "boundary": "payments"})
    files = reporting.files(acme("ana"), report)
    for name in ("json", "csv", "pdf", "manifest"):
        assert b"payments" in files["json"]
        for canary in (b"research", b"rui@acme.test"):
            assert canary not in files[name], name
    assert b"research" not in b"".join(attachments(files["pdf"]).values())


def test_only_the_organizations_own_auditors_ask_for_the_whole(
    acme: PersonOf, reporting: Reporting
) -> None:
    refused = acme("ana").post("/v1/reports", {"kind": "R1"})
    assert refused.status_code == 403
    assert refused.json()["error"]["field"] == "boundary"
    whole = reporting.make(acme("omar"), {"kind": "R1"})
    for path in ("", "/rows", "/files/pdf"):
        assert acme("ana").get(f"/v1/reports/{whole['id']}{path}").status_code == 403
    listed = acme("ana").get("/v1/reports").json()["reports"]
    assert whole["id"] not in [row["id"] for row in listed]
    assert acme("pia").post("/v1/reports", {"kind": "R1"}).status_code == 403


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"kind": "R1", "from": "2026-01-01T00:00:00Z"}, "from"),
        ({"kind": "R1", "at": "2999-01-01T00:00:00Z"}, "at"),
        ({"kind": "R1", "boundary": "nowhere"}, None),
    ],
)
def test_a_report_that_cannot_be_made_is_refused_before_anything_is_written(
    body: dict[str, Any], field: str | None, acme: PersonOf
) -> None:
    answer = acme("omar").post("/v1/reports", body)
    assert answer.status_code in (400, 404)
    assert answer.json()["error"].get("field") == field
    assert acme("omar").get("/v1/reports").json()["reports"] == []


def test_request_making_and_download_are_audit_events(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    report = reporting.make(acme("omar"), {"kind": "R1", "boundary": "payments"})
    acme("omar").get(f"/v1/reports/{report['id']}/files/csv")
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT code, actor->>'subject' FROM audit_event WHERE target = %s ORDER BY seq",
            (f"report/{report['id']}",),
        ).fetchall()
    assert found == [
        ("report.requested", "omar@acme.test"),
        ("report.generated", "worker"),
        ("report.downloaded", "omar@acme.test"),
    ]


def test_the_heads_of_the_chains_stand_in_the_report_with_their_checkpoints(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    with psycopg.connect(database.admin) as connection:
        connection.execute(
            "INSERT INTO audit_checkpoint (chain_id, size, organization_id, boundary_id, root,"
            " head_hash, signed) SELECT c.chain_id, n, c.organization_id, c.boundary_id,"
            " 'root-' || n, 'sha256:x', '{}' FROM audit_chain c JOIN boundary b"
            " ON b.id = c.chain_id, unnest(ARRAY[2, 3]) n WHERE b.name = 'payments'"
        )
    report = reporting.make(acme("omar"), {"kind": "R1", "boundary": "payments"})
    document = json.loads(reporting.files(acme("omar"), report)["json"])
    chains = {c["chain"]: c for c in document["statement"]["completeness"]["chains"]}
    with psycopg.connect(database.admin) as connection:
        found = connection.execute(
            "SELECT e.hash FROM audit_event e JOIN boundary b ON b.id = e.chain_id"
            " WHERE b.name = 'payments' AND e.seq = %s",
            (chains["boundary/payments"]["head_sequence"],),
        ).fetchone()
    assert found is not None
    assert chains["boundary/payments"]["head_hash"] == found[0]
    assert chains["boundary/payments"]["checkpoint_root"] == "root-3"
    assert chains["boundary/payments"]["checkpoint_sequence"] == 3
    assert chains["organization/acme"]["checkpoint_root"] is None
    assert sorted(chains) == ["boundary/payments", "organization/acme"]


def test_making_a_report_twice_keeps_the_first_result(acme: PersonOf, reporting: Reporting) -> None:
    report = reporting.make(acme("omar"), {"kind": "R1"})
    first = reporting.files(acme("omar"), report)
    reporting.work(report["id"])
    assert reporting.files(acme("omar"), report) == first


class NoPaper:
    """A typesetter that cannot print."""

    def typeset(self, statement: ReportStatement, folder: Path, *, signed_by: str) -> Any:
        raise InternalError("the report's printed form could not be made")


def test_a_report_that_cannot_be_printed_fails_with_its_reason_and_keeps_nothing(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    broken = Reporting(database, replace(reporting.maker, typesetter=NoPaper()))
    report = broken.make(acme("omar"), {"kind": "R1"})
    assert report["state"] == "failed"
    assert report["error"] == "the report's printed form could not be made"
    assert report["files"] == []
    answer = acme("omar").get(f"/v1/reports/{report['id']}/files/json")
    assert answer.json()["error"]["code"] == "report-failed"


def test_files_of_an_unfinished_report_are_refused_with_what_to_do(acme: PersonOf) -> None:
    asked = acme("omar").post("/v1/reports", {"kind": "R1"}).json()
    answer = acme("omar").get(f"/v1/reports/{asked['id']}/files/pdf")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "report-not-ready")


class TestVerification:
    """One report's files, taken away from their server."""

    @pytest.fixture
    def files(self, acme: PersonOf, reporting: Reporting) -> dict[str, bytes]:
        return reporting.files(acme("omar"), reporting.make(acme("omar"), {"kind": "R1"}))

    @pytest.mark.parametrize("form", ["json", "csv", "pdf"])
    def test_an_untouched_file_holds(self, form: str, files: dict[str, bytes], pin: str) -> None:
        verdict = verify_report(files[form], pin, now=now(), manifest=files["manifest"])
        assert verdict.integrity.problems == []
        assert verdict.completeness.verdict == "complete-with-gaps"
        assert verdict.freshness.verdict == "fresh"

    def test_one_edited_cell_of_the_json_names_its_row(
        self, files: dict[str, bytes], pin: str
    ) -> None:
        document = json.loads(files["json"])
        document["rows"][4]["role"] += "-of-all"
        verdict = verify_report(json.dumps(document).encode(), pin, now=now())
        assert verdict.integrity.rows == [5]
        assert not verdict.holds

    def test_an_edited_cell_with_its_hash_made_anew_is_found_too(
        self, files: dict[str, bytes], pin: str
    ) -> None:
        document = json.loads(files["json"])
        row = document["rows"][4]
        row["role"] += "-of-all"
        del row["hash"]
        row["hash"] = leaf_hash(row_bytes(row)).hex()
        verdict = verify_report(json.dumps(document).encode(), pin, now=now())
        assert any("hash included" in problem for problem in verdict.integrity.problems)

    def test_one_edited_cell_of_the_csv_names_its_row(
        self, files: dict[str, bytes], pin: str
    ) -> None:
        lines = list(csv.reader(io.StringIO(files["csv"].decode(), newline="")))
        lines[3][lines[0].index("reason")] = "because"
        edited = io.StringIO(newline="")
        csv.writer(edited).writerows(lines)
        verdict = verify_report(
            edited.getvalue().encode(), pin, now=now(), manifest=files["manifest"]
        )
        assert verdict.integrity.rows == [3]

    def test_one_edited_cell_inside_the_pdf_names_its_row(
        self, files: dict[str, bytes], pin: str
    ) -> None:
        inner = attachments(files["pdf"])["report.json"]
        edited = rewritten(files["pdf"], inner, inner.replace(b"ana@acme.test", b"eve@acme.test"))
        verdict = verify_report(edited, pin, now=now(), manifest=files["manifest"])
        touched = [
            number
            for number, row in enumerate(json.loads(inner)["rows"], start=1)
            if "ana@acme.test" in row.values()
        ]
        assert verdict.integrity.rows == touched
        assert any("PDF's bytes" in problem for problem in verdict.integrity.problems)

    def test_an_edited_page_of_the_pdf_is_named_with_the_rows_that_it_prints(
        self, files: dict[str, bytes], pin: str
    ) -> None:
        manifest = json.loads(files["manifest"])["manifest"]["payload"]
        pages = json.loads(base64.b64decode(manifest))["pages"]
        number = next(n for n, page in enumerate(pages, start=1) if page["rows"])
        first, last = pages[number - 1]["rows"]
        content = page_content(files["pdf"], pages[number - 1]["content"])
        edited = rewritten(files["pdf"], content, content.replace(b" Tm", b" TM", 1))
        verdict = verify_report(edited, pin, now=now(), manifest=files["manifest"])
        assert verdict.integrity.problems == [
            "the PDF's bytes are not those in the manifest",
            f"page {number} is not as signed; it prints rows {first} to {last}",
        ]
        assert verify_report(files["pdf"], pin, now=now()).integrity.problems == [
            "the printed pages cannot be checked without the manifest; give it with the PDF"
        ]

    def test_every_row_of_a_short_report_is_on_a_signed_page(self, files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest"])["manifest"]["payload"]
        pages = json.loads(base64.b64decode(manifest))["pages"]
        printed = [n for p in pages if p["rows"] for n in range(p["rows"][0], p["rows"][1] + 1)]
        assert printed == list(range(1, len(json.loads(files["json"])["rows"]) + 1))

    def test_the_same_rows_give_the_same_bytes(
        self, files: dict[str, bytes], pin: str, tmp_path: Path
    ) -> None:
        document = json.loads(files["json"])
        (tmp_path / "report.json").write_bytes(files["json"])
        (tmp_path / "report.csv").write_bytes(files["csv"])
        lines = [row_bytes(row).decode() + "\n" for row in document["rows"]]
        (tmp_path / "rows.jsonl").write_text("".join(lines))
        statement = ReportStatement.from_wire(document["statement"])
        made, _ = TypstTypesetter().typeset(statement, tmp_path, signed_by=pin)
        assert made.read_bytes() == files["pdf"]

    def test_a_row_that_was_left_out_breaks_integrity_and_completeness(
        self, files: dict[str, bytes], pin: str
    ) -> None:
        document = json.loads(files["json"])
        del document["rows"][-1]
        verdict = verify_report(json.dumps(document).encode(), pin, now=now())
        assert not verdict.integrity.holds
        assert verdict.completeness.verdict == "incomplete"

    def test_an_edited_statement_is_found_beside_its_signature(
        self, files: dict[str, bytes], pin: str
    ) -> None:
        document = json.loads(files["json"])
        document["statement"]["completeness"]["known_gaps"] = []
        verdict = verify_report(json.dumps(document).encode(), pin, now=now())
        assert verdict.integrity.problems == [
            "the readable statement is not the signed one; differing: completeness"
        ]

    def test_a_report_signed_by_another_key_is_not_judged_at_all(
        self, files: dict[str, bytes]
    ) -> None:
        with pytest.raises(ReportError, match="not signed by the pinned key"):
            verify_report(files["json"], fingerprint(Ed25519PrivateKey.generate()), now=now())

    def test_age_is_a_verdict_of_its_own(self, files: dict[str, bytes], pin: str) -> None:
        later = now() + timedelta(days=40)
        verdict = verify_report(files["json"], pin, now=later, max_age=timedelta(days=31))
        assert verdict.freshness.verdict == "stale"
        assert verdict.integrity.holds


def streams(pdf: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Yield begin, end and content of every stream of a PDF."""
    for match in re.finditer(rb"<</Length (\d+)[^\n]*\nstream\n", pdf):
        end = match.end() + int(match.group(1))
        data = pdf[match.end() : end]
        packed = b"/FlateDecode" in match.group()
        yield match.end(), end, zlib.decompress(data) if packed else data


def page_content(pdf: bytes, digest: str) -> bytes:
    """Return the content of the page with this digest."""
    return next(content for _, _, content in streams(pdf) if bytes_digest(content) == digest)


def rewritten(pdf: bytes, old: bytes, new: bytes) -> bytes:
    """Return a PDF with a stream replaced, and its table corrected as an editor would do it."""
    assert old != new
    begin, end = next((b, e) for b, e, content in streams(pdf) if content == old)
    head = pdf.rindex(b"<</Length ", 0, begin)
    data = zlib.compress(new, 9) if b"/FlateDecode" in pdf[head:begin] else new
    length = re.compile(rb"/Length \d+").sub(b"/Length %d" % len(data), pdf[head:begin], 1)
    body = pdf[:head] + length + data + pdf[end:]
    shift = len(body) - len(pdf)
    table = body.rindex(b"xref\n0 ")
    moved = re.sub(
        rb"(\d{10}) (\d{5}) n",
        lambda m: b"%010d %s n" % (int(m[1]) + (shift if int(m[1]) > head else 0), m[2]),
        body[table:],
    )
    moved = re.sub(rb"startxref\s+\d+", b"startxref\n%d" % table, moved)
    return body[:table] + moved


@pytest.fixture
def reading(database: DatabaseUrls) -> Iterator[Database]:
    """The connection on which reports are read."""
    opened = Database.connect(database.auditor, pool_size=1)
    yield opened
    opened.close()


def test_a_report_is_read_by_a_role_that_cannot_write(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls, reading: Database
) -> None:
    report = reporting.make(acme("omar"), {"kind": "R1"})
    with psycopg.connect(database.admin) as connection:
        row = connection.execute("SELECT organization_id, covers FROM report").fetchone()
    assert row is not None
    scope = Scope(row[0], frozenset(row[1]))
    change, which = text("UPDATE report SET root = 'another' WHERE id = :id"), {"id": report["id"]}
    with reading.snapshot(scope, statement_seconds=5) as session:
        assert session.scalar(text("SELECT current_user")) == "ringfence_auditor"
        with pytest.raises(DBAPIError, match="read-only transaction"):
            session.execute(change, which)
        session.rollback()
    # A transaction that may write does not help: the role has no right to.
    with reading.begin(scope) as session:
        session.rollback()
        session.execute(text("SET TRANSACTION READ WRITE"))
        with pytest.raises(DBAPIError, match="permission denied"):
            session.execute(change, which)


def test_the_worker_s_own_role_cannot_read_what_a_report_needs(
    acme: PersonOf, reporting: Reporting, database: DatabaseUrls
) -> None:
    with pytest.raises(DBAPIError, match="permission denied for function report_"):
        replace(reporting, urls=replace(database, auditor=database.worker)).make(
            acme("omar"), {"kind": "R1"}
        )
