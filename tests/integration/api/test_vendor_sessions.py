"""R3: what we recorded against the trail that the customer hands over."""

from __future__ import annotations

import gzip
import json
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from controlplane.adapters.aws.sessions import RoleTarget, StsSessions
from controlplane.core.db import Database
from controlplane.core.errors import InternalError
from controlplane.core.ids import new_id
from controlplane.domains.reports.session_record import RecordedSessions, external_id_hash
from proof.keys import fingerprint
from proof.reports import verify_report
from sandbox.customer_trail import copy_trail
from tests.integration.api.conftest import PersonOf
from tests.integration.api.people import Person
from tests.integration.api.reporting import Reporting, make_maker
from tests.postgres import DatabaseUrls
from tests.sandbox_aws.conftest import CUSTOMER, REGION, Boundary, GateProcess
from tests.sandbox_aws.test_blueprint_calls import wait_for
from tests.sandbox_aws.test_trail import trail_records

ROLE = f"arn:aws:iam::{CUSTOMER}:role/ringfence-payments-g1"
SAM = "sam@acme.test"


@pytest.fixture(scope="module")
def gate() -> Iterator[GateProcess]:
    """A rehearsal account of these tests' own: its trail is read whole."""
    root = Path(tempfile.mkdtemp(prefix="rf-"))
    process = GateProcess(root)
    process.start()
    yield process
    process.stop()
    shutil.rmtree(root)


@pytest.fixture
def reporting(
    database: DatabaseUrls, control_plane_key: Ed25519PrivateKey, tmp_path: Path
) -> Reporting:
    """Reports on the demo's database, made by the worker's own role."""
    return Reporting(database, make_maker(control_plane_key, tmp_path))


@pytest.fixture
def worker(database: DatabaseUrls) -> Iterator[Database]:
    """The database as the worker's role sees it."""
    opened = Database.connect(database.worker, pool_size=2)
    yield opened
    opened.close()


@dataclass
class Payments(Boundary):
    """The boundary `payments` in the rehearsal account, with its connection's own External ID."""

    sent: str = ""

    @property
    def external_id(self) -> str:
        return self.sent


def connection_of(urls: DatabaseUrls) -> tuple[UUID, UUID, str]:
    """Return organization, boundary and External ID of `payments`."""
    with psycopg.connect(urls.admin) as connection:
        row = connection.execute(
            "SELECT b.organization_id, b.id, c.external_id FROM boundary b"
            " JOIN cloud_connection c ON c.boundary_id = b.id WHERE b.name = 'payments'"
        ).fetchone()
    assert row is not None
    return row[0], row[1], row[2]


def granted(acme: PersonOf) -> None:
    asked = acme("sam").post(
        "/v1/boundaries/payments/grants", {"purpose": "first install", "ticket": "CHG-7"}
    )
    assert acme("ana").post(f"/v1/grants/{asked.json()['id']}/approve", {}).status_code == 200


def record(at: datetime, **changes: Any) -> dict[str, Any]:
    """Return one call made in a session of the role, as CloudTrail writes it."""
    call: dict[str, Any] = {
        "eventVersion": "1.11",
        "eventTime": at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "eventSource": "ec2.amazonaws.com",
        "eventName": "DescribeVpcs",
        "awsRegion": REGION,
        "sourceIPAddress": "192.0.2.7",
        "eventID": str(new_id()),
        "requestID": str(new_id()),
        "eventCategory": "Management",
        "managementEvent": True,
        "requestParameters": {"vpcId": "vpc-1"},
        "userIdentity": {
            "type": "AssumedRole",
            "arn": f"arn:aws:sts::{CUSTOMER}:assumed-role/ringfence-payments-g1/run-1",
            "accessKeyId": "ASIAEXAMPLE",
            "sessionContext": {"sessionIssuer": {"arn": ROLE}, "sourceIdentity": SAM},
        },
    }
    return {**call, **changes}


def opening(at: datetime, *, request_id: str, person: str = SAM, run: str = "run-1") -> Any:
    """Return a successful AssumeRole as the customer's trail shows it."""
    return record(
        at,
        eventSource="sts.amazonaws.com",
        eventName="AssumeRole",
        requestID=request_id,
        userIdentity={"type": "AWSAccount", "accountId": "999988887777"},
        requestParameters={"roleArn": ROLE, "roleSessionName": run, "sourceIdentity": person},
        responseElements={"credentials": {"accessKeyId": "ASIAEXAMPLE"}},
    )


def hand_over(person: Person, at: datetime, records: list[Any], suffix: str = "aaaa") -> Any:
    """Hand over one file as CloudTrail would have delivered it at `at`."""
    return upload(person, file_name(at, suffix), gzip.compress(packed(records)))


def packed(records: list[Any]) -> bytes:
    return json.dumps({"Records": records}).encode()


def file_name(at: datetime, suffix: str = "aaaa") -> str:
    return f"{CUSTOMER}_CloudTrail_{REGION}_{at:%Y%m%dT%H%M}Z_{suffix}.json.gz"


def upload(person: Person, name: str, data: bytes) -> Any:
    return person.post_bytes(f"/v1/boundaries/payments/trail-extracts?name={name}", data)


def plant(reporting: Reporting, at: datetime, *, request_id: str, outcome: str = "opened") -> None:
    """Write a session of ours as the worker's record would have it."""
    organization_id, boundary_id, external_id = connection_of(reporting.urls)
    reporting.execute(
        "INSERT INTO vendor_session (organization_id, boundary_id, id, purpose, role_arn,"
        " session_name, source_identity, external_id_hash, asked_at, outcome, aws_request_id)"
        " VALUES (%s, %s, %s, 'work', %s, 'run-1', %s, %s, %s, %s, %s)",
        *(organization_id, boundary_id, new_id(), ROLE, SAM, external_id_hash(external_id)),
        *(at, outcome, request_id),
    )


def reconciled(
    acme: PersonOf, reporting: Reporting, start: datetime, end: datetime
) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Return rows and statement of R3 over a span."""
    body = {
        "kind": "R3",
        "boundary": "payments",
        "from": start.isoformat(),
        "to": end.isoformat(),
    }
    report = reporting.make(acme("omar"), body)
    assert report["state"] == "ready", report
    statement = json.loads(reporting.files(acme("omar"), report)["json"])["statement"]
    stated = statement["completeness"]
    assert stated["independent_count"] == stated["row_count"]
    return reporting.rows(acme("omar"), report), statement


def hour_ago(hours: float) -> datetime:
    moment = datetime.now(UTC).replace(minute=10, second=0, microsecond=0)
    return moment - timedelta(hours=hours)


def test_real_sessions_match_the_rehearsal_accounts_trail_line_by_line(
    acme: PersonOf,
    reporting: Reporting,
    worker: Database,
    gate: GateProcess,
    tmp_path: Path,
) -> None:
    started = datetime.now(UTC).replace(microsecond=0)
    granted(acme)
    external_id = connection_of(reporting.urls)[2]
    boundary = Payments(gate, "payments", external_id)
    boundary.create().open()
    sessions = RecordedSessions(
        StsSessions(gate.root / "secrets/aws/vendor.json", gate.endpoint), worker
    )
    assert not sessions.probe(ROLE, "ringfence-wrong-0123456789abcdef", region=REGION).allowed
    target = RoleTarget(ROLE, external_id, REGION, "payments")
    ours = sessions.assume(target, run="run-1", person=SAM)
    assert ours.session_token is not None
    keys = {
        "access_key_id": ours.access_key_id,
        "secret_access_key": ours.secret_access_key,
        "session_token": ours.session_token,
    }
    gate.client("ec2", keys).describe_vpcs()
    # Somebody uses our own key around the record: the customer's trail must give it away.
    rogue = boundary.session(RoleSessionName="rogue", SourceIdentity="nobody")
    gate.client("ec2", rogue).describe_subnets()
    wait_for(lambda: "DescribeSubnets" in {r["eventName"] for r in trail_records(gate)})
    copied = copy_trail(
        tmp_path / "trail",
        endpoint_url=gate.endpoint,
        credentials_file=gate.root / "secrets/aws/customer-auditor.json",
        account=CUSTOMER,
        region=REGION,
    )
    assert copied > 0
    for file in sorted((tmp_path / "trail").iterdir()):
        answer = upload(acme("omar"), file.name, file.read_bytes())
        assert answer.status_code == 201, answer.text
    rows, statement = reconciled(acme, reporting, started, datetime.now(UTC))
    found = {(r["record"], r["session"], r["action"], r["match"]) for r in rows}
    assert ("session", "run-1", "AssumeRole", "matched") in found
    assert ("call", "run-1", "DescribeVpcs", "matched") in found
    assert ("probe", "ringfence-probe", "AssumeRole", "only ours") in found
    assert ("session", "rogue", "AssumeRole", "only theirs") in found
    assert ("call", "rogue", "DescribeSubnets", "only theirs") in found
    (matched,) = [r for r in rows if (r["record"], r["session"]) == ("session", "run-1")]
    assert (matched["person"], matched["requested_by"], matched["approved_by"]) == (
        SAM,
        "sam@acme.test",
        "ana@acme.test",
    )
    assert matched["external_id_hash"] == external_id_hash(external_id)
    assert matched["source_ip"]
    assert {f["code"] for f in statement["findings"] if f["severity"] == "finding"} == {
        "only-theirs"
    }
    text = json.dumps(rows)
    assert ours.access_key_id not in text
    assert external_id not in text


def test_a_session_on_one_side_only_is_a_finding_on_either_side(
    acme: PersonOf, reporting: Reporting
) -> None:
    at = hour_ago(3)
    plant(reporting, at, request_id="req-ours")
    hand_over(
        acme("omar"),
        at + timedelta(minutes=5),
        [opening(at + timedelta(minutes=1), request_id="req-theirs", run="run-9")],
    )
    rows, statement = reconciled(acme, reporting, at - timedelta(minutes=5), hour_ago(2))
    assert {(r["session"], r["match"]) for r in rows} == {
        ("run-1", "only ours"),
        ("run-9", "only theirs"),
    }
    codes = {f["code"]: f["severity"] for f in statement["findings"]}
    assert codes["only-ours"] == codes["only-theirs"] == "finding"


def test_a_denied_attempt_is_ours_only_and_expected(acme: PersonOf, reporting: Reporting) -> None:
    at = hour_ago(3)
    plant(reporting, at, request_id="req-denied", outcome="denied")
    hand_over(acme("omar"), at + timedelta(minutes=5), [record(at, userIdentity={})])
    rows, statement = reconciled(acme, reporting, at - timedelta(minutes=5), hour_ago(2))
    (row,) = rows
    assert row["match"] == "only ours"
    assert row["why"].startswith("denied: AWS logs")
    assert [f["severity"] for f in statement["findings"]] == ["note"]


def test_an_attempt_whose_answer_we_never_saw_matches_by_names_and_time(
    acme: PersonOf, reporting: Reporting
) -> None:
    at = hour_ago(3)
    plant(reporting, at, request_id="", outcome="unknown")
    hand_over(
        acme("omar"),
        at + timedelta(minutes=5),
        [opening(at + timedelta(seconds=2), request_id="req-1")],
    )
    rows, _ = reconciled(acme, reporting, at - timedelta(minutes=5), hour_ago(2))
    assert [r["match"] for r in rows] == ["matched"]


def test_an_hour_that_is_missing_from_the_extract_makes_the_report_incomplete(
    acme: PersonOf,
    reporting: Reporting,
    control_plane_key: Ed25519PrivateKey,
) -> None:
    first, second = hour_ago(4), hour_ago(3)
    for at, name in ((first, "req-1"), (second, "req-2")):
        plant(reporting, at, request_id=name)
    hand_over(acme("omar"), first + timedelta(minutes=5), [opening(first, request_id="req-1")])
    rows, statement = reconciled(acme, reporting, first - timedelta(minutes=5), hour_ago(2))
    assert [r["match"] for r in rows] == ["matched", "not compared"]
    assert "hour-missing" in {f["code"] for f in statement["findings"]}
    report = acme("omar").get("/v1/reports").json()["reports"][0]
    data = reporting.files(acme("omar"), report)["json"]
    verdict = verify_report(data, fingerprint(control_plane_key), now=datetime.now(UTC))
    assert verdict.integrity.holds
    assert verdict.completeness.verdict == "incomplete"
    assert f"{second:%Y-%m-%d %H}h" in verdict.completeness.reasons[0]


def test_files_under_wrong_names_are_noticed(acme: PersonOf, reporting: Reporting) -> None:
    at = hour_ago(3)
    answer = hand_over(acme("omar"), at - timedelta(hours=5), [opening(at, request_id="req-1")])
    assert answer.status_code == 201
    _, statement = reconciled(acme, reporting, at - timedelta(minutes=5), hour_ago(2))
    assert "misplaced-records" in {f["code"] for f in statement["findings"]}


def test_a_record_that_was_delivered_twice_is_one_line(
    acme: PersonOf, reporting: Reporting
) -> None:
    at = hour_ago(3)
    plant(reporting, at, request_id="req-1")
    both = [opening(at, request_id="req-1"), record(at + timedelta(seconds=9))]
    hand_over(acme("omar"), at + timedelta(minutes=5), both)
    hand_over(acme("omar"), at + timedelta(minutes=6), both[::-1], "bbbb")
    rows, _ = reconciled(acme, reporting, at - timedelta(minutes=5), hour_ago(2))
    assert sorted((r["record"], r["match"]) for r in rows) == [
        ("call", "matched"),
        ("session", "matched"),
    ]


@pytest.mark.parametrize(
    ("name", "data", "field"),
    [
        ("trail.json.gz", gzip.compress(packed([])), "name"),
        (file_name(datetime(2026, 1, 1, tzinfo=UTC)), b"PK not gzip", "body"),
        (file_name(datetime(2026, 1, 1, tzinfo=UTC)), gzip.compress(packed([]))[:-6], "body"),
        (file_name(datetime(2026, 1, 1, tzinfo=UTC)), gzip.compress(b"[]"), "body"),
        (file_name(datetime(2026, 1, 1, tzinfo=UTC)), gzip.compress(b"0" * 129_000_000), "body"),
        (
            file_name(datetime(2026, 1, 1, tzinfo=UTC)).replace(CUSTOMER, "222222222222"),
            gzip.compress(packed([])),
            "name",
        ),
    ],
    ids=["name", "not-gzip", "cut-off", "other-json", "bomb", "other-account"],
)
def test_what_is_not_a_whole_file_of_the_account_is_refused(
    name: str, data: bytes, field: str, acme: PersonOf
) -> None:
    answer = upload(acme("omar"), name, data)
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["field"] == field
    assert answer.json()["error"]["fix"]
    listed = acme("omar").get("/v1/boundaries/payments/trail-extracts").json()
    assert listed == {"files": []}


def test_the_same_file_twice_is_kept_once(acme: PersonOf) -> None:
    at = hour_ago(3)
    first = hand_over(acme("omar"), at, [record(at)]).json()
    assert hand_over(acme("omar"), at, [record(at)]).json()["id"] != first["id"]
    name, data = file_name(at, "cccc"), gzip.compress(packed([record(at)]), mtime=0)
    ids = {upload(acme("omar"), name, data).json()["id"] for _ in range(2)}
    assert len(ids) == 1


class NoSts:
    """STS that must not be asked."""

    def assume(self, target: RoleTarget, *, run: str, person: str) -> Any:
        raise AssertionError("asked")

    def probe(self, role_arn: str, external_id: str | None, *, region: str) -> Any:
        raise AssertionError("asked")


def test_a_role_that_no_connection_has_is_not_assumed(acme: PersonOf, worker: Database) -> None:
    sessions = RecordedSessions(NoSts(), worker)
    foreign = RoleTarget(ROLE.replace("payments", "nowhere"), "x" * 32, REGION, "nowhere")
    with pytest.raises(InternalError, match="no connection has the role"):
        sessions.assume(foreign, run="run-1", person=SAM)
