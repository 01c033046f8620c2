"""What we do ourselves in the account, against the rehearsal account under the role's policies."""

from __future__ import annotations

import gzip
import hashlib
import json
import urllib.error
import urllib.request
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.adapters.aws import artifacts, census, closing, preflight
from controlplane.adapters.aws.artifacts import Artifact
from controlplane.adapters.aws.broker import CredentialBroker
from controlplane.adapters.aws.sessions import Credentials, vendor_credentials
from controlplane.core.clock import now
from controlplane.core.errors import (
    ConflictError,
    ForbiddenError,
    InternalError,
    InvalidRequestError,
)
from tests.integration.adapters.rehearsal import (
    PERSON,
    RUN,
    account,
    file_of,
    sessions,
    target,
)
from tests.integration.adapters.support import until
from tests.sandbox_aws.conftest import Boundary, GateProcess, boundary, gate, opened

__all__ = ["boundary", "gate", "opened"]


def wanted(one: Boundary, cidr: str = "10.20.0.0/16") -> preflight.Wanted:
    names = (f"ringfence-{one.name}-111122223333-artifacts", f"ringfence-{one.name}")
    return preflight.Wanted(cidr, ("eu-central-1a", "eu-central-1b"), *names)


def test_a_session_names_person_and_run_in_the_customers_trail(opened: Boundary) -> None:
    account(opened).client("ec2").describe_vpcs()

    def seen() -> bool:
        files = (opened.gate.root / "data").rglob("*.json.gz")
        records = [
            record
            for path in files
            for record in json.loads(gzip.decompress(path.read_bytes()))["Records"]
        ]
        return any(
            record["eventName"] == "DescribeVpcs"
            and PERSON in json.dumps(record["userIdentity"])
            and RUN in record["userIdentity"]["arn"]
            and opened.name in record["userIdentity"]["arn"]
            for record in records
        )

    until(seen, seconds=15, what="the call in the trail")


def test_probes_tell_open_from_closed_and_right_from_wrong(
    boundary: Boundary, opened: Boundary
) -> None:
    sts, arn = sessions(opened), opened.role_arn(1)
    right = sts.probe(arn, opened.external_id, region="eu-central-1")
    assert (right.allowed, right.error_code) == (True, None)
    for external_id in (None, "a-wrong-external-id-0123456789", "x" * 30):
        result = sts.probe(arn, external_id, region="eu-central-1")
        assert (result.allowed, result.error_code) == (False, "AccessDenied")


def test_a_closed_role_cannot_be_assumed_and_the_error_names_the_action(boundary: Boundary) -> None:
    with pytest.raises(ForbiddenError, match="sts:AssumeRole failed with AccessDenied") as caught:
        sessions(boundary).assume(target(boundary, 0), run=RUN, person=PERSON)
    assert caught.value.detail["request_id"]


def test_credentials_never_show_in_a_repr_and_their_file_must_be_private(
    gate: GateProcess, tmp_path: Path
) -> None:
    path = gate.root / "secrets/aws/vendor.json"
    keys = vendor_credentials(path)
    assert keys.secret_access_key not in repr(keys)
    assert keys.access_key_id not in repr(keys)
    loose = tmp_path / "vendor.json"
    loose.write_text(path.read_text())
    loose.chmod(0o644)
    with pytest.raises(InternalError, match="readable by others"):
        vendor_credentials(loose)


def test_preflight_passes_in_an_empty_account_and_fails_on_an_overlap(opened: Boundary) -> None:
    one = account(opened)
    checks = {
        check.name: check for check in preflight.run_checks(one, wanted(opened, "10.199.0.0/16"))
    }
    assert [check for check in checks.values() if check.state == "fail"] == []
    assert {"identity", "role", "cidr", "zones", "bucket", "cluster"} <= {
        name for name, check in checks.items() if check.state == "pass"
    }
    admin = opened.gate.client("ec2", "customer-admin")
    vpc = admin.create_vpc(CidrBlock="10.199.128.0/17")["Vpc"]["VpcId"]
    again = {
        check.name: check for check in preflight.run_checks(one, wanted(opened, "10.199.0.0/16"))
    }
    admin.delete_vpc(VpcId=vpc)
    assert again["cidr"].state == "fail"
    assert vpc in again["cidr"].message
    assert again["cidr"].remedy


def test_the_pins_of_the_customers_template_are_read_back(opened: Boundary) -> None:
    assert preflight.read_pins(account(opened)) == {
        "control-plane-key": "sha256:plane",
        "release-key": "sha256:release",
    }


def test_an_artifact_is_stored_once_and_a_wrong_digest_sends_nothing(
    opened: Boundary, tmp_path: Path
) -> None:
    one, bucket = account(opened), wanted(opened).bucket
    place = {"LocationConstraint": "eu-central-1"}
    one.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    content = b"weights" * 1000
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    artifact = Artifact("tiny-coder", digest, file_of(tmp_path, content))
    first = artifacts.store(one, bucket, artifact)
    assert first.copied
    assert not artifacts.store(one, bucket, artifact).copied
    body = one.client("s3").get_object(Bucket=bucket, Key=first.key)["Body"].read()
    assert body == content
    wrong = Artifact("tiny-coder", "sha256:" + "0" * 64, artifact.path)
    with pytest.raises(InvalidRequestError, match="the catalog says") as caught:
        artifacts.store(one, bucket, wrong)
    assert caught.value.stable_code == "wrong-digest"
    assert one.client("s3").list_objects_v2(Bucket=bucket)["KeyCount"] == 1


def test_a_large_artifact_goes_in_parts_with_a_checksum_each(
    opened: Boundary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "SINGLE_PUT_BYTES", 1 << 20)
    monkeypatch.setattr(artifacts, "PART_BYTES", 5 << 20)
    one, bucket = account(opened), wanted(opened).bucket
    place = {"LocationConstraint": "eu-central-1"}
    one.client("s3").create_bucket(Bucket=bucket, CreateBucketConfiguration=place)
    content = bytes(range(256)) * ((12 << 20) // 256)
    artifact = Artifact(
        "big", f"sha256:{hashlib.sha256(content).hexdigest()}", file_of(tmp_path, content)
    )
    stored = artifacts.store(one, bucket, artifact)
    body = one.client("s3").get_object(Bucket=bucket, Key=stored.key)["Body"].read()
    assert hashlib.sha256(body).hexdigest() in stored.digest


def test_the_census_tells_what_is_expected_from_what_was_left_behind(opened: Boundary) -> None:
    admin = opened.gate.client("iam", "customer-admin")
    trust = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": {"AWS": "arn:aws:iam::999988887777:root"},
                "Action": "sts:AssumeRole",
            }
        ],
    }
    admin.create_role(
        RoleName=f"ringfence-{opened.name}-backdoor",
        Path=f"/ringfence/{opened.name}/",
        AssumeRolePolicyDocument=json.dumps(trust),
    )
    footprint = census.Footprint(None, None, None, "999988887777")
    items = {item.name: item for item in census.take(account(opened), footprint)}
    assert items[f"ringfence-{opened.name}-g1"].expected
    assert not items[f"ringfence-{opened.name}-backdoor"].expected


def test_power_ends_with_proof_and_a_second_close_writes_nothing(opened: Boundary) -> None:
    one = account(opened)
    done = closing.power_off(one, seconds=30)
    assert done.proof.succeeded_before
    assert done.proof.error_code == "UnauthorizedOperation"
    assert done.proof.denied_at >= done.removed_at
    fresh = account(opened)
    again = closing.power_off(fresh, seconds=30)
    assert not again.proof.succeeded_before
    with pytest.raises(ForbiddenError):
        preflight.read_pins(fresh)


def test_entry_is_proven_shut_only_when_assuming_is_denied(opened: Boundary) -> None:
    sts = sessions(opened)
    with pytest.raises(closing.StillAllowedError):
        closing.prove_no_entry(sts, target(opened), succeeded_before=True, seconds=0.5)
    opened.open(2)
    proof = closing.prove_no_entry(sts, target(opened, 1), succeeded_before=True, seconds=10)
    assert (proof.action, proof.error_code) == ("sts:AssumeRole", "AccessDenied")


def _ask(broker: CredentialBroker, token: str) -> tuple[int, dict[str, str]]:
    request = urllib.request.Request(broker.endpoint.uri, headers={"Authorization": token})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def test_the_broker_renews_before_the_end_and_stops_with_the_lease(tmp_path: Path) -> None:
    made: list[Credentials] = []
    held = [True]

    def renew() -> Credentials:
        # The first session is nearly over, the second one is fresh.
        end = now() + timedelta(seconds=900 if made else 200)
        made.append(Credentials(f"ASIA{len(made):016}", "secret", "token", end, "arn"))
        return made[-1]

    with CredentialBroker(renew, lambda: held[0], tmp_path / "token") as broker:
        token = (tmp_path / "token").read_text()
        assert (tmp_path / "token").stat().st_mode & 0o777 == 0o600
        assert _ask(broker, "wrong")[0] == 401
        assert _ask(broker, token)[1]["AccessKeyId"] == made[0].access_key_id
        assert _ask(broker, token)[1]["AccessKeyId"] == made[1].access_key_id
        assert _ask(broker, token)[1]["AccessKeyId"] == made[1].access_key_id
        assert len(made) == 2
        held[0] = False
        status, document = _ask(broker, token)
        assert (status, document["code"]) == (403, "lease-lost")
        assert "AccessKeyId" not in document
        with pytest.raises(ConflictError):
            broker.credentials()
    assert not (tmp_path / "token").exists()
