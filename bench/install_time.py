"""Simulate the wall time of a whole install at AWS's latencies, and our own part of it.

`python -m bench.install_time --json build/bench/install.json` plays the demo's install in a sandbox
of its own at `--time-scale` (1/200), or reads the result of one that was played (`--result`). Only
the emulated cloud's waits are scaled; our own work takes its real time. So for each step

    own = measured - scale * latency        simulated = own + latency at scale 1

and the run's wall time is the longest path through the saga's graph. p50 and p90 are those of the
whole: every step is drawn from its lognormal distribution, many times, from a seed. Our overhead
is wall minus the longest path with the same latencies and no work of our own. Nothing here was
measured on AWS: every figure is *simulated*, and says how many latencies are assumed. The step that
decides the whole has several published figures, which differ: the result is given under each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import quantiles
from typing import Any

from controlplane.core.run_engine.critical_path import critical_path
from controlplane.sagas.install_provision import DEFINITION
from sandbox.aws.latencies import (
    CLUSTER_SOURCES,
    LATENCIES,
    STEP_WAITS,
    WEIGHT_BANDWIDTH_SOURCE,
    Latency,
    fraction,
    played_seconds,
    weights_seconds,
)

DRAWS = 4000
MUST_P50, MUST_P90, MUST_OVERHEAD = 22 * 60, 30 * 60, 0.05
# How the run reaches the cluster: a runner in the VPC needs no change of the public endpoint.
REACHES: Mapping[str, frozenset[str]] = {
    "public-cidr": frozenset(),
    "in-vpc-runner": frozenset({"endpoint-access"}),
}


@dataclass(frozen=True)
class Cloud:
    """What the cloud takes: the latencies, and which of them this kind of install does not meet."""

    latencies: Mapping[str, Latency] = field(default_factory=lambda: LATENCIES)
    without: frozenset[str] = frozenset()
    waits: Mapping[str, tuple[tuple[str, ...], ...]] = field(default_factory=lambda: STEP_WAITS)
    """Which latencies each step of this kind of install meets."""

    def seconds(self, name: str, step: str, draw: int | None) -> float:
        """Return one draw of a latency as met by a step; without a draw its p50."""
        if name in self.without:
            return 0.0
        latency = self.latencies[name]
        if draw is None:
            return latency.p50
        return latency.at(0.001 + 0.998 * fraction(draw, step, name))


@dataclass(frozen=True)
class Simulated:
    """A whole install, in seconds at scale 1."""

    wall: tuple[float, float]
    """p50 and p90."""
    cloud: tuple[float, float]
    path: tuple[str, ...]
    overhead: float
    """Share of the wall time that is our own work, at p50."""


def cloud_seconds(draw: int | None, weight_bytes: int, cloud: Cloud = Cloud()) -> dict[str, float]:
    """Return what each step waits for the cloud: one draw, or without one the p50 of each."""
    found = {
        step: sum(max(cloud.seconds(name, step, draw) for name in beside) for beside in waits)
        for step, waits in cloud.waits.items()
    }
    return {**found, "weights": weights_seconds(weight_bytes)}


def own_seconds(
    measured: Mapping[str, float], scale: float, cloud: Cloud = Cloud()
) -> dict[str, float]:
    """Return our own part of each measured step: what is left without the scaled waits."""
    played = played_seconds(cloud.waits)
    return {
        step: max(seconds - scale * played.get(step, 0.0), 0.0)
        for step, seconds in measured.items()
    }


def simulate(
    own: Mapping[str, float], weight_bytes: int, draws: int = DRAWS, cloud: Cloud = Cloud()
) -> Simulated:
    """Return the wall time of an install whose own work takes `own`."""
    graph = DEFINITION.graph
    walls, clouds = [], []
    for draw in range(draws):
        waits = cloud_seconds(draw, weight_bytes, cloud)
        clouds.append(critical_path(graph, waits).seconds)
        walls.append(critical_path(graph, _together(own, waits)).seconds)
    middle = cloud_seconds(None, weight_bytes, cloud)
    whole = critical_path(graph, _together(own, middle))
    alone = critical_path(graph, middle).seconds
    return Simulated(
        wall=_p50_p90(walls),
        cloud=_p50_p90(clouds),
        path=whole.keys,
        overhead=(whole.seconds - alone) / whole.seconds,
    )


def _together(own: Mapping[str, float], cloud: Mapping[str, float]) -> dict[str, float]:
    return {step: own.get(step, 0.0) + cloud.get(step, 0.0) for step in {*own, *cloud}}


def _p50_p90(values: list[float]) -> tuple[float, float]:
    cuts = quantiles(values, n=10)
    return cuts[4], cuts[8]


def play(scale: float) -> dict[str, Any]:
    """Play the demo in a sandbox of its own, end the sandbox, and return the demo's result."""
    with tempfile.TemporaryDirectory(prefix="rf-bench-") as folder:
        environment = {**os.environ, "RINGFENCE_HOME": f"{folder}/home"}
        output = Path(folder) / "demo"
        demo = [sys.executable, "-m", "sandbox.demo", "--output", str(output)]
        try:
            subprocess.run([*demo, "--time-scale", str(scale)], env=environment, check=True)
        finally:
            stop = "from sandbox.cli import app; app(['down'])"
            subprocess.run([sys.executable, "-c", stop], env=environment, check=True)
        found: dict[str, Any] = json.loads((output / "result.json").read_text())
        return found


def report(result: Mapping[str, Any], weight_bytes: int) -> dict[str, Any]:
    """Return the figures of a demo's result: those of the slower boundary."""
    scale = float(result["time_scale"])
    boundaries = []
    for boundary in result["boundaries"]:
        measured = {step["key"]: float(step["seconds"] or 0.0) for step in boundary["steps"]}
        # People, not we, decide how long an approval takes.
        measured["approval"] = 0.0
        own = own_seconds(measured, scale)
        boundaries.append((boundary["name"], own, simulate(own, weight_bytes)))
    name, own, slower = max(boundaries, key=lambda one: one[2].wall[0])
    counts = Counter(one.is_assumed for one in LATENCIES.values())
    return {
        "label": "simulated; nothing was measured on AWS",
        "time_scale_of_the_run": scale,
        "boundary": name,
        "wall_p50_seconds": round(slower.wall[0]),
        "wall_p90_seconds": round(slower.wall[1]),
        "cloud_p50_seconds": round(slower.cloud[0]),
        "cloud_p90_seconds": round(slower.cloud[1]),
        "critical_path": list(slower.path),
        "overhead_share": round(slower.overhead, 4),
        "holds": {
            "p50": slower.wall[0] <= MUST_P50,
            "p90": slower.wall[1] <= MUST_P90,
            "overhead": slower.overhead <= MUST_OVERHEAD,
        },
        "by_source_of_the_control_plane": _by_source(own, weight_bytes),
        "by_reach": {
            reach: _figures(simulate(own, weight_bytes, cloud=Cloud(without=without)))
            for reach, without in REACHES.items()
        },
        "latencies_assumed": counts[True],
        "latencies_with_a_source": counts[False],
        "weight_bytes": weight_bytes,
        "weight_bandwidth": WEIGHT_BANDWIDTH_SOURCE,
        "second_boundary_in_an_existing_cluster": "python -m bench.guest_install_time",
    }


def _by_source(own: Mapping[str, float], weight_bytes: int) -> dict[str, Any]:
    """Return the whole under each single source of the step that decides it, and under the pool."""
    found = {}
    for name, latency in {"pool": LATENCIES["cluster"], **CLUSTER_SOURCES}.items():
        cloud = Cloud({**LATENCIES, "cluster": latency})
        found[name] = {
            "control_plane_p50_seconds": round(latency.p50),
            "control_plane_p90_seconds": round(latency.p90),
            **_figures(simulate(own, weight_bytes, cloud=cloud)),
            "source": latency.source,
        }
    return found


def _figures(simulated: Simulated) -> dict[str, Any]:
    return {
        "wall_p50_seconds": round(simulated.wall[0]),
        "wall_p90_seconds": round(simulated.wall[1]),
        "overhead_share": round(simulated.overhead, 4),
    }


def main() -> int:
    """Print the figures; 1 when one of the three bounds does not hold."""
    parser = argparse.ArgumentParser(prog="python -m bench.install_time", description=__doc__)
    parser.add_argument("--time-scale", type=float, default=1 / 200)
    parser.add_argument("--result", type=Path, help="a demo's result.json instead of a new run")
    parser.add_argument("--weight-bytes", type=int, default=15_000_000_000)
    parser.add_argument("--json", type=Path, help="where the figures are written")
    options = parser.parse_args()
    played = json.loads(options.result.read_text()) if options.result else None
    figures = report(played or play(options.time_scale), options.weight_bytes)
    text = json.dumps(figures, indent=2)
    print(text)
    if options.json:
        options.json.parent.mkdir(parents=True, exist_ok=True)
        options.json.write_text(text + "\n")
    return 0 if all(figures["holds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
