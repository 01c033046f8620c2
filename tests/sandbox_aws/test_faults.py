"""The fault plan: each fault as a client of AWS meets it, and what the ledger says was done."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError
from click.testing import Result
from typer.testing import CliRunner

from sandbox.aws.faults.plan import FaultPlan, FaultPlanError, clear_plan, parse_plan, struck
from sandbox.aws.faults.plan import write_plan as put_plan
from sandbox.aws.ledger import read_ledger
from sandbox.cli import app
from sandbox.home import Home
from tests.sandbox_aws.clusters import make_role
from tests.sandbox_aws.conftest import CUSTOMER, REGION, Boundary
from tests.sandbox_aws.test_blueprint_calls import make_vpc, wait_for


@pytest.fixture(autouse=True)
def no_plan(opened: Boundary) -> Iterator[None]:
    yield
    clear_plan(opened.gate.root / "run")


def put(boundary: Boundary, *rules: dict[str, Any], seed: int = 0) -> None:
    """Put rules in force that strike this boundary's sessions only."""
    named = [{"boundary": boundary.name, **rule} for rule in rules]
    plan = FaultPlan.model_validate({"seed": seed, "rules": named})
    put_plan(boundary.gate.root / "run", plan)


def client(boundary: Boundary, service: str, tries: int = 1) -> Any:
    keys = boundary.session()
    return boto3.client(
        service,
        region_name=REGION,
        endpoint_url=boundary.gate.endpoint,
        aws_access_key_id=keys["access_key_id"],
        aws_secret_access_key=keys["secret_access_key"],
        aws_session_token=keys["session_token"],
        config=Config(retries={"total_max_attempts": tries, "mode": "standard"}),
    )


def code_of(call: Any) -> str:
    """Make a call and give its error code; empty where it succeeded."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    return ""


def ledger(boundary: Boundary, operation: str) -> list[dict[str, Any]]:
    entries = read_ledger(boundary.gate.root / "data")
    return [e for e in entries if e["boundary"] == boundary.name and e["operation"] == operation]


def vpcs(boundary: Boundary) -> list[str]:
    admin = boundary.gate.client("ec2", "customer-admin")
    wanted = [{"Name": "tag:ringfence:boundary", "Values": [boundary.name]}]
    return [vpc["VpcId"] for vpc in admin.describe_vpcs(Filters=wanted)["Vpcs"]]


@pytest.mark.parametrize(
    ("service", "call", "code", "status"),
    [
        ("ec2", lambda c: c.describe_vpcs(), "RequestLimitExceeded", 503),
        ("iam", lambda c: c.get_role(RoleName="x"), "Throttling", 400),
        ("kms", lambda c: c.list_aliases(), "ThrottlingException", 400),
        ("eks", lambda c: c.list_clusters(), "ThrottlingException", 429),
        ("s3", lambda c: c.head_bucket(Bucket="x"), "503", 503),
        ("sts", lambda c: c.get_caller_identity(), "Throttling", 400),
    ],
    ids=["ec2", "iam", "kms", "eks", "s3", "sts"],
)
def test_each_service_throttles_in_its_own_words(
    opened: Boundary, service: str, call: Any, code: str, status: int
) -> None:
    put(opened, {"kind": "throttle", "service": service, "every": True})
    with pytest.raises(ClientError) as caught:
        call(client(opened, service))
    assert caught.value.response["Error"]["Code"] == code
    assert caught.value.response["ResponseMetadata"]["HTTPStatusCode"] == status


def test_the_sdks_own_retries_are_seen_and_get_through(opened: Boundary) -> None:
    put(opened, {"kind": "throttle", "service": "ec2", "every": True, "times": 2})
    answer = client(opened, "ec2", tries=5).describe_vpcs()
    assert answer["ResponseMetadata"]["RetryAttempts"] == 2
    assert [s["kind"] for s in struck(opened.gate.root / "run")] == ["throttle", "throttle"]


def test_chance_is_drawn_from_the_seed_and_can_be_repeated(opened: Boundary) -> None:
    ec2 = client(opened, "ec2")

    def pattern(seed: int) -> list[bool]:
        put(opened, {"kind": "throttle", "service": "ec2", "probability": 0.4}, seed=seed)
        return [code_of(ec2.describe_vpcs) != "" for _ in range(12)]

    first = pattern(3)
    assert pattern(3) == first
    assert pattern(4) != first
    assert 0 < sum(first) < 12


def test_the_kth_call_is_denied_and_only_that_one(opened: Boundary) -> None:
    put(opened, {"kind": "deny", "service": "ec2", "operation": "Describe*", "call": 2})
    ec2 = client(opened, "ec2")
    codes = [code_of(ec2.describe_vpcs), code_of(ec2.describe_subnets), code_of(ec2.describe_vpcs)]
    assert codes == ["", "UnauthorizedOperation", ""]


def test_an_expired_session_stays_expired_and_a_new_one_works(opened: Boundary) -> None:
    put(opened, {"kind": "expire", "service": "ec2", "call": 1})
    ec2, iam = client(opened, "ec2"), None
    assert code_of(ec2.describe_vpcs) == "RequestExpired"
    assert code_of(ec2.describe_vpcs) == "RequestExpired"
    iam = client(opened, "iam")
    assert code_of(lambda: iam.get_role(RoleName=f"ringfence-{opened.name}-g1")) == ""


def test_a_lost_reply_was_done_and_the_ledger_says_so(opened: Boundary) -> None:
    put(opened, {"kind": "execute-and-timeout", "operation": "CreateVpc", "call": 1})
    with pytest.raises(ConnectionClosedError):
        make_vpc(client(opened, "ec2"), opened)
    (entry,) = ledger(opened, "CreateVpc")
    assert (entry["outcome"], entry["heard"]) == ("done", "lost")
    assert entry["created"] == vpcs(opened)


def test_an_error_though_done_is_a_server_fault_and_the_object_exists(opened: Boundary) -> None:
    put(opened, {"kind": "error-though-done", "operation": "CreateVpc", "call": 1})
    assert code_of(lambda: make_vpc(client(opened, "ec2"), opened)) == "InternalError"
    (entry,) = ledger(opened, "CreateVpc")
    assert (entry["outcome"], entry["heard"]) == ("done", "error")
    assert len(vpcs(opened)) == 1


def test_a_retry_after_a_lost_reply_makes_a_twin_where_the_api_takes_no_token(
    opened: Boundary,
) -> None:
    put(opened, {"kind": "execute-and-timeout", "operation": "CreateVpc", "call": 1})
    make_vpc(client(opened, "ec2", tries=3), opened)
    assert len(vpcs(opened)) == 2


def test_a_retry_with_a_client_token_is_answered_and_not_done_again(opened: Boundary) -> None:
    ec2 = client(opened, "ec2", tries=3)
    vpc = make_vpc(ec2, opened)
    put(opened, {"kind": "execute-and-timeout", "operation": "CreateRouteTable", "call": 1})
    table = ec2.create_route_table(VpcId=vpc, TagSpecifications=opened.tags("route-table"))
    assert len(ledger(opened, "CreateRouteTable")) == 1
    assert ledger(opened, "CreateRouteTable")[0]["created"] == [table["RouteTable"]["RouteTableId"]]


def test_a_new_object_is_not_shown_for_a_while_neither_alone_nor_in_lists(opened: Boundary) -> None:
    put(opened, {"kind": "lag", "operation": "CreateVpc", "call": 1, "seconds": 1500})
    ec2 = client(opened, "ec2")
    vpc = make_vpc(ec2, opened)
    assert code_of(lambda: ec2.describe_vpcs(VpcIds=[vpc])) == "InvalidVpcID.NotFound"
    listed = [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]]
    assert listed
    assert vpc not in listed
    assert wait_for(lambda: vpc in [one["VpcId"] for one in ec2.describe_vpcs()["Vpcs"]])


def test_a_role_is_not_shown_before_it_is_visible(opened: Boundary) -> None:
    put(opened, {"kind": "lag", "operation": "CreateRole", "call": 1, "seconds": 1000})
    iam, name = client(opened, "iam"), f"ringfence-{opened.name}-node"
    make_role(iam, opened, "node", "ec2.amazonaws.com")
    assert code_of(lambda: iam.get_role(RoleName=name)) == "NoSuchEntity"
    assert wait_for(lambda: code_of(lambda: iam.get_role(RoleName=name)) == "")


@pytest.mark.parametrize(
    ("operation", "code"),
    [("CreateVpc", "VpcLimitExceeded"), ("AllocateAddress", "AddressLimitExceeded")],
    ids=["vpc", "address"],
)
def test_a_quota_gives_the_error_of_its_operation(
    opened: Boundary, operation: str, code: str
) -> None:
    put(opened, {"kind": "quota", "operation": operation, "every": True})
    ec2 = client(opened, "ec2")
    calls = {
        "CreateVpc": lambda: make_vpc(ec2, opened),
        "AllocateAddress": lambda: ec2.allocate_address(
            Domain="vpc", TagSpecifications=opened.tags("elastic-ip")
        ),
    }
    assert code_of(calls[operation]) == code


def test_the_administrator_deletes_an_object_behind_the_runs_back(opened: Boundary) -> None:
    act = {
        "service": "ec2",
        "operation": "DeleteVpc",
        "parameters": {"VpcId": "$created"},
    }
    put(opened, {"kind": "out-of-band", "operation": "CreateVpc", "call": 1, "act": act})
    ec2 = client(opened, "ec2")
    vpc = make_vpc(ec2, opened)
    assert code_of(lambda: ec2.describe_vpcs(VpcIds=[vpc])) == "InvalidVpcID.NotFound"
    by_admin = [
        entry
        for entry in read_ledger(opened.gate.root / "data")
        if entry["operation"] == "DeleteVpc" and entry["request"].get("VpcId") == vpc
    ]
    assert [entry["caller"] for entry in by_admin] == [
        f"arn:aws:iam::{CUSTOMER}:user/customer-admin"
    ]


def test_a_deleted_role_ends_its_sessions_at_once(opened: Boundary) -> None:
    put(opened, {"kind": "role-deleted", "service": "ec2", "call": 1})
    ec2 = client(opened, "ec2")
    assert code_of(ec2.describe_vpcs) == "AuthFailure"
    assert code_of(opened.session) == "AccessDenied"


def test_a_rotated_external_id_lets_the_session_live_and_no_new_one_begin(opened: Boundary) -> None:
    put(opened, {"kind": "external-id-rotated", "service": "ec2", "call": 1})
    ec2 = client(opened, "ec2")
    assert code_of(ec2.describe_vpcs) == ""
    assert code_of(ec2.describe_vpcs) == ""
    assert code_of(opened.session) == "AccessDenied"


def test_latency_is_scaled_and_nobody_else_waits(opened: Boundary) -> None:
    put(opened, {"kind": "latency", "operation": "DescribeVpcs", "call": 1, "seconds": 400})
    ec2 = client(opened, "ec2")
    times = []
    for _ in range(2):
        before = struck(opened.gate.root / "run")
        answer = ec2.describe_vpcs()
        times.append((len(before), answer["ResponseMetadata"]["HTTPStatusCode"]))
    assert times == [(0, 200), (1, 200)]


def test_no_fault_strikes_the_customers_own_people(opened: Boundary) -> None:
    put(opened, {"kind": "deny", "every": True, "boundary": ""})
    assert code_of(client(opened, "ec2").describe_vpcs) == "UnauthorizedOperation"
    assert code_of(opened.gate.client("ec2", "customer-admin").describe_vpcs) == ""


def test_a_plan_that_is_not_valid_stops_the_rehearsal_and_says_why(opened: Boundary) -> None:
    (opened.gate.root / "run/aws-faults.json").write_text('{"rules": [{"kind": "denny"}]}')
    with pytest.raises(ClientError, match=r"rules\.0\.kind"):
        client(opened, "ec2").describe_vpcs()


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"kind": "deny"}, "exactly one of call, every, probability"),
        ({"kind": "deny", "call": 1, "every": True}, "exactly one of"),
        ({"kind": "lag", "call": 1}, "give `seconds`"),
        ({"kind": "deny", "call": 1, "seconds": 3}, "takes no `seconds`"),
        ({"kind": "out-of-band", "call": 1}, "`act` belongs to out-of-band"),
        ({"kind": "quota", "operation": "DescribeVpcs", "call": 1}, "quota strikes one of"),
        ({"kind": "stuck-creating", "call": 1}, "stuck-creating strikes one of"),
        ({"kind": "deny", "call": 1, "service": "lambda"}, "'lambda' is none of"),
        ({"kind": "deny", "call": 0}, "rules.0.call"),
        ({"kind": "deny", "call": 1, "operatoin": "x"}, "rules.0.operatoin"),
    ],
    ids=range(10),
)
def test_a_bad_rule_is_refused_by_field(rule: dict[str, Any], words: str) -> None:
    with pytest.raises(FaultPlanError) as caught:
        parse_plan(json.dumps({"rules": [rule]}), "plan.json")
    assert words in str(caught.value)
    assert str(caught.value).startswith("plan.json: ")


def test_the_command_sets_shows_and_clears_the_plan(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    plan = tmp_path / "plan.json"
    plan.write_text('{"rules": [{"kind": "throttle", "service": "ec2", "probability": 0.25}]}')
    monkeypatch.setenv("RINGFENCE_HOME", str(home))
    Home.current().run.mkdir(parents=True, exist_ok=True)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, ["faults", *arguments])

    assert "no faults are in force" in run().stderr
    shown = run("--set", str(plan))
    assert "rehearsal: 1 fault(s) in force" in shown.stderr
    assert "throttle" in shown.stdout
    assert "probability 0.25" in run().stdout
    plan.write_text('{"rules": [{"kind": "throttle"}]}')
    refused = run("--set", str(plan))
    assert refused.exit_code == 2
    assert "exactly one of" in refused.stderr
    assert "probability 0.25" in run().stdout
    assert "no faults are in force" in run("--clear").stderr
    assert run().stdout == ""
