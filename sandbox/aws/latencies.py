"""How long each step takes in AWS: one table with p50, p90 and where the figure is from.

Read by the account, which plays the steps of its own APIs, and by `bench/install_time.py`, which
adds those that no API shows (images, weights). Separate so that no figure stands anywhere else.
A step without a published figure says `assumed`: nothing here is dressed up as measured.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist, median, quantiles
from types import MappingProxyType

from sandbox.aws.published_times import PUBLISHED, Sample

ASSUMED = "assumed: no published figure was found"
_IAM = (
    "the user guide says seconds to minutes, 10 s is the usual wait: https://docs.aws.amazon.com/"
    "IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency; p90 assumed"
)
_ENDPOINT = (
    "assumed: two public logs still wait after 212 and 214 s, and end there"
    " (eksctl issues 4545 and 3735, 2021)"
)
_AVERAGE = (
    "AWS, 2021, '9 minutes or less, on average': https://aws.amazon.com/about-aws/whats-new/2021/"
    "03/amazon-eks-reduces-cluster-creation-time-40-percent/; p90 with the spread of the pool"
)
_REGIONS = (
    "median and 17th of 21 regions, 2025, one `eksctl create cluster --fargate` each, which makes"
    " network, roles and a Fargate profile too, so that it bounds the control plane from above: "
    "https://easontechtalk.com/unofficial-eks-cluster-creation-performance-across-aws-regions"
)
_P90 = NormalDist().inv_cdf(0.9)
# Below this many samples a pool's own 90th percentile would be made up of one or two of them.
ENOUGH_FOR_P90 = 5


@dataclass(frozen=True)
class Latency:
    """One step's seconds at time scale 1."""

    p50: float
    p90: float
    source: str
    played: bool = True
    """False: the account has no call that takes this time; the bench adds it to the step."""
    samples: tuple[Sample, ...] = ()
    """What `p50` was derived from; empty for a figure that is assumed or that a page states."""

    def at(self, quantile: float) -> float:
        """Give the seconds of a quantile of the lognormal distribution through p50 and p90."""
        spread = math.log(self.p90 / self.p50) / _P90
        return self.p50 * math.exp(spread * NormalDist().inv_cdf(quantile))

    @property
    def is_assumed(self) -> bool:
        """Tell whether no source stands behind the figure."""
        return self.source.startswith("assumed")


def pooled(samples: Sequence[Sample], p90: float | None = None, *, played: bool = True) -> Latency:
    """Derive a latency: the median of all samples, and their 90th percentile.

    With fewer than `ENOUGH_FOR_P90` samples `p90` is given, and the source says that it is assumed.
    Raises: ValueError when it is missing or below the median.
    """
    seconds = sorted(sample.seconds for sample in samples)
    middle, years = median(seconds), sorted(sample.year for sample in samples)
    span = f"{years[0]}" if years[0] == years[-1] else f"{years[0]}-{years[-1]}"
    said = f"{len(seconds)} published, {span}: {', '.join(dict.fromkeys(x.url for x in samples))}"
    if len(seconds) >= ENOUGH_FOR_P90:
        p90 = quantiles(seconds, n=10, method="inclusive")[8]
    else:
        said += "; p90 assumed"
    if p90 is None or p90 < middle:
        raise ValueError(f"p90: {p90} does not fit {len(seconds)} samples around {middle} s")
    return Latency(middle, p90, said, played, tuple(samples))


def _pool(step: str, p90: float | None = None, *, played: bool = True) -> Latency:
    return pooled(PUBLISHED[step], p90, played=played)


LATENCIES: Mapping[str, Latency] = MappingProxyType(
    {
        "cluster": _pool("cluster"),
        "cluster-delete": _pool("cluster-delete", 300),
        "nodegroup": _pool("nodegroup"),
        "nodegroup-delete": _pool("nodegroup-delete", 600),
        "addon": Latency(60, 120, f"{ASSUMED}; the blueprint's manifest estimates the same"),
        "endpoint-access": Latency(240, 300, _ENDPOINT),
        "fargate-task": Latency(40, 60, f"{ASSUMED}; a start on Fargate with a small image"),
        "nat-gateway": _pool("nat-gateway", 150),
        "vpc": _pool("vpc", 30, played=False),
        "vpc-endpoint": _pool("vpc-endpoint", 10),
        "iam-propagation": Latency(10, 30, _IAM, played=False),
        "node-join": Latency(30, 60, f"{ASSUMED}; a part of `nodegroup`, not added", played=False),
        "chart-images": Latency(20, 40, f"{ASSUMED}: small images", played=False),
        "image-pull": _pool("image-pull", 180, played=False),
        "weight-load": Latency(30, 60, f"{ASSUMED}: 15 GB from a local disk", played=False),
    }
)
_SPREAD = LATENCIES["cluster"].p90 / LATENCIES["cluster"].p50
# The control plane decides the whole: what each single source of it says, for whoever trusts one.
CLUSTER_SOURCES: Mapping[str, Latency] = MappingProxyType(
    {
        "vendors-average": Latency(540, 540 * _SPREAD, _AVERAGE),
        "third-party-21-regions": Latency(914, 971, _REGIONS),
    }
)
# Which latencies each step waits for, one after the other; beside each other only the longest
# counts, and a step of the saga that is not here waits for nothing of the cloud.
STEP_WAITS: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "foundation": (("vpc",), ("vpc-endpoint",)),
        "cluster": (("iam-propagation",), ("cluster", "nat-gateway"), ("nodegroup", "addon")),
        "stack": (("chart-images",),),
        "ready": (("image-pull",), ("weight-load",)),
        "reach_close": (("endpoint-access",),),
        "power-off": (("iam-propagation",),),
        "proof": (("iam-propagation",),),
    }
)
# The same of a boundary that moves into a host's cluster: no network, no control plane, no nodes,
# and a runner as its way in. Its key and its bucket are there when the call is answered.
GUEST_STEP_WAITS: Mapping[str, tuple[tuple[str, ...], ...]] = MappingProxyType(
    {
        "cluster": (("iam-propagation",),),
        "reach_open": (("iam-propagation",), ("fargate-task",)),
        "stack": (("chart-images",),),
        "ready": (("image-pull",), ("weight-load",)),
        "power-off": (("iam-propagation",),),
        "proof": (("iam-propagation",),),
    }
)
# Weights travel by size; what an S3 bucket takes from one sender is bounded by that sender.
WEIGHT_BYTES_PER_SECOND = 250e6
WEIGHT_BANDWIDTH_SOURCE = "assumed: 2 Gbit/s between our store and the customer's bucket"


def played_seconds(
    step_waits: Mapping[str, tuple[tuple[str, ...], ...]] = STEP_WAITS,
) -> dict[str, float]:
    """Return what the rehearsal account itself plays of each step, at p50 and scale 1."""
    return {
        step: sum(
            max((LATENCIES[name].p50 for name in beside if LATENCIES[name].played), default=0.0)
            for beside in waits
        )
        for step, waits in step_waits.items()
    }


def step_seconds() -> float:
    """Return what an install waits for AWS step by step, at p50 and scale 1."""
    return sum(
        max(LATENCIES[name].p50 for name in beside)
        for waits in STEP_WAITS.values()
        for beside in waits
    )


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
