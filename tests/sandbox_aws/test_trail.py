"""The trail: what the customer's auditor can read, and what nobody may find in it."""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.sandbox_aws.conftest import CUSTOMER, Boundary, GateProcess
from tests.sandbox_aws.test_blueprint_calls import make_vpc, wait_for
from tests.sandbox_aws.test_sessions import code_of


def trail_records(gate: GateProcess) -> list[dict[str, Any]]:
    """Read the customer's trail as its auditor does."""
    s3 = gate.client("s3", "customer-auditor")
    bucket = f"aws-cloudtrail-logs-{CUSTOMER}"
    records: list[dict[str, Any]] = []
    for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for one in page.get("Contents", []):
            data = s3.get_object(Bucket=bucket, Key=one["Key"])["Body"].read()
            records.extend(json.loads(gzip.decompress(data))["Records"])
    return records


def test_the_auditor_reads_who_did_what_in_cloudtrails_format(opened: Boundary) -> None:
    session = opened.session()
    vpc = make_vpc(opened.gate.client("ec2", session), opened)

    def found() -> Any:
        for record in trail_records(opened.gate):
            answer = record.get("responseElements") or {}
            if record["eventName"] == "CreateVpc" and vpc in json.dumps(answer):
                return record
        return None

    record = wait_for(found)
    assert record["eventSource"] == "ec2.amazonaws.com"
    identity = record["userIdentity"]
    assert identity["type"] == "AssumedRole"
    assert identity["sessionContext"]["sourceIdentity"] == "sam@acme.test"
    assert identity["arn"].endswith("/run-1")
    assert record["recipientAccountId"] == CUSTOMER


def test_a_denied_cross_account_assume_role_is_not_in_the_customers_trail(
    gate: GateProcess,
) -> None:
    boundary = gate.boundary().create().open()
    code_of(lambda: boundary.assume(ExternalId="wrong-0123456789abcdef0000"))
    boundary.assume()

    def assumed() -> list[dict[str, Any]]:
        return [
            one for one in trail_records(gate)
            if one["eventName"] == "AssumeRole"
            and one["requestParameters"]["RoleArn"] == boundary.role_arn(1)
        ]  # fmt: skip

    records = wait_for(assumed)
    assert [one.get("errorCode") for one in records] == [None]


def test_the_auditor_may_do_nothing_else(gate: GateProcess) -> None:
    assert code_of(gate.client("s3", "customer-auditor").list_buckets) == "AccessDenied"
    assert code_of(gate.client("ec2", "customer-auditor").describe_vpcs) == "UnauthorizedOperation"


def test_no_secret_is_in_log_trail_or_ledger(opened: Boundary) -> None:
    gate, session = opened.gate, opened.session()
    gate.client("ec2", session).describe_vpcs()
    secrets = {session["secret_access_key"], session["session_token"]}
    for name in ("vendor", "customer-admin", "customer-auditor"):
        secrets |= {
            v for k, v in gate.credentials(name).items()
            if k in ("secret_access_key", "session_token")
        }  # fmt: skip

    def flushed() -> bool:
        text = json.dumps(trail_records(gate))
        return session["access_key_id"] in text

    assert wait_for(flushed)
    texts = [json.dumps(trail_records(gate)), gate.log.read_text()]
    texts += [
        one.read_bytes().decode(errors="replace")
        for one in (gate.root / "data").rglob("*")
        if one.is_file() and one.suffix != ".gz"
    ]
    for secret in secrets:
        assert not any(secret in text for text in texts)


def test_files_with_secrets_are_private(gate: GateProcess) -> None:
    for one in (gate.root / "secrets").rglob("*"):
        assert one.stat().st_mode & 0o077 == 0, one
    for name in ("journal.jsonl", "ledger.jsonl", "stacks.json"):
        assert (gate.root / "data" / name).stat().st_mode & 0o077 == 0
