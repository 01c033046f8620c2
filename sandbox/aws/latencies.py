"""How long each step takes in AWS: one table with p50, p90 and where the figure is from.

Read by the account, which plays the steps of its own APIs, and by `bench/install_time.py`, which
adds those that no API shows (images, weights). Separate so that no figure stands anywhere else.
A step without a published figure says `assumed`: nothing here is dressed up as measured.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from types import MappingProxyType

ASSUMED = "assumed: no published figure was found"
_REGIONS = (
    "median and 17th of 21 regions, one creation each: "
    "https://easontechtalk.com/unofficial-eks-cluster-creation-performance-across-aws-regions"
)
_IAM = (
    "the user guide says seconds to minutes, 10 s is the usual wait: https://docs.aws.amazon.com/"
    "IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency; p90 assumed"
)
_P90 = NormalDist().inv_cdf(0.9)


@dataclass(frozen=True)
class Latency:
    """One step's seconds at time scale 1."""

    p50: float
    p90: float
    source: str
    played: bool = True
    """False: the account has no call that takes this time; the bench adds it to the step."""

    def at(self, quantile: float) -> float:
        """Give the seconds of a quantile of the lognormal distribution through p50 and p90."""
        spread = math.log(self.p90 / self.p50) / _P90
        return self.p50 * math.exp(spread * NormalDist().inv_cdf(quantile))

    @property
    def is_assumed(self) -> bool:
        """Tell whether no source stands behind the figure."""
        return self.source.startswith("assumed")


LATENCIES: Mapping[str, Latency] = MappingProxyType(
    {
        "cluster": Latency(914, 971, _REGIONS),
        "cluster-delete": Latency(180, 300, ASSUMED),
        "nodegroup": Latency(130, 240, f"{ASSUMED}; the blueprint's manifest estimates the same"),
        "nodegroup-delete": Latency(120, 240, ASSUMED),
        "addon": Latency(60, 120, f"{ASSUMED}; the blueprint's manifest estimates the same"),
        "endpoint-access": Latency(120, 300, ASSUMED),
        "fargate-task": Latency(40, 60, f"{ASSUMED}; a start on Fargate with a small image"),
        "nat-gateway": Latency(110, 150, f"{ASSUMED}; the blueprint's manifest estimates the same"),
        "vpc-endpoint": Latency(60, 90, ASSUMED),
        "iam-propagation": Latency(10, 30, _IAM, played=False),
        "node-join": Latency(30, 60, f"{ASSUMED}; a part of `nodegroup`, not added", played=False),
        "chart-images": Latency(20, 40, f"{ASSUMED}: small images", played=False),
        "image-pull": Latency(90, 180, f"{ASSUMED}: a GPU engine of 10 GB", played=False),
        "weight-load": Latency(30, 60, f"{ASSUMED}: 15 GB from a local disk", played=False),
    }
)
# Weights travel by size; what an S3 bucket takes from one sender is bounded by that sender.
WEIGHT_BYTES_PER_SECOND = 250e6
WEIGHT_BANDWIDTH_SOURCE = "assumed: 2 Gbit/s between our store and the customer's bucket"


def weights_seconds(size: int) -> float:
    """Give the seconds that weights of a size take to the customer's bucket."""
    return size / WEIGHT_BYTES_PER_SECOND


@dataclass(frozen=True)
class Pace:
    """How fast this account's clouds move: scale, and which quantile of each step is played.

    With a `seed`, each step of each object has a quantile of its own between p50 and p90, the same
    at every start; with a `quantile`, all have that one.
    """

    scale: float
    quantile: float = 0.5
    seed: int | None = None

    def seconds(self, step: str, name: str = "") -> float:
        """Give the scaled seconds of a step on the object `name`."""
        return LATENCIES[step].at(self._quantile(step, name)) * self.scale

    def scaled(self, seconds: float) -> float:
        """Scale seconds that a person gave at scale 1."""
        return seconds * self.scale

    def _quantile(self, step: str, name: str) -> float:
        if self.seed is None:
            return self.quantile
        return 0.5 + 0.4 * fraction(self.seed, step, name)


def fraction(*parts: object) -> float:
    """Give a number in [0, 1) that depends on the parts alone: chance that can be repeated."""
    digest = hashlib.sha256("\x1f".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:7], "big") / 2**56
