"""Restarts: what the account held before it holds after, also after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request

from tests.sandbox_aws.conftest import CUSTOMER, ROOT, GateProcess
from tests.sandbox_aws.test_blueprint_calls import make_bucket, make_vpc, wait_for
from tests.sandbox_aws.test_sessions import code_of
from tests.sandbox_aws.test_trail import trail_records


def test_everything_survives_a_kill(own_gate: GateProcess) -> None:
    boundary = own_gate.boundary().create().open()
    session = boundary.session()
    vpc = make_vpc(own_gate.client("ec2", session), boundary)
    name = make_bucket(own_gate.client("s3", session), boundary)
    body = bytes(range(256)) * 4096
    own_gate.client("s3", session).put_object(Bucket=name, Key="weights", Body=body)
    assert wait_for(lambda: any(r["eventName"] == "CreateVpc" for r in trail_records(own_gate)))
    before = {r["eventID"] for r in trail_records(own_gate)}
    own_gate.kill()
    own_gate.start()
    vpcs = own_gate.client("ec2", session).describe_vpcs(VpcIds=[vpc])["Vpcs"]
    assert {"Key": "ringfence:boundary", "Value": boundary.name} in vpcs[0]["Tags"]
    answer = own_gate.client("s3", session).get_object(Bucket=name, Key="weights")
    assert answer["Body"].read() == body
    assert boundary.stack()["StackStatus"] == "UPDATE_COMPLETE"
    assert wait_for(lambda: before <= {r["eventID"] for r in trail_records(own_gate)})
    boundary.assume(1)
    boundary.open(2)
    assert code_of(lambda: boundary.assume(1)) == "AccessDenied"


def test_a_torn_journal_line_loses_only_that_line(own_gate: GateProcess) -> None:
    boundary = own_gate.boundary().create().open()
    own_gate.kill()
    journal = own_gate.root / "data/journal.jsonl"
    with journal.open("ab") as file:
        file.write(b'{"seed": 1, "acc')
    own_gate.start()
    boundary.assume(1)
    make_vpc(own_gate.client("ec2", boundary.session()), boundary)
    own_gate.stop()
    own_gate.start()
    boundary.assume(1)
    assert "torn" in own_gate.log.read_text()


def test_health_and_accounts_tell_no_secret(gate: GateProcess) -> None:
    with urllib.request.urlopen(f"{gate.endpoint}/_rehearsal/accounts") as answer:
        assert json.load(answer)["accounts"] == [CUSTOMER, "999988887777"]
    with urllib.request.urlopen(f"{gate.endpoint}/_rehearsal/health") as answer:
        health = json.load(answer)
    assert health["status"] == "ok"
    assert health["emulation"] is True


def test_a_bad_configuration_names_the_field_and_exits_with_2(own_gate: GateProcess) -> None:
    path = own_gate.root / "bad.json"
    config = json.loads((own_gate.root / "config.json").read_text())
    path.write_text(json.dumps({**config, "time_scale": 7, "colour": "blue"}))
    done = subprocess.run(
        [sys.executable, "-m", "sandbox.aws", "--config", str(path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "time_scale" in done.stderr
    assert "colour" in done.stderr
