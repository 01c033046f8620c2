"""List prices of what a plan makes, each with its source and date; and what that is a month. Pure.

Read by `plan_view`. Separate so that a price is changed in one place, by hand, with its source: the
product never asks a price list at run time. What is not in the table has no price here, which the
view says; an estimate that guesses is worse than one with a hole.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

REGION = "US East (N. Virginia)"
CURRENCY = "USD"
HOURS_A_MONTH = 730
"""As AWS's own calculator counts a month."""

Properties = Mapping[str, Any]


@dataclass(frozen=True)
class Price:
    """What one unit costs. `per` is `hour` or `month`; `beside` is charged in addition, by use."""

    amount: float
    per: str
    unit: str
    source: str
    as_of: str
    """The day on which the source said so."""
    beside: str = ""

    @property
    def monthly(self) -> float:
        """Return the amount of a whole month."""
        return self.amount * HOURS_A_MONTH if self.per == "hour" else self.amount


@dataclass(frozen=True)
class Cost:
    """The monthly price of one resource."""

    monthly: float
    basis: str
    price: Price


_EKS = Price(
    0.10,
    "hour",
    "cluster",
    "aws.amazon.com/eks/pricing, as read by cloudburn.io/blog/amazon-eks-pricing",
    "2026-03-13",
    "0.50 an hour more once its Kubernetes version is in extended support",
)
_NAT = Price(
    0.045,
    "hour",
    "gateway",
    "aws.amazon.com/vpc/pricing, its example for US East",
    "2026-09-20",
    "0.045 a GB of traffic",
)
_ADDRESS = Price(
    0.005,
    "hour",
    "public IPv4 address",
    "aws.amazon.com/blogs/aws/new-aws-public-ipv4-address-charge-public-ip-insights,"
    " as read by cloudburn.io/blog/aws-nat-gateway-pricing",
    "2026-02-24",
)
_KEY = Price(
    1.0,
    "month",
    "key",
    "aws.amazon.com/kms/pricing, as read by cloudburn.io/blog/aws-kms-pricing",
    "2026-03-14",
    "requests above 20,000 a month, and material that a rotation leaves behind",
)
_INSTANCES_SOURCE = (
    "AWS Price List, on demand, Linux, as karpenter-provider-aws carries it"
    " (pkg/providers/pricing/zz_generated.pricing_aws.go)"
)
_INSTANCES = {
    "m7i.large": 0.1008,
    "m7i.xlarge": 0.2016,
    "m7i.2xlarge": 0.4032,
    "m7i.4xlarge": 0.8064,
    "m7i.8xlarge": 1.6128,
    "m7i.12xlarge": 2.4192,
    "m7i.16xlarge": 3.2256,
    "m7i.24xlarge": 4.8384,
    "m7i.48xlarge": 9.6768,
}


def _one(price: Price) -> Callable[[Properties], Cost | None]:
    return lambda _: Cost(price.monthly, _said(1, price), price)


def _nodes(properties: Properties) -> Cost | None:
    """Price a node group by the nodes it shall have; None where type or number is not known."""
    match properties:
        case {
            "instanceTypes": [str() as kind],
            "scalingConfig": {"desiredSize": int() | float() as count},
            "capacityType": "ON_DEMAND",
        } if kind in _INSTANCES:
            price = Price(
                _INSTANCES[kind], "hour", kind, _INSTANCES_SOURCE, "2026-01-19", "the nodes' disks"
            )
            return Cost(price.monthly * count, _said(int(count), price), price)
    return None


def _said(count: int, price: Price) -> str:
    many = f"{count} x " if count != 1 else ""
    return f"{many}{price.amount:.4g} {CURRENCY} per {price.per} ({price.unit})"


_BY_TYPE: Mapping[str, Callable[[Properties], Cost | None]] = {
    "aws:eks/cluster:Cluster": _one(_EKS),
    "aws:eks/nodeGroup:NodeGroup": _nodes,
    "aws:ec2/natGateway:NatGateway": _one(_NAT),
    "aws:ec2/eip:Eip": _one(_ADDRESS),
    "aws:kms/key:Key": _one(_KEY),
}


def cost_of(kind: str, properties: Properties) -> Cost | None:
    """Return what a resource costs a month at list price; None where the table has no price."""
    find = _BY_TYPE.get(kind)
    return find(properties) if find else None
