"""The inputs refuse what cannot work, and say which field and what to do."""

from ipaddress import IPv4Network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from blueprints.eks_model_stack.inputs import Inputs, InputsError
from blueprints.eks_model_stack.naming import Names, subnets
from blueprints.manifest import load
from tests.blueprints.engine import INPUTS

GUEST: dict[str, Any] = {
    "cluster": "existing", "host": "research", "reach": "in-vpc-runner", "zones": [],
}  # fmt: skip


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"egress": "proxy"}, "egress: 'proxy' is not implemented in this version; use 'nat'"),
        ({"cluster": "existing"}, "host: name the boundary in whose cluster"),
        ({"host": "research"}, "host: only with cluster: existing"),
        (GUEST | {"host": "payments"}, "host: a boundary cannot live in its own cluster"),
        ({"images": "copied"}, "image_names: name the images"),
        ({"image_names": ["ringfence/agent"]}, "image_names: only with images: copied"),
        (GUEST | {"reach": "public-cidr"}, "reach: a host's cluster is reached by a runner"),
        (GUEST | {"zones": ["eu-central-1a", "eu-central-1b"]}, "zones: the host research has it"),
        (GUEST | {"guests": ["third"]}, "guests: the host research has it"),
        ({"accelerator": "h100"}, "accelerator: 'h100' is not a class of this version"),
        ({"cidr": "10.20.0.1/16"}, "cidr: 10.20.0.1/16 has host bits set"),
        ({"cidr": "10.0.0.0/8"}, "cidr: 10.0.0.0/8 must be between /16 and /22"),
        ({"zones": ["eu-central-1a"]}, "zones: name two different zones"),
        ({"zones": ["eu-central-1a", "us-east-1a"]}, "zones: us-east-1a is not in the region"),
        ({"partition": "aws-cn"}, "partition: the region eu-central-1 is in aws, not aws-cn"),
        ({"control_plane_cidrs": ["0.0.0.0/0"]}, "control_plane_cidrs: 0.0.0.0/0 opens"),
        ({"boundary": "Payments"}, "boundary: String should match pattern"),
        ({"account": 123456789012}, "account: Input should be a valid string"),
        ({"node_count": 0}, "node_count: Input should be greater than or equal to 1"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_wrong_input_is_refused_by_field(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputsError) as caught:
        Inputs.parse(INPUTS | change)
    assert message in str(caught.value)


def test_all_wrong_fields_are_named_at_once() -> None:
    with pytest.raises(InputsError) as caught:
        Inputs.parse({"boundary": "payments", "egress": "proxy", "region": "mars"})
    text = str(caught.value)
    for field in ("egress", "region", "organization", "account", "cidr", "zones"):
        assert f"  {field}: " in text


@pytest.mark.parametrize(
    "change",
    [
        {"colour": "red"},
        {"egress": "proxy"},
        {"cluster": "existing"},
        {"cidr": None},
        {"accelerator": "h100"},
        {"cidr": "10.0.0.0/8"},
        {"cidr": "ten"},
        {"zones": ["eu-central-1a"]},
        {"zones": ["eu-central-1a", "eu-central-1a"]},
        {"control_plane_cidrs": []},
        {"node_count": 0},
        {"account": None},
    ],
)
def test_the_schema_refuses_what_the_program_would_refuse(change: dict[str, Any]) -> None:
    validator = Draft202012Validator(load("eks-model-stack").inputs_schema)
    assert validator.is_valid(INPUTS)
    assert not validator.is_valid(INPUTS | change)
    with pytest.raises(InputsError):
        Inputs.parse(INPUTS | change)


def test_a_guest_is_asked_for_its_host_and_neither_for_addresses_nor_zones() -> None:
    validator = Draft202012Validator(load("eks-model-stack").inputs_schema)
    guest = {name: value for name, value in (INPUTS | GUEST).items() if name != "zones"}
    assert validator.is_valid(guest)
    assert validator.is_valid({k: v for k, v in guest.items() if k != "cidr"})
    assert not validator.is_valid({k: v for k, v in INPUTS.items() if k != "zones"})
    names = Names(Inputs.parse(guest))
    assert (names.cluster, names.system_namespace, names.namespace) == (
        "ringfence-research", "ringfence-system-payments", "boundary-payments",
    )  # fmt: skip
    assert names.closer_role.endswith("role/ringfence-payments-closer")


@given(prefix=st.integers(16, 22), octet=st.integers(0, 255))
def test_subnets_of_any_allowed_block_are_disjoint_and_inside(prefix: int, octet: int) -> None:
    vpc = IPv4Network(f"10.{octet}.0.0/{prefix}")
    chosen = subnets(str(vpc))
    blocks = [IPv4Network(block) for block in (*chosen.private, chosen.public)]
    assert all(block.subnet_of(vpc) and 16 <= block.prefixlen <= 28 for block in blocks)
    assert not any(one.overlaps(two) for one in blocks for two in blocks if one is not two)


def test_the_longest_allowed_names_fit_the_limits_of_aws() -> None:
    names = Names(Inputs.parse(INPUTS | {"boundary": "b" * 24}))
    assert len(names.bucket) <= 63
    assert len(f"{names.prefix}-fetcher") <= 64
    assert len(names.cluster) <= 100


def test_a_urn_too_long_for_a_tag_is_refused() -> None:
    with pytest.raises(ValueError, match="longer than a tag may be"):
        Names(Inputs.parse(INPUTS)).tags("urn:" + "x" * 260)
