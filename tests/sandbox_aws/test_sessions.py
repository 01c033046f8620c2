"""Sessions: who gets one, until when, and what ends it."""

from __future__ import annotations

from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from tests.sandbox_aws.conftest import CUSTOMER, REGION, VENDOR, Boundary, GateProcess, until


def code_of(call: Any) -> str:
    """Run a call that must fail and give its error code."""
    with pytest.raises(ClientError) as caught:
        call()
    return str(caught.value.response["Error"]["Code"])


def test_a_fresh_stack_is_closed_for_everybody(boundary: Boundary) -> None:
    assert code_of(lambda: boundary.assume(0)) == "AccessDenied"


def test_number_zero_never_opens_even_with_a_future_end(boundary: Boundary) -> None:
    boundary.open(0, until(3600))
    assert code_of(lambda: boundary.assume(0)) == "AccessDenied"


def test_the_opened_role_gives_a_session_with_person_and_run(opened: Boundary) -> None:
    answer = opened.assume()
    assert answer["SourceIdentity"] == "sam@acme.test"
    session = opened.session()
    who = opened.gate.client("sts", session).get_caller_identity()
    assert who["Account"] == CUSTOMER
    assert who["Arn"].endswith(f"assumed-role/ringfence-{opened.name}-g1/run-1")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"ExternalId": None}, "no external id"),
        ({"SourceIdentity": None}, "no person"),
        ({"ExternalId": "wrong-0123456789abcdef0000"}, "a wrong external id"),
        ({"ExternalId": "EXTERNAL-unit001x-0123456789abcdef"}, "another case"),
        ({"Tags": [{"Key": "ringfence:boundary", "Value": "other"}]}, "a foreign boundary tag"),
        ({"Tags": [{"Key": "admin", "Value": "true"}]}, "an unknown tag"),
    ],
)
def test_the_trust_policy_refuses(opened: Boundary, change: dict[str, Any], why: str) -> None:
    assert code_of(lambda: opened.assume(**change)) == "AccessDenied", why


def test_the_external_id_of_another_boundary_is_refused(gate: GateProcess) -> None:
    one, other = gate.boundary().create().open(), gate.boundary().create().open()
    assert code_of(lambda: one.assume(ExternalId=other.external_id)) == "AccessDenied"


def test_the_customers_own_administrator_is_not_the_trusted_principal(opened: Boundary) -> None:
    assert code_of(lambda: opened.assume(who="customer-admin")) == "AccessDenied"


def test_a_role_that_does_not_exist_is_denied_like_a_closed_one(opened: Boundary) -> None:
    assert code_of(lambda: opened.assume(7)) == "AccessDenied"


@pytest.mark.parametrize("seconds", [899, 3601])
def test_durations_outside_the_limits_are_refused(opened: Boundary, seconds: int) -> None:
    assert code_of(lambda: opened.assume(DurationSeconds=seconds)) in (
        "ValidationError",
        "ParamValidationError",
    )


def test_grant_until_ends_new_and_live_sessions(own_gate: GateProcess) -> None:
    boundary = own_gate.boundary().create().open(1, until(600))
    session = boundary.session()
    ec2 = own_gate.client("ec2", session)
    ec2.describe_vpcs()
    (own_gate.root / "run/aws-clock-offset").write_text("601")
    assert code_of(boundary.assume) == "AccessDenied"
    assert code_of(ec2.describe_vpcs) == "UnauthorizedOperation"


def test_an_expired_session_says_so_in_each_services_words(own_gate: GateProcess) -> None:
    boundary = own_gate.boundary().create().open(1, until(7200))
    session = boundary.session()
    (own_gate.root / "run/aws-clock-offset").write_text("901")
    client = own_gate.client
    assert code_of(client("sts", session).get_caller_identity) == "ExpiredToken"
    assert code_of(client("ec2", session).describe_vpcs) == "RequestExpired"
    assert code_of(client("s3", session).list_buckets) == "ExpiredToken"
    assert code_of(client("kms", session).list_keys) == "ExpiredTokenException"
    assert code_of(client("eks", session).list_clusters) == "ExpiredTokenException"


def test_a_tampered_secret_is_refused_in_each_services_words(opened: Boundary) -> None:
    session = {**opened.session(), "secret_access_key": "not-the-secret"}
    client = opened.gate.client
    assert code_of(client("sts", session).get_caller_identity) == "SignatureDoesNotMatch"
    assert code_of(client("ec2", session).describe_vpcs) == "AuthFailure"
    assert code_of(client("s3", session).list_buckets) == "SignatureDoesNotMatch"
    assert code_of(client("kms", session).list_keys) == "InvalidSignatureException"
    assert code_of(client("eks", session).list_clusters) == "InvalidSignatureException"


def test_a_token_of_another_session_does_not_fit_the_key(opened: Boundary) -> None:
    one, other = opened.session(), opened.session()
    mixed = {**one, "session_token": other["session_token"]}
    client = opened.gate.client("sts", mixed)
    assert code_of(client.get_caller_identity) == "InvalidClientTokenId"


def test_an_unknown_key_is_refused(gate: GateProcess) -> None:
    keys = {"access_key_id": "AKIAUNKNOWNUNKNOWN00", "secret_access_key": "x" * 40}
    assert code_of(gate.client("sts", keys).get_caller_identity) == "InvalidClientTokenId"
    assert code_of(gate.client("s3", keys).list_buckets) == "InvalidAccessKeyId"


def test_an_unsigned_call_is_refused(gate: GateProcess) -> None:
    from botocore import UNSIGNED
    from botocore.config import Config

    client = boto3.client(
        "s3",
        region_name=REGION,
        endpoint_url=gate.endpoint,
        config=Config(signature_version=UNSIGNED),
    )
    assert code_of(client.list_buckets) == "AccessDenied"


def test_a_presigned_get_works_and_a_changed_one_does_not(gate: GateProcess) -> None:
    import urllib.error
    import urllib.request

    url = gate.client("sts", "customer-admin").generate_presigned_url(
        "get_caller_identity", HttpMethod="GET"
    )
    with urllib.request.urlopen(url) as answer:
        assert b"customer-admin" in answer.read()
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(url.replace("X-Amz-Expires=3600", "X-Amz-Expires=7200"))
    assert caught.value.code == 403
    caught.value.close()


def test_the_vendor_is_a_session_of_the_one_trusted_role(gate: GateProcess) -> None:
    who = gate.client("sts", "vendor").get_caller_identity()
    assert who["Account"] == VENDOR
    assert ":assumed-role/ringfence-control-plane/" in who["Arn"]


def test_a_session_policy_narrows_the_session(opened: Boundary) -> None:
    admin = opened.gate.client("iam", "customer-admin")
    policy = admin.create_policy(
        PolicyName=f"step-{opened.name}",
        PolicyDocument='{"Version":"2012-10-17","Statement":'
        '[{"Effect":"Allow","Action":"ec2:DescribeVpcs","Resource":"*"}]}',
    )["Policy"]["Arn"]
    session = opened.session(PolicyArns=[{"arn": policy}])
    ec2 = opened.gate.client("ec2", session)
    ec2.describe_vpcs()
    assert code_of(ec2.describe_subnets) == "UnauthorizedOperation"


def test_a_denied_ec2_call_explains_itself_when_decoded(opened: Boundary) -> None:
    ec2 = opened.gate.client("ec2", opened.session())
    with pytest.raises(ClientError) as caught:
        ec2.create_vpc(CidrBlock="10.9.0.0/16")
    text = caught.value.response["Error"]["Message"]
    encoded = text.partition("failure message: ")[2]
    sts = opened.gate.client("sts", "customer-admin")
    decoded = sts.decode_authorization_message(EncodedMessage=encoded)["DecodedMessage"]
    assert '"action": "ec2:CreateVpc"' in decoded
