"""The stand-in's table against the official SDK, its own page, and the rules of check and diff."""

import importlib
import re
from pathlib import Path
from typing import Any

import pytest

from sandbox.aws_provider import schema
from sandbox.aws_provider.schema import UNKNOWN, Kind, Prop, check, diff, merge
from sandbox.aws_provider.types import RESOURCE_TYPES

VPC = RESOURCE_TYPES["aws:ec2/vpc:Vpc"]
CLUSTER = RESOURCE_TYPES["aws:eks/cluster:Cluster"]
NETWORK = {"subnetIds": ["a", "b"], "endpointPrivateAccess": True, "endpointPublicAccess": True}
INPUTS = {"name": "x", "roleArn": "r", "vpcConfig": NETWORK, "version": "1.34"}
PAGE = Path(schema.__file__).with_name("OPERATIONS.md")


def _sdk_properties(kind: str) -> set[str]:
    module, _, name = kind.removeprefix("aws:").partition("/")
    resource = getattr(importlib.import_module(f"pulumi_aws.{module}"), name.split(":")[1])
    return {
        getattr(member.fget, "_pulumi_name", key)
        for key, member in vars(resource).items()
        if isinstance(member, property)
    }


# The SDK warns about its own deprecated names while a module of it is imported.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", sorted(RESOURCE_TYPES))
def test_every_property_exists_in_the_official_sdk(kind: str) -> None:
    entry = RESOURCE_TYPES[kind]
    assert {*entry.inputs, *entry.outputs} <= _sdk_properties(kind)


def test_the_page_of_operations_names_every_call_in_the_code() -> None:
    text = PAGE.read_text()
    called: set[str] = set()
    for path in (PAGE.parent / "types").glob("*.py"):
        code = path.read_text()
        called |= set(re.findall(r'"(?:ec2|s3|iam|kms|eks|sts)",\s*"([A-Z]\w+)"', code))
        called |= set(
            re.findall(r'(?:describe|delete|_apply)\(\s*cloud,\s*(?:id_,\s*)?"(\w+)"', code)
        )
    assert len(called) > 60
    assert [name for name in sorted(called) if name not in text] == []


def test_an_unknown_property_is_refused_with_type_and_name() -> None:
    _, failures = check(VPC, {"cidrBlock": "10.0.0.0/16", "ipv6CidrBlock": "::/56"})
    (failure,) = failures
    assert failure.property == "ipv6CidrBlock"
    assert failure.reason.startswith("aws:ec2/vpc:Vpc has no property 'ipv6CidrBlock'")


def test_an_unknown_nested_property_is_refused_by_its_path() -> None:
    network = NETWORK | {"controlPlanePlacement": "x"}
    _, failures = check(CLUSTER, INPUTS | {"vpcConfig": network})
    assert [failure.property for failure in failures] == ["vpcConfig.controlPlanePlacement"]


def test_a_missing_required_property_is_named() -> None:
    _, failures = check(VPC, {})
    assert [failure.reason for failure in failures] == [
        "aws:ec2/vpc:Vpc needs the property 'cidrBlock'"
    ]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("cidrBlock", 5, "string"),
        ("enableDnsSupport", "yes", "boolean"),
        ("tags", {"a": 1}, "map"),
    ],
)
def test_a_value_of_the_wrong_shape_is_refused(name: str, value: Any, wanted: str) -> None:
    _, failures = check(VPC, {"cidrBlock": "10.0.0.0/16"} | {name: value})
    (failure,) = failures
    assert f"{name!r} must be a {wanted}" in failure.reason


def test_a_value_known_after_apply_passes_the_check_anywhere() -> None:
    network = NETWORK | {"subnetIds": UNKNOWN}
    checked, failures = check(CLUSTER, INPUTS | {"vpcConfig": network, "tags": UNKNOWN})
    assert not failures
    assert checked["vpcConfig"]["subnetIds"] == UNKNOWN


def test_the_check_fills_in_the_defaults() -> None:
    checked, _ = check(VPC, {"cidrBlock": "10.0.0.0/16"})
    assert checked["enableDnsSupport"] is True
    assert checked["instanceTenancy"] == "default"


def test_equal_inputs_have_no_difference() -> None:
    checked, _ = check(CLUSTER, INPUTS)
    assert diff(CLUSTER, checked, dict(checked)) == []


def test_a_set_in_another_order_is_no_difference() -> None:
    other = INPUTS | {"vpcConfig": NETWORK | {"subnetIds": ["b", "a"]}}
    assert diff(CLUSTER, INPUTS, other) == []


def test_a_policy_in_another_spelling_is_no_difference() -> None:
    entry = RESOURCE_TYPES["aws:s3/bucketPolicy:BucketPolicy"]
    old = {"bucket": "b", "policy": '{"Version": "1", "Statement": []}'}
    assert diff(entry, old, old | {"policy": '{"Statement":[],"Version":"1"}'}) == []


def test_a_change_inside_an_object_is_named_by_its_path() -> None:
    new = INPUTS | {"vpcConfig": NETWORK | {"endpointPublicAccess": False}}
    (change,) = diff(CLUSTER, INPUTS, new)
    assert (change.path, change.kind, change.replace) == (
        "vpcConfig.endpointPublicAccess",
        "update",
        False,
    )


def test_other_subnets_need_another_cluster() -> None:
    new = INPUTS | {"vpcConfig": NETWORK | {"subnetIds": ["c"]}}
    (change,) = diff(CLUSTER, INPUTS, new)
    assert change.replace


def test_a_tag_is_added_changed_and_removed_by_name() -> None:
    old = {"cidrBlock": "x", "tags": {"a": "1", "b": "1"}}
    new = {"cidrBlock": "x", "tags": {"b": "2", "c": "1"}}
    changes = {change.path: change.kind for change in diff(VPC, old, new)}
    assert changes == {"tags.a": "delete", "tags.b": "update", "tags.c": "add"}


def test_a_value_known_after_apply_counts_as_changed() -> None:
    (change,) = diff(VPC, {"cidrBlock": "x"}, {"cidrBlock": UNKNOWN})
    assert change.replace


def test_a_refresh_keeps_the_known_spelling_and_takes_what_really_changed() -> None:
    known = {"name": "x", "vpcConfig": {"subnetIds": ["b", "a"], "endpointPublicAccess": True}}
    live = {
        "name": "x",
        "version": "1.34",
        "vpcConfig": {"subnetIds": ["a", "b"], "endpointPublicAccess": False, "vpcId": "v"},
    }
    assert merge(CLUSTER, known, live) == {
        "name": "x",
        "vpcConfig": {"subnetIds": ["b", "a"], "endpointPublicAccess": False},
    }


def test_an_import_takes_every_live_input() -> None:
    live = {"cidrBlock": "10.0.0.0/16", "enableDnsSupport": True, "arn": "a"}
    assert merge(VPC, {}, live) == {"cidrBlock": "10.0.0.0/16", "enableDnsSupport": True}


def test_an_object_in_a_list_is_checked_like_any_other() -> None:
    entry = RESOURCE_TYPES[
        "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
    ]
    _, failures = check(entry, {"bucket": "b", "rules": [{"colour": "red"}, "text"]})
    assert [failure.property for failure in failures] == [
        "rules[0].colour",
        "rules[0].applyServerSideEncryptionByDefault",
        "rules[1]",
    ]


def test_two_lists_of_strings_differ_by_order_unless_they_are_sets() -> None:
    assert not schema.same(Prop(Kind.LIST), ["a", "b"], ["b", "a"])
    assert schema.same(Prop(Kind.SET), ["a", "b"], ["b", "a"])
